"""What a TMR reads of a motion: its features as they are, or what its joints alone decide. The width of its input tells which.

Of HumanML3D's 263 features the first 67 determine the skeleton; the other 196 repeat it, and a model can make them say anything.
An evaluator of joints, or of those 67, cannot be told more than a person sees.
"""

from collections.abc import Callable

import numpy as np

from rollout.motion.features import features_to_joints
from rollout.motion.skeleton import HUMANML3D

GROUND = np.array([1, 0, 1], np.float32)


def essential(features: np.ndarray) -> np.ndarray:
    """[..., 67] of [..., 263]: yaw velocity, velocities and height of the root, positions of joints 1..21 in each frame's facing."""
    return features[..., : HUMANML3D.positions.stop]


def joints(features: np.ndarray) -> np.ndarray:
    """float32 [..., T, 66] of [..., T, 263]: 22 joints in metres as the first frame faces: the root from where it began, the others
    from the point of the floor that it is above."""
    with np.errstate(invalid="ignore", over="ignore"):  # past a length may be anything
        found = features_to_joints(features)
        root = found[..., :1, :]
        others = found[..., 1:, :] - root * GROUND
    return np.concatenate([root, others], axis=-2).reshape(*found.shape[:-2], 3 * HUMANML3D.joints)


# By width: anything else is read as it is.
READINGS: dict[int, Callable[[np.ndarray], np.ndarray]] = {HUMANML3D.positions.stop: essential, 3 * HUMANML3D.joints: joints}
