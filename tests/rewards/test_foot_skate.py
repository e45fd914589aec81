"""The penalty for sliding feet: beyond real motion only, one sample at a time."""

import numpy as np
import pytest

from rewards.foot_skate import REAL_FOOT_SKATE, FootSkate
from rewards.physics import foot_skate
from rewards.reward import Motions


@pytest.fixture
def motions():
    """One body that stands still and three that glide at 0.02, 1 and 2 m/s, feet flat on the floor."""
    features = np.zeros((4, 20, 263), np.float32)
    features[:, :, 3] = 0.9
    features[:, :, 4:67].reshape(4, 20, 21, 3)[..., [6, 7, 9, 10], 1] = 0.01  # ankles and toes
    features[:, :, 2] = np.array([0, 0.02, 1.0, 2.0])[:, None] / 20
    return Motions(features, np.full(4, 20), ["a person stands"] * 4)


def test_the_penalty_is_the_slide_beyond_real_motion(motions):
    np.testing.assert_allclose(foot_skate(motions.joints, motions.lengths), [0, 0.02, 1, 2], atol=1e-3)
    np.testing.assert_allclose(FootSkate()(motions), [0, 0, REAL_FOOT_SKATE - 1, REAL_FOOT_SKATE - 2], atol=1e-3)


def test_a_motion_that_is_not_finite_fails_alone(motions):
    motions.features[1, 3, 2] = np.nan
    scores = FootSkate()(motions)
    assert np.isnan(scores[1]) and np.isfinite(scores[[0, 2, 3]]).all()
