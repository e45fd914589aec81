"""Joints to motion features and back (Guo et al., CVPR 2022; pipeline and published quirks included), in either format.

Frame t of HumanML3D's 263 features: 0 half the yaw change to frame t+1 (rad); 1:3 root x, z displacement to t+1 in the facing
frame of t+1 (m); 3 root height (m); 4:67 joints 1..21 relative to the root's ground point in the facing frame (m);
67:193 their local rotations, 6D; 193:259 displacements of all 22 joints to t+1 in the facing frame (m);
259:263 foot contacts (l_ankle, l_foot, r_ankle, r_foot), 0 or 1. So T frames of joints give T-1 frames of features.
KIT's 251 features are the same of 21 joints in its own unit: J joints give 12 J - 1 numbers. What a motion is in shows in its width.
"""

import numpy as np

from rollout.io.errors import InputError
from rollout.motion import quaternion
from rollout.motion.skeleton import EITHER, FORMATS, MotionFormat, format_of

_SMOOTHING_SIGMA = 20.0  # frames
_UP = np.array([0, 1, 0], dtype=np.float32)
_FORWARD = np.array([0, 0, 1], dtype=np.float32)


def joints_to_features(joints: np.ndarray) -> np.ndarray:
    """Motion features float32 [T-1, 263] of joint positions [T, 22, 3] (metres, y up, 20 fps, target skeleton); [T-1, 251] of
    KIT's [T, 21, 3] in its unit and rate.

    The official pipeline after retargeting: the clip is first put on the floor, at the origin and facing +z. A bone
    exactly opposite to its rest direction gives NaN, as published: check before use. Raises InputError for a wrong shape.
    """
    joints = np.asarray(joints, dtype=np.float32)
    kind = format_of(joints)
    if joints.ndim != 3 or len(joints) < 2:
        raise InputError(f"joints: found shape {joints.shape}, expected (frames >= 2, {kind.joints}, 3)")
    joints = _canonical(joints, kind)
    root_t = _root_rotations(joints, kind)
    now, then = root_t[:-1], root_t[1:]
    steps = joints[1:] - joints[:-1]

    # Clipped because float32 products can leave [-1, 1] by one unit in the last place.
    half_yaw = np.arcsin(np.clip(quaternion.multiply(then, quaternion.inverse(now))[:, 2:3], -1, 1))
    root_step = quaternion.rotate(then, steps[:, 0])[:, [0, 2]]
    height = joints[:-1, 0, 1:2]
    local = joints[:-1, 1:] - joints[:-1, :1] * np.array([1, 0, 1], dtype=np.float32)
    positions = quaternion.rotate(now[:, None], local)
    rotations = quaternion.matrix_columns(_local_rotations(joints, root_t, kind)[:-1])
    velocities = quaternion.rotate(now[:, None], steps)
    contacts = (steps[:, kind.contacts] ** 2).sum(-1) < kind.contact_threshold

    frames = len(steps)
    parts = [half_yaw, root_step, height, positions, rotations, velocities, contacts]
    return np.concatenate([part.reshape(frames, -1).astype(np.float32) for part in parts], axis=1)


def padded(motions: list[np.ndarray], frames: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Motions [., F] side by side: float32 [N, `frames`, F] (as many as the longest has), 0 past each length, and lengths [N]."""
    lengths = np.array([len(motion) for motion in motions])
    features = np.zeros((len(motions), frames or lengths.max(), motions[0].shape[1]), np.float32)
    for row, motion in zip(features, motions):
        row[: len(motion)] = motion
    return features, lengths


def frozen(features: np.ndarray, frame: int) -> np.ndarray:
    """The pose of one frame of [T, F] held: no root motion, no velocities, feet in contact."""
    kind, held = FORMATS[features.shape[1]], np.repeat(features[frame : frame + 1], len(features), axis=0)
    held[:, 0:3], held[:, kind.velocities], held[:, kind.feet] = 0, 0, 1
    return held


def rederived(features: np.ndarray) -> np.ndarray:
    """What the skeleton of one motion [T, F] really does: features [T-1, F] computed anew from its recovered joints.

    Only dims 0:67 (KIT 0:64) determine the skeleton; a model could make the others (rotations, velocities, contacts) say anything.
    All NaN where the motion is not finite.
    """
    if not np.isfinite(features).all():
        return np.full((len(features) - 1, features.shape[1]), np.nan, np.float32)
    return joints_to_features(features_to_joints(features))


def rederived_motions(outputs: np.ndarray, lengths: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Features [N, T-1, F] and lengths re-derived from the skeleton recovered from raw features [N, T, F], so that
    a score is earned by what a person would see and not by dims that no joint follows. One frame shorter; 0 beyond."""
    features = np.zeros_like(outputs[:, 1:])
    for row, motion, length in zip(features, outputs, lengths):
        row[: length - 1] = rederived(motion[:length])
    return features, lengths - 1


def features_to_joints(features: np.ndarray) -> np.ndarray:
    """Joint positions float32 [..., T, 22, 3] (metres) of raw features [..., T, 263]; `recover_from_ric`.

    KIT's [..., T, 251] give [..., T, 21, 3] in its own unit. The root's heading and path are integrated from dims 0:3, the
    other joints placed from dims 4:67 (KIT 4:64); the rest is not read. Raises InputError for a wrong width.
    """
    features = np.asarray(features, dtype=np.float32)
    if features.ndim < 2 or features.shape[-1] not in FORMATS:
        raise InputError(f"features: found shape {features.shape}, expected (..., frames, {EITHER})")
    kind = FORMATS[features.shape[-1]]
    before = np.zeros_like(features[..., :3])  # yaw and path from the frame before to each
    before[..., 1:, :] = features[..., :-1, :3]
    facing = quaternion.inverse(_yaw(np.cumsum(before[..., 0], axis=-1, dtype=np.float64)))
    step = before[..., [1, 0, 2]]
    step[..., 1] = 0
    root = np.cumsum(quaternion.rotate(facing, step), axis=-2, dtype=np.float64).astype(np.float32)
    root[..., 1] = features[..., 3]

    positions = features[..., kind.positions].reshape(features.shape[:-1] + (kind.joints - 1, 3))
    ground = root[..., None, :] * np.array([1, 0, 1], dtype=np.float32)
    return np.concatenate([root[..., None, :], quaternion.rotate(facing[..., None, :], positions) + ground], axis=-2)


def joints_in_metres(features: np.ndarray) -> np.ndarray:
    """`features_to_joints`, in metres whatever the data's unit."""
    joints = features_to_joints(features)
    return joints * np.float32(format_of(joints).metres)


def _canonical(joints: np.ndarray, kind: MotionFormat) -> np.ndarray:
    """The clip with its lowest point at y = 0, the first root at x = z = 0 and the first frame facing +z."""
    joints = joints - _UP * joints[..., 1].min()
    joints = joints - joints[0, 0] * np.array([1, 0, 1], dtype=np.float32)
    (left_hip, right_hip), (left_shoulder, right_shoulder) = kind.hips, kind.shoulders
    hips = joints[:1, right_hip] - joints[:1, left_hip]
    facing = quaternion.normalised(np.cross(_UP, hips + joints[:1, right_shoulder] - joints[:1, left_shoulder]))
    return quaternion.rotate(quaternion.between(facing, _FORWARD)[:, None], joints)


def _root_rotations(joints: np.ndarray, kind: MotionFormat) -> np.ndarray:
    """The yaw [T, 4] that turns each frame's smoothed facing to +z; identity at frame 0."""
    from scipy.ndimage import gaussian_filter1d  # a quarter of a second, for processes that derive features only

    # The hips enter with the wrong sign: a published bug that the wider shoulders outweigh, and so part of the format.
    (left_hip, right_hip), (left_shoulder, right_shoulder) = kind.hips, kind.shoulders
    across = joints[:, left_hip] - joints[:, right_hip] + joints[:, right_shoulder] - joints[:, left_shoulder]
    facing = gaussian_filter1d(np.cross(_UP, quaternion.normalised(across)), _SMOOTHING_SIGMA, axis=0, mode="nearest")
    root = quaternion.between(quaternion.normalised(facing), _FORWARD)
    root[0] = (1, 0, 0, 0)
    return root


def _local_rotations(joints: np.ndarray, root_t: np.ndarray, kind: MotionFormat) -> np.ndarray:
    """Rotations [T, J-1, 4] of joints 1..J-1 relative to the one before in their chain."""
    bones = quaternion.normalised(joints[:, 1:] - joints[:, kind.parents[1:]])
    world = np.concatenate([root_t[:, None], quaternion.between(kind.unit_offsets[1:], bones)], axis=1)
    return quaternion.multiply(quaternion.inverse(world[:, kind.chain_parents]), world[:, 1:])


def _yaw(angle: np.ndarray) -> np.ndarray:
    """Quaternions [..., 4] about +y by twice `angle`."""
    zero = np.zeros_like(angle)
    return np.stack([np.cos(angle), zero, np.sin(angle), zero], axis=-1).astype(np.float32)
