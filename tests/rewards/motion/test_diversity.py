"""Diversity inside the group: the distance to the others of it, and to nobody else."""

import numpy as np
import pytest

from rewards.motion.diversity import Diversity, EmbeddingDiversity
from rewards.motion.motions import Motions
from tests.rewards.motion.test_matching import Points


def standing(*heights: float, groups=None, lengths=None) -> Motions:
    """Bodies whose every joint stays at its own height, m."""
    features = np.zeros((len(heights), 12, 263), np.float32)
    features[:, :, 3] = np.array(heights)[:, None]
    features[:, :, 4:67].reshape(len(heights), 12, 21, 3)[..., 1] = np.array(heights)[:, None, None]
    lengths = np.full(len(heights), 12) if lengths is None else np.array(lengths)
    return Motions(features, lengths, ["stands"] * len(heights), groups=None if groups is None else np.array(groups))


def test_it_is_the_mean_distance_to_the_others_in_metres():
    found = Diversity()(standing(0, 1, 3))
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, [2, 1.5, 2.5], rtol=1e-6)


def test_only_the_own_group_counts():
    together = Diversity()(standing(0, 10, 1, 30, 3, groups=[7, 2, 7, 2, 7]))
    np.testing.assert_allclose(together, [2, 20, 1.5, 20, 2.5], rtol=1e-6)


def test_one_that_failed_and_one_alone_cannot_be_scored():
    motions = standing(0, 1, 3, 5, groups=[0, 0, 0, 1])
    motions.features[1, 4, 3] = np.nan
    np.testing.assert_allclose(Diversity()(motions), [3, np.nan, 3, np.nan], rtol=1e-6)


def test_the_frames_that_both_have_are_compared():
    motions = standing(0, 1, 3, lengths=[12, 4, 12])
    motions.features[1, 4:] = np.nan
    motions.features[0, 4:, 3:67] += 0.5
    # Frames 0..3 against the short one; the two long ones differ by 3, then by less.
    found = Diversity()(motions)
    assert found[1] == pytest.approx((1 + 2) / 2) and 1.5 < found[0] < 2


def test_it_moves_with_the_samples():
    draw = np.random.default_rng(0)
    features = draw.normal(0, 0.2, (6, 12, 263)).astype(np.float32)
    motions = Motions(features, np.array([12, 9, 12, 7, 12, 9]), ["walks"] * 6, groups=np.array([0, 0, 1, 0, 1, 0]))
    order = [4, 2, 0, 5, 3, 1]
    for score in (Diversity(), EmbeddingDiversity(Points())):
        np.testing.assert_allclose(score(motions.rows(order)), score(motions)[order], rtol=1e-6)


def test_with_an_evaluator_it_is_the_distance_of_embeddings():
    features = np.zeros((3, 12, 263), np.float32)
    features[:, 0, 0] = [0, 1, 3]
    motions = Motions(features, np.full(3, 12), ["0"] * 3)
    np.testing.assert_allclose(EmbeddingDiversity(Points())(motions), [2, 1.5, 2.5], rtol=1e-6)
