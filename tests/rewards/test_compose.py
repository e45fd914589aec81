"""Components to rewards: by formula, in request order, with failed samples set apart."""

import numpy as np
import pytest

from rewards.components import Component
from rewards.compose import Composer, raw_total
from rewards.normalise import AdaptivePercentile
from rewards.scoring import Scores
from rollout.io.errors import RunFailed

DRAW = np.random.default_rng(0)
NAN = np.nan


def scores(**values) -> Scores:
    arrays = {name: np.array(value, np.float32) for name, value in values.items()}
    failed = np.flatnonzero(np.isnan(np.stack(list(arrays.values()))).any(axis=0))
    return Scores(arrays, {int(i): "reason" for i in failed})


def z(values) -> np.ndarray:
    return (values - np.mean(values)) / np.std(values)


def test_the_total_is_the_weighted_sum_of_normalised_values():
    a, b = np.array([1.0, 2.0, 4.0]), np.array([30.0, 10.0, 20.0])
    composer = Composer({"a": Component("x", 0.5), "b": Component("y", -2.0, "std")})
    (total,) = composer.total([scores(a=a, b=b)])
    np.testing.assert_allclose(total, 0.5 * a - 2 * z(b), rtol=1e-6)
    assert total.dtype == np.float32
    (ranked,) = Composer({"a": Component("x", 1.0, "minmax"), "b": Component("y", 1.0, "rank")}).total([scores(a=a, b=b)])
    np.testing.assert_allclose(ranked, [0 + 1, 1 / 3 + 0, 1 + 0.5], rtol=1e-6)


def test_a_sample_that_failed_in_one_component_counts_in_none():
    """Its values would otherwise move the mean that the others are measured from."""
    components = {"a": Component("x", 1.0, "std"), "b": Component("y")}
    (total,) = Composer(components).total([scores(a=[1, 2, 100, 3], b=[0, 0, NAN, 0])])
    np.testing.assert_allclose(total[[0, 1, 3]], z([1, 2, 3]), rtol=1e-6)
    assert np.isnan(total[2])


def test_a_group_that_failed_whole_is_nan_and_a_whole_iteration_is_an_error():
    composer = Composer({"a": Component("x")})
    first, second = composer.total([scores(a=[NAN, NAN]), scores(a=[1, 2])])
    assert np.isnan(first).all() and second.tolist() == [1, 2]
    with pytest.raises(RunFailed, match="^reward: every sample failed, the first one: reason$"):
        composer.total([scores(a=[NAN, NAN]), scores(a=[NAN])])


def test_the_raw_total_knows_no_group():
    components = {"a": Component("x", 2.0, "std"), "b": Component("y", -1.0, "percentile")}
    values = {"a": DRAW.normal(size=6).astype(np.float32), "b": DRAW.normal(size=6).astype(np.float32)}
    whole = raw_total(components, values)
    np.testing.assert_allclose(whole, 2 * values["a"] - values["b"], rtol=1e-5)
    np.testing.assert_array_equal(whole[2:4], raw_total(components, {name: value[2:4] for name, value in values.items()}))


def test_the_adaptive_scale_remembers_in_request_order_and_across_a_checkpoint():
    components = {"a": Component("x", 2.0, "percentile"), "b": Component("y", 1.0, "percentile"), "c": Component("z", 1.0, "std")}
    groups = [scores(a=DRAW.normal(size=4), b=DRAW.normal(size=4), c=DRAW.normal(size=4)) for _ in range(6)]
    straight = Composer(components)
    expected = [*straight.total(groups[:3]), *straight.total(groups[3:])]

    before, after = Composer(components), Composer(components)
    first = before.total(groups[:3])
    after.load_state(before.state())
    for found, wanted in zip([*first, *after.total(groups[3:])], expected):
        np.testing.assert_array_equal(found, wanted)
    assert before.state().keys() == {"a", "b"}

    a, b = AdaptivePercentile(), AdaptivePercentile()
    for group, wanted in zip(groups, expected):
        by_hand = 2 * a(group.values["a"]) + b(group.values["b"]) + z(group.values["c"].astype(float))
        np.testing.assert_allclose(wanted, by_hand, rtol=1e-5, atol=1e-6)


def test_an_optional_component_that_failed_is_dropped_for_its_group_alone():
    components = {"a": Component("x"), "judge": Component("y", 2.0, "percentile", optional=True)}
    composer = Composer(components)
    whole, dropped = composer.total([scores(a=[1, 2, 3], judge=[1, 1, 1]), scores(a=[1, 2, 4], judge=[0.9, NAN, 0.1])])
    np.testing.assert_allclose(whole, np.array([1, 2, 3]) + 2, rtol=1e-6)
    assert dropped.tolist() == [1, 2, 4]  # nobody is punished for an outage, nor compared with half of a judge
    assert composer.state()["judge"]["sizes"] == [1, 1, 1]


def test_a_sample_that_failed_anyway_drops_no_judge():
    components = {"a": Component("x"), "judge": Component("y", optional=True)}
    (total,) = Composer(components).total([scores(a=[1, NAN, 2], judge=[0.5, NAN, 0.25])])
    np.testing.assert_array_equal(total, np.array([1.5, NAN, 2.25], np.float32))


def test_a_group_whose_every_component_is_dropped_has_no_reward():
    composer = Composer({"judge": Component("y", optional=True)})
    out, scored = composer.total([scores(judge=[0.5, NAN]), scores(judge=[0.5, 1])])
    assert np.isnan(out).all() and scored.tolist() == [0.5, 1]
