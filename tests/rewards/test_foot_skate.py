"""The penalty for sliding feet: on top of a reward, beyond real motion only, one sample at a time."""

import numpy as np
import pytest

from rewards.foot_skate import REAL_FOOT_SKATE, FootSkatePenalty
from rewards.physics import foot_skate
from rewards.reward import Motions
from rollout.motion.features import features_to_joints


class Constant:
    name = "constant"

    def __call__(self, motions: Motions) -> dict[str, np.ndarray]:
        return {"total": np.full(len(motions.prompts), 0.75, np.float32)}


@pytest.fixture
def motions():
    """One body that stands still and three that glide at 0.02, 1 and 2 m/s, feet flat on the floor."""
    features = np.zeros((4, 20, 263), np.float32)
    features[:, :, 3] = 0.9
    features[:, :, 4:67].reshape(4, 20, 21, 3)[..., [6, 7, 9, 10], 1] = 0.01  # ankles and toes
    features[:, :, 2] = np.array([0, 0.02, 1.0, 2.0])[:, None] / 20
    return Motions(features, np.full(4, 20), ["a person stands"] * 4)


def test_the_penalty_is_the_slide_beyond_real_motion(motions):
    scores = FootSkatePenalty(Constant(), 0.5)(motions)
    np.testing.assert_allclose(scores["foot_skate"], [0, 0.02, 1, 2], atol=1e-3)
    np.testing.assert_array_equal(scores["foot_skate"], foot_skate(features_to_joints(motions.features), motions.lengths))
    expected = 0.75 - 0.5 * np.array([0, 0, 1 - REAL_FOOT_SKATE, 2 - REAL_FOOT_SKATE])
    np.testing.assert_allclose(scores["total"], expected, atol=1e-3)


def test_a_motion_that_is_not_finite_fails_alone(motions):
    motions.features[1, 3, 2] = np.nan
    total = FootSkatePenalty(Constant(), 0.5)(motions)["total"]
    assert np.isnan(total[1]) and np.isfinite(total[[0, 2, 3]]).all()
