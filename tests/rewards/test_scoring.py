"""A component that fails, fails its own sample; one that is wrong ends the run in one line."""

import threading

import numpy as np
import pytest

from rewards.components import Component
from rewards.compose import component_metrics
from rewards.motion.motions import Motions
from rewards.scoring import Scorer
from rollout.io.errors import InputError


@pytest.fixture
def motions():
    """Five motions, told apart by their first number."""
    features = np.zeros((5, 8, 263), np.float32)
    features[:, 0, 10] = np.arange(5)
    return Motions(features, np.full(5, 8), list("abcde"), groups=np.array([0, 0, 1, 1, 1]))


def scorer(**components) -> Scorer:
    return Scorer({name: Component("users:Own") for name in components}, components, {})


def value(motions: Motions) -> np.ndarray:
    return motions.features[:, 0, 10]


def fails_for_two(motions: Motions) -> np.ndarray:
    if (value(motions) == 2).any():
        raise ValueError("two\nis too much")
    return value(motions) + 1


def gives(what):
    return lambda motions: what


def test_only_the_guilty_sample_fails_and_says_why(motions):
    scores = scorer(plain=value, picky=fails_for_two)(motions)
    np.testing.assert_array_equal(scores.values["plain"], [0, 1, 2, 3, 4])
    np.testing.assert_array_equal(scores.values["picky"], [1, 2, np.nan, 4, 5])
    assert list(scores.failures) == [2]
    assert scores.failures[2].startswith("picky: ValueError: two is too much (test_scoring.py line ")


def test_numbers_that_are_not_finite_fail_their_samples(motions):
    scores = scorer(a=gives(np.array([1, np.nan, 3, np.inf, 5])), b=gives(np.array([1, np.nan, 3, 4, -1e60])))(motions)
    np.testing.assert_array_equal(scores.values["a"], [1, np.nan, 3, np.nan, 5])
    assert scores.failures == {1: "a: gave nan; b: gave nan", 3: "a: gave inf", 4: "b: gave -inf"}
    assert scores.values["a"].dtype == np.float32
    assert component_metrics([scores]) == {
        "component_a_mean": 3.0, "component_a_std": pytest.approx(np.std([1, 3, 5])), "component_a_failed": 2.0,
        "component_b_mean": pytest.approx(8 / 3), "component_b_std": pytest.approx(np.std([1, 3, 4])), "component_b_failed": 2.0,
    }  # fmt: skip


def test_a_component_that_fails_on_everything_has_no_mean(motions):
    scores = scorer(a=gives(np.full(5, np.nan)))(motions)
    assert np.isnan(component_metrics([scores])["component_a_mean"]) and component_metrics([scores])["component_a_failed"] == 5


def test_scores_split_by_group(motions):
    first, second = scorer(picky=fails_for_two)(motions).split([2, 3])
    np.testing.assert_array_equal(first.values["picky"], [1, 2])
    np.testing.assert_array_equal(second.values["picky"], [np.nan, 4, 5])
    assert first.failures == {} and list(second.failures) == [0]


@pytest.mark.parametrize(
    "found, message",
    [
        (np.zeros((5, 1)), "gave shape (5, 1), expected 5 numbers for 5 samples, float32 of shape (5,)"),
        (np.zeros(4), "gave shape (4,), expected 5 numbers"),
        (np.array(list("abcde")), "gave <U1, expected 5 numbers"),
        (np.zeros(5, bool), "gave bool, expected 5 numbers"),
        (np.zeros(5, complex), "gave complex128, expected 5 numbers"),
        ([0.0] * 5, "gave a list, expected 5 numbers"),
        ({"total": np.zeros(5)}, "gave a dict, expected 5 numbers"),
        (None, "gave a NoneType, expected 5 numbers"),
    ],
)
def test_what_is_not_one_number_a_motion_is_one_line(motions, found, message):
    for ask in (scorer(mine=gives(found)), lambda given: scorer(mine=gives(found)).check(given, 10)):
        with pytest.raises(InputError) as caught:
            ask(motions)
        assert str(caught.value).startswith(f"reward.components.mine: {message}")


def test_a_check_before_the_run_tells_what_is_raised(motions):
    scorer(plain=value).check(motions, 10)
    with pytest.raises(InputError, match=r"^reward.components.picky: raised ValueError: two is too much \(test_sc.*\)$"):
        scorer(picky=fails_for_two).check(motions, 10)


def test_a_check_before_the_run_does_not_wait_for_ever(motions):
    woken = threading.Event()
    with pytest.raises(InputError, match="^reward.components.sleepy: no scores of 5 samples within .*, 0.05 s$"):
        scorer(sleepy=lambda given: woken.wait(30)).check(motions, 0.05)
    woken.set()


def test_what_foreign_code_writes_into_motions_no_other_component_reads(motions):
    def vandal(given: Motions) -> np.ndarray:
        given.features[:], given.joints[:], given.prompts[:] = 7, 7, [""] * 5
        return np.zeros(5, np.float32)

    before = motions.joints.copy()
    scores = scorer(vandal=vandal, plain=value)(motions)
    np.testing.assert_array_equal(scores.values["plain"], [0, 1, 2, 3, 4])
    np.testing.assert_array_equal(motions.joints, before)
    assert motions.prompts == list("abcde")
