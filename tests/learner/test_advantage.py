"""Advantages inside a group: centred, scaled, bounded, and silent where there is nothing to learn."""

import numpy as np
import pytest

from learner.advantage import group_advantages
from rollout.io.errors import InputError

DRAW = np.random.default_rng(0)


def advantages(rewards, eps=1e-4, clip=5.0):
    return group_advantages(np.asarray(rewards, np.float32), eps, clip)


@pytest.mark.parametrize("size", [2, 4, 8, 24])
def test_invariant_13_they_sum_to_zero_and_have_unit_spread(size):
    found = advantages(DRAW.normal(3, 2, size))
    assert found.dtype == np.float32 and found.shape == (size,)
    assert abs(found.sum()) < 1e-5 and found.std() == pytest.approx(1, abs=1e-3)


def test_invariant_13_affine_rewards_give_the_same_advantages():
    rewards = DRAW.normal(size=8)
    for scale, shift in ((1, 100), (7, 0), (0.3, -2)):
        np.testing.assert_allclose(advantages(scale * rewards + shift), advantages(rewards), atol=1e-3)
    np.testing.assert_allclose(advantages(-rewards), -advantages(rewards), atol=1e-6)


def test_invariant_13_they_permute_with_the_samples():
    rewards, order = DRAW.normal(size=8), DRAW.permutation(8)
    np.testing.assert_allclose(advantages(rewards[order]), advantages(rewards)[order], atol=1e-6)


def test_the_value_is_the_published_one():
    found = group_advantages(np.array([1.0, 2.0, 3.0, 6.0]), 0.5, 5.0)
    np.testing.assert_allclose(found, np.array([-2, -1, 0, 3]) / (np.sqrt(3.5) + 0.5), rtol=1e-6)


def test_they_are_clipped_on_both_sides():
    rewards = np.zeros(64)
    rewards[0] = 1
    assert advantages(rewards).max() == 5 and advantages(-rewards).min() == -5
    assert advantages(rewards, clip=2.0).max() == 2


@pytest.mark.parametrize("spread", [0, 1e-7, 5e-5])
def test_invariant_12_a_group_without_spread_teaches_nothing(spread):
    assert advantages(0.7 + spread * np.array([-1, 1, -1, 1])) is None


def test_a_small_spread_above_eps_still_teaches():
    assert np.abs(advantages(0.7 + 1e-2 * np.array([-1, 1, -1, 1]))).min() > 0.9


@pytest.mark.parametrize("rewards", [[0.5], []])
def test_invariant_12_a_group_of_one_is_refused(rewards):
    with pytest.raises(InputError, match=f"group_size: found {len(rewards)}"):
        advantages(rewards)


@pytest.mark.parametrize("failure", [np.nan, np.inf, -np.inf])
def test_a_failed_sample_fails_alone(failure):
    rewards = DRAW.normal(size=7)
    found = advantages(np.insert(rewards, 3, failure))
    assert found[3] == 0
    np.testing.assert_allclose(np.delete(found, 3), advantages(rewards), atol=1e-6)


@pytest.mark.parametrize("rewards", [[np.nan] * 4, [np.nan, 1.0, np.nan, np.nan], [np.nan, 1.0, 1.0, 1.0]])
def test_a_group_with_too_few_scored_samples_teaches_nothing(rewards):
    assert advantages(rewards) is None
