"""What a body on a floor cannot do: sliding feet, sinking, hovering, shaking, drifting. Measures; lower is more physical.

Every function takes joints float32 [N, T, 22, 3] at 20 fps or KIT's [N, T, 21, 3] at 12.5 (metres, y up, floor at y = 0) and
lengths int [N] in 1..T, and returns float32 [N]. Frames at or past a sample's length never count, whatever they hold. A number that is not
finite inside the length makes that sample NaN and no other; a sample with nothing to measure (no stance, too few
frames) is 0. InputError for shapes or lengths that do not fit.

All are 0 for a body that stands still, so none is a reward by itself: compare with real motion, as `rewards/motion/real_band.py`
does, or with the base model. Clips recorded on uneven ground have no common floor; their users leave them out of foot statistics.
"""

import functools
from collections.abc import Callable

import numpy as np

from rollout.io.errors import InputError
from rollout.motion.skeleton import FORMATS, format_of

TOE_HEIGHT, ANKLE_HEIGHT = 0.05, 0.08  # m; a foot stands below both
FLOOR_TOLERANCE = 0.005  # m


def _mean(values: Callable[[np.ndarray], np.ndarray]) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """A measure: the mean of what `values` makes of joints, [N, T - k, ...] by a frame and those k before it, over all frames
    inside a sample's length; 0 where there are none, NaN where the sample is not finite."""

    @functools.wraps(values)
    def measure(joints: np.ndarray, lengths: np.ndarray) -> np.ndarray:
        joints, valid, finite = _checked(joints, lengths)
        found = values(joints)
        lost, axes = valid.shape[1] - found.shape[1], tuple(range(1, found.ndim))
        counted = np.broadcast_to(np.expand_dims(valid[:, lost:], axes[1:]), found.shape)
        mean = np.where(counted, found, 0).sum(axis=axes) / np.maximum(counted.sum(axis=axes), 1)
        return np.where(finite, mean, np.nan).astype(np.float32)

    return measure


@_mean
def foot_skate(joints: np.ndarray) -> np.ndarray:
    """Horizontal speed of a toe while its foot stands, 0 while it does not, mean over frames and feet; m/s.

    A foot stands between two frames when in both its toe is below 5 cm and its ankle below 8 cm: in mid-swing the toe
    alone is low too, and would triple the value of real walking. As in the foot skating ratio of Guided Motion Diffusion
    (Karunratanakul et al., ICCV 2023), whose contact height this is, all frames are in the denominator: a mean over
    stance alone is 0 for feet that never stand and jumps when they touch the floor once.
    """
    kind = format_of(joints)
    speed = np.linalg.norm(np.diff(joints[:, :, kind.toes][..., [0, 2]], axis=1), axis=-1) * kind.fps  # [N, T-1, 2]
    return np.where(_stance(joints), speed, 0)


@_mean
def ground_penetration(joints: np.ndarray) -> np.ndarray:
    """Mean depth of the lowest joint below the floor, m; depths within 5 mm are 0.

    PhysDiff's Penetrate (Yuan et al., ICCV 2023) on joints instead of the body's surface.
    """
    depth = -joints[..., 1].min(axis=2)
    return np.where(depth > FLOOR_TOLERANCE, depth, 0)


@_mean
def floating(joints: np.ndarray) -> np.ndarray:
    """Mean height of the lowest joint above the floor, m; heights within 5 mm are 0.

    PhysDiff's Float (Yuan et al., ICCV 2023) on joints instead of the body's surface. A real jump floats too.
    """
    height = joints[..., 1].min(axis=2)
    return np.where(height > FLOOR_TOLERANCE, height, 0)


@_mean
def jerk(joints: np.ndarray) -> np.ndarray:
    """Mean size of the third derivative of a joint's position, m/s^3, over all joints; finite differences.

    The smoothness measure of Flash and Hogan (1985), as reported for motion capture by TransPose (Yi et al., 2021).
    """
    return np.linalg.norm(np.diff(joints, n=3, axis=1), axis=-1) * format_of(joints).fps ** 3  # [N, T-3, J]


@_mean
def smoothness(joints: np.ndarray) -> np.ndarray:
    """How unsmooth: mean size of a joint's acceleration, m/s^2, over all joints; second finite differences.

    The acceleration of the human mesh recovery literature (Kanazawa et al., CVPR 2019), without a reference motion.
    Slow motion has little of it, whatever its quality.
    """
    return np.linalg.norm(np.diff(joints, n=2, axis=1), axis=-1) * format_of(joints).fps ** 2  # [N, T-2, J]


def root_drift(joints: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """How far the root travels while both feet stand, per second of motion; m/s. A measure of this project.

    The net horizontal way of the root over each stretch of frames in which both feet stand (as in `foot_skate`), summed
    over the stretches: swaying to and fro is free, gliding on two standing feet counts in full, flight and steps not.
    """
    joints, valid, finite = _checked(joints, lengths)
    steps = np.diff(joints[:, :, 0][..., [0, 2]], axis=1)  # [N, T-1, 2]
    both = _stance(joints).all(axis=2) & valid[:, 1:]
    stretch = np.cumsum(np.diff(both, axis=1, prepend=False) & both, axis=1)  # which stretch a step belongs to, 1..
    way = np.zeros(len(joints))
    for number in range(1, stretch.max(initial=0) + 1):
        inside = (both & (stretch == number))[..., None]
        way += np.linalg.norm(np.where(inside, steps, 0).sum(axis=1), axis=-1)
    seconds = np.maximum(valid[:, 1:].sum(axis=1), 1) / format_of(joints).fps
    return np.where(finite, way / seconds, np.nan).astype(np.float32)


def _stance(joints: np.ndarray) -> np.ndarray:
    """bool [N, T-1, 2]: the steps between two frames in both of which a foot's toe and ankle are low."""
    kind = format_of(joints)
    low = (joints[:, :, kind.toes, 1] < TOE_HEIGHT) & (joints[:, :, kind.ankles, 1] < ANKLE_HEIGHT)
    return low[:, 1:] & low[:, :-1]


def _checked(joints: np.ndarray, lengths: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Joints in float64 with 0 past each length, which frames are valid [N, T], which samples are finite [N]."""
    joints, lengths = np.asarray(joints), np.asarray(lengths)
    if joints.shape[2:] not in [(kind.joints, 3) for kind in FORMATS.values()] or lengths.shape != joints.shape[:1]:
        raise InputError(
            f"physics: joints of shape {joints.shape} and lengths of shape {lengths.shape}, "
            "expected (N, T, 22, 3) or KIT's (N, T, 21, 3), and (N,)"
        )
    if len(lengths) and not (lengths.min() >= 1 and lengths.max() <= joints.shape[1]):
        raise InputError(f"physics: lengths {lengths.min()}..{lengths.max()}, expected 1..{joints.shape[1]}")
    valid = np.arange(joints.shape[1]) < lengths[:, None]
    joints = np.where(valid[:, :, None, None], joints, 0).astype(np.float64)
    finite = np.isfinite(joints).all(axis=(1, 2, 3))
    return np.where(finite[:, None, None, None], joints, 0), valid, finite


# What an evaluation reports of motions, and what training's own evaluation adds.
PHYSICS = {"foot_skate": foot_skate, "ground_penetration": ground_penetration, "floating": floating, "jerk": jerk}
ALL_PHYSICS = PHYSICS | {"smoothness": smoothness, "root_drift": root_drift}
