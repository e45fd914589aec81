"""Held-out judgement of a run: its numbers, and its one warning."""

import json

import numpy as np
import pytest

from learner.watch.heldout import HeldOut
from rewards.family import Examination
from rewards.motion.family import quality
from rewards.motion.physics import ALL_PHYSICS

PROMPTS, SIZE = 8, 3
REAL = dict.fromkeys(("fid", "fid_unit"), (np.zeros(3), np.eye(3)))


def unknown_real(found):
    return quality(found, None)


def results(reward, judge, seed=0):
    """Eight prompts x three samples around the two levels; the embedding is of the judge."""
    draw = np.random.default_rng(seed)
    physics = {name: np.full(SIZE, 0.5) for name in ALL_PHYSICS}
    return [
        Examination(r, {"a": r / 2, "b": r - 1}, j, physics | {"embedding": draw.normal(size=(SIZE, 3))})
        for r, j in zip(*(level + 0.1 * draw.normal(size=(PROMPTS, SIZE)) for level in (reward, judge)))
    ]


def test_every_number_is_there():
    watch = HeldOut(3, lambda found: quality(found, REAL))
    found = results(0.5, -4)
    metrics, warning = watch.observe(10, found)
    names = {"reward", "judge", "fid", "fid_unit", "diversity", "component_a", "component_b", "parted", *ALL_PHYSICS}
    assert metrics.keys() == {f"heldout_{name}" for name in names} and warning is None
    assert metrics["heldout_reward"] == pytest.approx(np.mean([e.reward for e in found]))
    assert metrics["heldout_component_b"] == pytest.approx(metrics["heldout_reward"] - 1)
    assert (metrics["heldout_jerk"], metrics["heldout_parted"]) == (0.5, 0)
    assert watch.entries == [{"iterations": 10, **metrics}]


def test_without_statistics_of_real_motion_there_is_no_fid():
    metrics, _ = HeldOut(3, unknown_real).observe(0, results(0.5, -4))
    assert "heldout_fid" not in metrics and "heldout_diversity" in metrics


def test_a_fid_of_too_few_motions_is_no_metric():
    metrics, _ = HeldOut(3, lambda found: quality(found, REAL)).observe(0, results(0.5, -4)[:1])
    assert "heldout_fid" not in metrics and "heldout_reward" in metrics


def test_a_failed_sample_is_left_out_of_the_means():
    found = results(0.5, -4)
    plain, _ = HeldOut(3, unknown_real).observe(0, found)
    found[0].reward[1] = np.nan
    spoilt, _ = HeldOut(3, unknown_real).observe(0, found)
    assert spoilt["heldout_reward"] == pytest.approx(plain["heldout_reward"], abs=0.05) and spoilt["heldout_judge"] == plain["heldout_judge"]


def test_it_warns_once_when_patience_ends():
    watch = HeldOut(2, unknown_real)
    warnings = [watch.observe(5 * i, results(0.5 + i, -4 - i, seed=i))[1] for i in range(5)]
    assert [bool(text) for text in warnings] == [False, False, True, False, False]
    assert "after 10 iterations" in warnings[2]
    assert [entry["heldout_parted"] for entry in watch.entries] == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("kept", range(5))
def test_resumed_it_has_the_same_curve_and_warns_at_the_same_evaluation(kept):
    def observed(watch, i):
        return watch.observe(5 * i, results(0.5 + i, -4 - i, seed=i))

    uninterrupted, watch, resumed = (HeldOut(2, unknown_real) for _ in range(3))
    expected = [observed(uninterrupted, i) for i in range(5)]
    for i in range(kept):
        observed(watch, i)
    arrays, facts = watch.state()
    resumed.load_state({name: values.copy() for name, values in arrays.items()}, json.loads(json.dumps(facts, allow_nan=False)))
    assert resumed.entries == watch.entries and all(type(entry["iterations"]) is int for entry in resumed.entries)
    assert [observed(resumed, i) for i in range(kept, 5)] == expected[kept:]
    assert resumed.entries == uninterrupted.entries


def test_what_could_not_be_measured_survives_a_checkpoint():
    watch, resumed = HeldOut(2, unknown_real), HeldOut(2, unknown_real)
    found = results(0.5, -4)
    for entry in found:
        entry.judge[:] = np.nan
    watch.observe(0, found)
    resumed.load_state(*watch.state())
    assert np.isnan(resumed.entries[0]["heldout_judge"]) and resumed.entries[0].keys() == watch.entries[0].keys()
