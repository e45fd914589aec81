"""The 22-joint HumanML3D skeleton (SMPL joint order): names, tree, target bone lengths, retargeting; and KIT's tree.

Axes: y up; a person at rest faces +z with their left side towards +x. Lengths in metres.
"""

from dataclasses import dataclass

import numpy as np

from rollout.io.errors import InputError

FPS = 20
JOINTS = 22
FEATURES = 263
KIT_FEATURES = 251

JOINT_NAMES = (
    "pelvis", "l_hip", "r_hip", "spine1", "l_knee", "r_knee", "spine2", "l_ankle", "r_ankle", "spine3", "l_foot",
    "r_foot", "neck", "l_collar", "r_collar", "head", "l_shoulder", "r_shoulder", "l_elbow", "r_elbow", "l_wrist",
    "r_wrist",
)  # fmt: skip
PARENTS = (-1, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9, 12, 13, 14, 16, 17, 18, 19)
# Right leg, left leg, spine and head, right arm, left arm.
CHAINS = ((0, 2, 5, 8, 11), (0, 1, 4, 7, 10), (0, 3, 6, 9, 12, 15), (9, 14, 17, 19, 21), (9, 13, 16, 18, 20))

# [22, 3] direction of each bone (parent to joint) in the rest pose; the pelvis has none.
UNIT_OFFSETS = np.array(
    [[0, 0, 0], [1, 0, 0], [-1, 0, 0], [0, 1, 0], [0, -1, 0], [0, -1, 0], [0, 1, 0], [0, -1, 0], [0, -1, 0],
     [0, 1, 0], [0, 0, 1], [0, 0, 1], [0, 1, 0], [1, 0, 0], [-1, 0, 0], [0, 0, 1], [0, -1, 0], [0, -1, 0],
     [0, -1, 0], [0, -1, 0], [0, -1, 0], [0, -1, 0]],
    dtype=np.float32,
)  # fmt: skip
# [22] metres, of HumanML3D's target skeleton (its clip 000021, frame 0).
BONE_LENGTHS = np.array(
    [0.0, 0.1030740, 0.1098834, 0.1315682, 0.3936232, 0.3901882, 0.1431902, 0.4324331, 0.4256434, 0.0573647, 0.1433818,
     0.1494191, 0.2193601, 0.1374868, 0.1433828, 0.1030392, 0.1316140, 0.1229844, 0.2568400, 0.2630917, 0.2660117,
     0.2698764],
    dtype=np.float32,
)  # fmt: skip
# The official scale looks at the right leg only.
_LEG = (5, 8)


@dataclass(frozen=True)
class Skeleton:
    """A tree of joints to draw or export. `chains`: right leg, left leg, spine and head, right arm, left arm.

    Every arm ends in shoulder, elbow, wrist and the spine in neck, head; `metres` is the length of the data's unit.
    """

    names: tuple[str, ...]
    parents: tuple[int, ...]
    chains: tuple[tuple[int, ...], ...]
    metres: float
    fps: float


HUMANML3D = Skeleton(JOINT_NAMES, PARENTS, CHAINS, 1.0, FPS)
# Left and right as in the public pipeline, whose facing direction makes joint 11 the right hip. Its coordinates are those
# of the Master Motor Map, without a stated unit: the public renderers draw them at 0.003 where they draw metres at 1.3.
KIT = Skeleton(
    ("root", "pelvis", "thorax", "neck", "head", "r_shoulder", "r_elbow", "r_wrist", "l_shoulder", "l_elbow", "l_wrist",
     "r_hip", "r_knee", "r_ankle", "r_heel", "r_foot", "l_hip", "l_knee", "l_ankle", "l_heel", "l_foot"),
    (-1, 0, 1, 2, 3, 3, 5, 6, 3, 8, 9, 0, 11, 12, 13, 14, 0, 16, 17, 18, 19),
    ((0, 11, 12, 13, 14, 15), (0, 16, 17, 18, 19, 20), (0, 1, 2, 3, 4), (3, 5, 6, 7), (3, 8, 9, 10)), 0.003 / 1.3, 12.5,
)  # fmt: skip


def skeleton_of(joints: np.ndarray) -> Skeleton:
    """The skeleton that has as many joints as `joints` [..., J, 3]; raises InputError when none has."""
    for skeleton in (HUMANML3D, KIT):
        if joints.ndim >= 2 and joints.shape[-2:] == (len(skeleton.names), 3):
            return skeleton
    raise InputError(f"joints: found shape {joints.shape}, expected (..., 22, 3) or KIT's (..., 21, 3)")


def require_joints(joints: np.ndarray) -> np.ndarray:
    """`joints` as float32 [T, 22, 3] with T >= 2; raises InputError for any other shape."""
    joints = np.asarray(joints, dtype=np.float32)
    if joints.ndim != 3 or joints.shape[1:] != (JOINTS, 3) or len(joints) < 2:
        raise InputError(f"joints: found shape {joints.shape}, expected (frames >= 2, {JOINTS}, 3)")
    return joints


def retarget(joints: np.ndarray) -> np.ndarray:
    """Source joints [T, 22, 3] (any bone lengths) on the target skeleton, float32 [T, 22, 3].

    HumanML3D's `uniform_skeleton`: the root path is scaled by the ratio of leg lengths (thigh and shin of frame 0).
    Its inverse followed by forward kinematics keeps every bone's direction and replaces its length, which is what is
    computed here. Raises InputError for a wrong shape or a leg without length.
    """
    joints = require_joints(joints)
    bones = joints[:, 1:] - joints[:, PARENTS[1:]]
    lengths = np.linalg.norm(bones, axis=-1, keepdims=True)
    source_leg = sum(float(lengths[0, joint - 1, 0]) for joint in _LEG)
    if not source_leg > 0:
        raise InputError(f"joints: right leg of frame 0 is {source_leg} m long, expected a positive length")
    target_leg = sum(float(BONE_LENGTHS[joint]) for joint in _LEG)
    directions = bones / np.maximum(lengths, np.finfo(np.float32).tiny)

    retargeted = np.empty_like(joints)
    retargeted[:, 0] = joints[:, 0] * (target_leg / source_leg)
    for joint in range(1, JOINTS):
        bone = directions[:, joint - 1] * BONE_LENGTHS[joint]
        retargeted[:, joint] = retargeted[:, PARENTS[joint]] + bone
    return retargeted
