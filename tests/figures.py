"""A simple walker to draw, and counting what was drawn."""

import numpy as np
from PIL import Image, ImageColor

from rollout.motion.skeleton import BONE_LENGTHS, HUMANML3D, KIT


def walker(frames: int = 20, speed: float = 0.05) -> np.ndarray:
    """A rest pose standing on the ground that swings its legs and glides along +z, [frames, 22, 3]."""
    pose = np.zeros((HUMANML3D.joints, 3), dtype=np.float32)
    for joint in range(1, HUMANML3D.joints):
        pose[joint] = pose[HUMANML3D.parents[joint]] + HUMANML3D.unit_offsets[joint] * BONE_LENGTHS[joint]
    joints = np.repeat(pose[None] - [0, pose[:, 1].min(), 0], frames, axis=0)
    swing = 0.2 * np.sin(np.arange(frames) / 3)[:, None] * (speed > 0)
    joints[:, [4, 7, 10], 2] += swing
    joints[:, [5, 8, 11], 2] -= swing
    joints[..., 2] += speed * np.arange(frames)[:, None]
    return joints


def kit_stander(frames: int = 20) -> np.ndarray:
    """A person of KIT's skeleton and unit who stands with lowered arms and looks along +z, [frames, 21, 3]."""
    right_leg, left_leg, trunk, right_arm, left_arm = KIT.chains
    pose = np.zeros((21, 3))
    pose[list(trunk), 1] = np.array([0.95, 1.05, 1.35, 1.5, 1.65])
    for leg, arm, side in ((right_leg, right_arm, -1), (left_leg, left_arm, 1)):
        pose[list(leg[1:])] = [[0.1 * side, y, z] for y, z in ((0.93, 0), (0.5, 0), (0.07, 0), (0.03, -0.03), (0.02, 0.15))]
        pose[list(arm[1:])] = [[0.2 * side, y, 0] for y in (1.4, 1.15, 0.9)]
    return np.repeat(pose[None] / KIT.metres, frames, axis=0).astype(np.float32)


def pixels(image: Image.Image, colour: str) -> np.ndarray:
    """Rows and columns [n, 2] of the pixels of exactly that colour."""
    return np.argwhere((np.asarray(image.convert("RGB")) == ImageColor.getrgb(colour)).all(axis=-1))
