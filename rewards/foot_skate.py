"""A reward component that minds the floor: a penalty for feet that slide more than those of real people."""

import numpy as np

from rewards.physics import foot_skate
from rewards.reward import Motions

REAL_FOOT_SKATE = 0.035  # m/s, mean over the first 40 frames of real val and test clips, joints as recorded


class FootSkate:
    """Minus the foot skate beyond that of real motion, m/s.

    Nothing is gained below the real value, so standing still earns no more than walking well.
    """

    def __call__(self, motions: Motions) -> np.ndarray:
        return -np.maximum(foot_skate(motions.joints, motions.lengths) - REAL_FOOT_SKATE, 0).astype(np.float32)
