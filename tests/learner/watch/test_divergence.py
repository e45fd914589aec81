"""The rule that says when reward and judge part: what fires it, and that noise does not."""

import json
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from learner.watch.divergence import Divergence, paired_change

PROMPTS, SAMPLES = 32, 4


def evaluations(reward, judge, seed=0, noise=0.3):
    """[P, G] of reward and judge for every value of the two curves: prompts of different level, the same in all, and
    noise of its own in each."""
    draw = np.random.default_rng(seed)
    levels = draw.normal(size=(2, PROMPTS, 1))
    for curves in zip(reward, judge):
        yield [value + level + noise * draw.normal(size=(PROMPTS, SAMPLES)) for value, level in zip(curves, levels)]


def verdicts(reward, judge, patience=3, **options):
    watch = Divergence(patience)
    return [watch.observe(10 * i, *found) for i, found in enumerate(evaluations(reward, judge, **options))]


def first_alarm(found):
    return next((i for i, verdict in enumerate(found) if verdict.diverged), None)


def test_it_fires_once_reward_rose_and_judge_fell_for_patience_evaluations():
    curves = [0, 1, 2, 3, 4, 5], [0, -1, -2, -3, -4, -5]
    for patience in (1, 2, 3, 5):
        assert first_alarm(verdicts(*curves, patience)) == patience
    last = verdicts(*curves)[-1]
    assert (last.iterations, last.since, last.streak) == (50, 0, 5)
    assert last.reward.mean == pytest.approx(5, abs=0.2) and last.judge.mean == pytest.approx(-5, abs=0.2)


def test_a_judge_that_rises_first_and_then_falls_is_compared_with_its_best():
    found = verdicts([0, 1, 2, 3, 4, 5], [0, 1, 2, 1.5, 1, 0.5])
    assert [verdict.streak for verdict in found] == [0, 0, 0, 1, 2, 3]
    assert first_alarm(found) == 5 and found[-1].since == 20  # though the judge is still above where it began


@pytest.mark.parametrize(
    "reward, judge",
    [
        ([0, 1, 2, 3, 4, 5], [0, 1, 2, 3, 4, 5]),
        ([0, 1, 2, 3, 4, 5], [0, 0, 0, 0, 0, 0]),
        ([0, 0, 0, 0, 0, 0], [0, -1, -2, -3, -4, -5]),  # a run that learns nothing and loses: not the reward's doing
        ([0, -1, -2, -3, -4, -5], [0, -1, -2, -3, -4, -5]),
        ([0, 1, 2, 3, 4, 5], [0, -1, -2, 0, -1, -2]),  # the judge came back in between
    ],
)
def test_it_is_silent_otherwise(reward, judge):
    assert first_alarm(verdicts(reward, judge)) is None


def test_an_evaluation_that_does_not_part_ends_the_row():
    found = verdicts([0, 1, 1, 1, 1, 1, 1], [0, -1, -1, 0, -1, -1, -1])
    assert [verdict.streak for verdict in found] == [0, 1, 2, 0, 1, 2, 3]


def test_noise_alone_hardly_ever_fires():
    """100 runs of 20 evaluations in which the reward rises and nothing happens to the judge."""
    curves = np.arange(20) * 0.1, np.zeros(20)
    assert sum(first_alarm(verdicts(*curves, seed=seed)) is not None for seed in range(100)) <= 5


def recorded(name, patience):
    """Verdicts on the evaluations of a run of the shipped model."""
    watch = Divergence(patience)
    entries = json.loads((Path(__file__).parent / "recorded_curves.json").read_text())[name]
    return [watch.observe(entry["iterations"], *(np.array(entry[part]) for part in ("reward", "judge"))) for entry in entries]


def test_a_recorded_run_on_a_gameable_reward_fires():
    found = recorded("smooth", 3)
    assert found[first_alarm(found)].iterations == 10 and first_alarm(found) < len(found)


@pytest.mark.parametrize("patience", [1, 2, 3])
def test_a_recorded_run_on_the_default_reward_is_silent(patience):
    found = recorded("default", patience)
    assert first_alarm(found) is None and len(found) == 7


def test_small_falls_are_seen_because_differences_are_paired():
    """A fall of a tenth of the prompts' own spread."""
    assert first_alarm(verdicts([0, 1, 1, 1], [0, -0.2, -0.2, -0.2], noise=0.1)) == 3


def test_failed_samples_are_left_out():
    watch = Divergence(1)
    draw = np.random.default_rng(0)
    base = draw.normal(size=(2, 8, 3))
    base[:, 0, 0] = np.nan
    watch.observe(0, *base)
    now = base + np.array([1.0, -1.0])[:, None, None] + 0.01 * draw.normal(size=base.shape)
    now[:, 1] = np.nan
    verdict = watch.observe(5, *now)
    assert verdict.diverged and verdict.judge.mean == pytest.approx(-1, abs=0.02)


@pytest.mark.parametrize("values", [np.ones((1, 4)), np.full((4, 2), np.nan)])
def test_too_few_prompts_tell_nothing(values):
    watch = Divergence(1)
    watch.observe(0, values, values)
    verdict = watch.observe(1, values + 1, values - 1)
    assert not verdict.diverged and np.isnan(verdict.judge.mean)


def test_the_interval_is_students_over_prompt_means():
    values = np.random.default_rng(0).normal(1, 1, size=(6, 3))
    means = values.mean(axis=1)
    low, high = stats.t.interval(0.95, 5, means.mean(), stats.sem(means))
    found = paired_change(values)
    assert (found.mean - found.half, found.mean + found.half) == pytest.approx((low, high))
    wider = stats.t.interval(0.99, 5, means.mean(), stats.sem(means))
    assert paired_change(values, chosen_among=5).half == pytest.approx((wider[1] - wider[0]) / 2)


def test_the_words_name_numbers_and_iterations():
    words = verdicts([0, 1, 2, 3], [0, -1, -2, -3])[-1].words()
    assert "after 30 iterations" in words and "against iteration 0" in words and "3 evaluations in a row" in words
    assert "\n" not in words and "+2.97" in words and "-3.02" in words


@pytest.mark.parametrize("kept", range(6))
def test_a_resumed_watch_judges_as_one_that_was_never_stopped(kept):
    curves = [0, 1, 2, 3, 4, 5, 6], [0, -1, -2, 0.5, -1, -2, -3]
    found, watch = list(evaluations(*curves)), Divergence(3)
    found[1][1][0, 0] = np.nan
    uninterrupted = Divergence(3)
    expected = [uninterrupted.observe(10 * i, *values) for i, values in enumerate(found)]
    for i in range(kept):
        watch.observe(10 * i, *found[i])
    arrays, facts = watch.state()
    resumed = Divergence(3)
    resumed.load_state({name: values.copy() for name, values in arrays.items()}, json.loads(json.dumps(facts, allow_nan=False)))
    assert [resumed.observe(10 * i, *found[i]) for i in range(kept, 7)] == expected[kept:]
