"""Motions as BVH, which Blender and other animation programs import: a skeleton of fixed bones and its joint angles.

Joint positions do not say how a bone is twisted and need not keep its length. Here every bone has its mean length, takes
the shortest way from its parent's pose to where its end was measured, and the joints that carry several bones (pelvis,
chest) turn as one rigid body, by least squares.
"""

import warnings
from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

from rollout.io.errors import InputError
from rollout.motion.skeleton import MotionFormat, format_of

EULER = "ZXY"  # intrinsic: the first letter is the outermost rotation, in BVH's order of channels
_END = 0.4  # length of head, hands and toes, of the bone that leads to them
_SHAPE_ROUNDS = 5  # after which the mean shape of pelvis and chest no longer moves


def write_bvh(path: Path | str, joints: np.ndarray) -> None:
    """Writes joints [T, 22, 3] (metres, y up, 20 fps) as BVH in metres; KIT's [T, 21, 3] at 12.5 fps.

    The rest pose stands with arms out, facing +z. Joints are met to about a centimetre, see `fit`. Raises InputError for
    another shape and for numbers that are not finite.
    """
    skeleton = format_of(np.asarray(joints))
    joints = np.asarray(joints, dtype=np.float64) * skeleton.metres
    if joints.ndim != 3 or not len(joints) or not np.isfinite(joints).all():
        raise InputError(f"joints: found shape {joints.shape} for {path}, expected (frames, joints, 3) of finite numbers")
    offsets, rotations = fit(joints, skeleton)
    before = rotations[:, np.maximum(skeleton.parents, 0)]
    before[:, 0] = np.eye(3)
    angles = euler_angles(before.swapaxes(-1, -2) @ rotations)
    order: list[int] = []
    lines = ["HIERARCHY", *_hierarchy(skeleton, offsets, 0, "", order)]
    motion = np.concatenate([joints[:, 0], angles[:, order].reshape(len(joints), -1)], axis=1)
    lines += ["MOTION", f"Frames: {len(joints)}", f"Frame Time: {1 / skeleton.fps:.6f}"]
    lines += [" ".join(f"{value:.6f}" for value in frame) for frame in motion]
    Path(path).write_text("\n".join(lines) + "\n")


def fit(joints: np.ndarray, skeleton: MotionFormat) -> tuple[np.ndarray, np.ndarray]:
    """Bones [J, 3] in the rest pose, from parent to joint, and rotations [T, J, 3, 3] of every joint in the world.

    A bone is aimed from where the fitted skeleton is, not from the measured joint, so that errors do not add up.
    """
    parents = skeleton.parents
    lengths = np.linalg.norm(joints[:, 1:] - joints[:, parents[1:]], axis=-1).mean(axis=0)
    offsets = _rest_directions(skeleton)
    offsets[1:] *= lengths[:, None]
    fitted = joints.copy()
    rotations = np.tile(np.eye(3), (*joints.shape[:2], 1, 1))
    for joint, parent in enumerate(parents):
        children = [child for child, its_parent in enumerate(parents) if its_parent == joint]
        bones = joints[:, children] - fitted[:, [joint]]
        if parent >= 0:
            rotations[:, joint] = rotations[:, parent]
        if len(children) == 1:
            rotations[:, joint] = _shortest(rotations[:, joint] @ offsets[children[0]], bones[:, 0]) @ rotations[:, joint]
        elif children:
            shape = _mean_shape(offsets[children], joints[:, children] - joints[:, [joint]])
            offsets[children] = shape * (lengths[np.array(children) - 1] / np.linalg.norm(shape, axis=-1).clip(1e-9))[:, None]
            rotations[:, joint] = _rigid(offsets[children], bones)
        fitted[:, children] = fitted[:, [joint]] + offsets[children] @ rotations[:, joint].swapaxes(-1, -2)
    return offsets, rotations


def euler_angles(rotations: np.ndarray) -> np.ndarray:
    """Degrees [T, J, 3] in the order `EULER`; of the angles that mean the same, those closest to the frame before."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # gimbal lock: the angles are one valid choice of many
        angles = Rotation.from_matrix(rotations.reshape(-1, 3, 3)).as_euler(EULER, degrees=True)
    angles = angles.reshape(*rotations.shape[:2], 3)
    every_joint = np.arange(angles.shape[1])
    for last, now in zip(angles, angles[1:]):
        same = np.stack([now, now * [1, -1, 1] + 180])
        same += 360 * np.round((last - same) / 360)
        now[:] = same[np.abs(same - last).sum(axis=-1).argmin(axis=0), every_joint]
    return angles


def _rest_directions(skeleton: MotionFormat) -> np.ndarray:
    """Unit vectors [J, 3]: arms out, because a bone opposite to its rest direction may be twisted either way."""
    right, down, forward = np.array([-1.0, 0, 0]), np.array([0, -1.0, 0]), np.array([0, 0, 1.0])
    directions = np.zeros((len(skeleton.names), 3))
    right_leg, left_leg, spine, right_arm, left_arm = skeleton.chains
    directions[list(spine[1:])] = -down
    for leg, arm, side in ((right_leg, right_arm, right), (left_leg, left_arm, -right)):
        directions[list(arm[1:])] = directions[leg[1]] = side
        directions[list(leg[2:4])], directions[list(leg[4:])] = down, forward
    return directions


def _shortest(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Rotations [T, 3, 3] that turn `source` [T, 3] towards `target` [T, 3]; about any axis where they are opposite."""
    axis = np.cross(source, target)
    sine, cosine = np.linalg.norm(axis, axis=-1), (source * target).sum(axis=-1)
    opposite = (sine <= 1e-9 * -cosine) & (cosine < 0)
    axis[opposite] = np.cross(source[opposite], np.eye(3)[np.abs(source[opposite]).argmin(axis=-1)])
    axis /= np.linalg.norm(axis, axis=-1, keepdims=True).clip(1e-12)
    return Rotation.from_rotvec(axis * np.arctan2(sine, cosine)[:, None]).as_matrix()


def _rigid(shape: np.ndarray, bones: np.ndarray) -> np.ndarray:
    """Rotations [T, 3, 3] that take the bones `shape` [K, 3] closest to `bones` [T, K, 3] (Kabsch 1976)."""
    left, _, right = np.linalg.svd(bones.swapaxes(-1, -2) @ shape)
    left[..., 2] *= np.linalg.det(left @ right)[:, None]  # no reflections
    return left @ right


def _mean_shape(shape: np.ndarray, bones: np.ndarray) -> np.ndarray:
    """The bones [K, 3] of a joint as they mostly lie to each other in `bones` [T, K, 3], posed like `shape`."""
    for _ in range(_SHAPE_ROUNDS):
        shape = (bones @ _rigid(shape, bones)).mean(axis=0)
    return shape


def _hierarchy(skeleton: MotionFormat, offsets: np.ndarray, joint: int, indent: str, order: list[int]) -> list[str]:
    """The lines of a joint and all below it; `order` takes the joints as they are written, which is that of the channels."""
    order.append(joint)
    inside = indent + "  "
    offset, end = (" ".join(f"{value:.6f}" for value in vector) for vector in (offsets[joint], _END * offsets[joint]))
    channels = " ".join(f"{axis}rotation" for axis in EULER)
    children = [child for child, parent in enumerate(skeleton.parents) if parent == joint]
    lines = [
        f"{indent}{'JOINT' if joint else 'ROOT'} {skeleton.names[joint]}", indent + "{", f"{inside}OFFSET {offset}",
        f"{inside}CHANNELS 3 {channels}" if joint else f"{inside}CHANNELS 6 Xposition Yposition Zposition {channels}",
    ]  # fmt: skip
    for child in children:
        lines += _hierarchy(skeleton, offsets, child, inside, order)
    if not children:
        lines += [inside + "End Site", inside + "{", f"{inside}  OFFSET {end}", inside + "}"]
    return [*lines, indent + "}"]
