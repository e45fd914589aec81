"""A simple walker to draw, and counting what was drawn."""

import numpy as np
from PIL import Image, ImageColor

from rollout.motion.skeleton import BONE_LENGTHS, JOINTS, PARENTS, UNIT_OFFSETS


def walker(frames: int = 20, speed: float = 0.05) -> np.ndarray:
    """A rest pose standing on the ground that swings its legs and glides along +z, [frames, 22, 3]."""
    pose = np.zeros((JOINTS, 3), dtype=np.float32)
    for joint in range(1, JOINTS):
        pose[joint] = pose[PARENTS[joint]] + UNIT_OFFSETS[joint] * BONE_LENGTHS[joint]
    joints = np.repeat(pose[None] - [0, pose[:, 1].min(), 0], frames, axis=0)
    swing = 0.2 * np.sin(np.arange(frames) / 3)[:, None] * (speed > 0)
    joints[:, [4, 7, 10], 2] += swing
    joints[:, [5, 8, 11], 2] -= swing
    joints[..., 2] += speed * np.arange(frames)[:, None]
    return joints


def pixels(image: Image.Image, colour: str) -> np.ndarray:
    """Rows and columns [n, 2] of the pixels of exactly that colour."""
    return np.argwhere((np.asarray(image.convert("RGB")) == ImageColor.getrgb(colour)).all(axis=-1))
