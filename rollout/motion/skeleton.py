"""The two formats that motions come in, HumanML3D's and KIT-ML's: skeleton, features, rate and unit; and retargeting to the first.

Axes: y up; a person at rest faces +z with their left side towards +x.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from rollout.io.errors import InputError


@dataclass(frozen=True, eq=False)
class MotionFormat:
    """A tree of J joints, and what is measured of it: 12 J - 1 features a frame (`rollout.motion.features`).

    name: also of its folder in an MDM checkout's dataset/. datasets: what args.json and model.dataset call it. evaluator: its
    T2M evaluator's folder in a checkout, and what the names of that one's statistics begin with.
    metres: length of the data's unit. fps: frames a second. shortest: frames of the shortest motion that is evaluated.
    chains: right leg, left leg, spine and head, right arm, left arm; every arm ends in shoulder, elbow, wrist and the spine in
    neck, head. unit_offsets: [J, 3] direction of each bone (parent to joint) in the rest pose; the root has none.
    Pairs are of left and right joints; `contacts`: left foot's two joints, right foot's two, which count as in contact while their
    squared displacement in one frame is below `contact_threshold` (the data's unit, squared).
    """

    name: str
    datasets: tuple[str, ...]
    evaluator: str
    names: tuple[str, ...]
    parents: tuple[int, ...]
    chains: tuple[tuple[int, ...], ...]
    unit_offsets: np.ndarray
    hips: tuple[int, int]
    shoulders: tuple[int, int]
    ankles: tuple[int, int]
    toes: tuple[int, int]
    contacts: tuple[int, int, int, int]
    contact_threshold: float
    metres: float
    fps: float
    shortest: int

    @property
    def joints(self) -> int:
        return len(self.names)

    @property
    def features(self) -> int:
        return 12 * self.joints - 1

    @property
    def positions(self) -> slice:
        """Features that place joints 1..J-1. Those before are of the root; these alone determine the skeleton."""
        return slice(4, 3 * self.joints + 1)

    @property
    def rotations(self) -> slice:
        """Features that turn joints 1..J-1, 6 each."""
        return slice(3 * self.joints + 1, 9 * self.joints - 5)

    @property
    def velocities(self) -> slice:
        return slice(9 * self.joints - 5, 12 * self.joints - 5)

    @property
    def feet(self) -> slice:
        """Features that say whether a joint of the feet is in contact."""
        return slice(12 * self.joints - 5, 12 * self.joints - 1)

    @cached_property
    def chain_parents(self) -> list[int]:
        """The joint before each of joints 1..J-1 in its chain. Every chain restarts from the root's rotation, the arms' too, so
        that collars are relative to the pelvis and not to the spine."""
        before = {joint: 0 if i == 0 else chain[i] for chain in self.chains for i, joint in enumerate(chain[1:])}
        return [before[joint] for joint in range(1, self.joints)]


HUMANML3D = MotionFormat(
    name="HumanML3D", datasets=("humanml", "cmu"), evaluator="t2m",
    names=(
        "pelvis", "l_hip", "r_hip", "spine1", "l_knee", "r_knee", "spine2", "l_ankle", "r_ankle", "spine3", "l_foot",
        "r_foot", "neck", "l_collar", "r_collar", "head", "l_shoulder", "r_shoulder", "l_elbow", "r_elbow", "l_wrist", "r_wrist",
    ),
    parents=(-1, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9, 12, 13, 14, 16, 17, 18, 19),
    chains=((0, 2, 5, 8, 11), (0, 1, 4, 7, 10), (0, 3, 6, 9, 12, 15), (9, 14, 17, 19, 21), (9, 13, 16, 18, 20)),
    unit_offsets=np.array(
        [[0, 0, 0], [1, 0, 0], [-1, 0, 0], [0, 1, 0], [0, -1, 0], [0, -1, 0], [0, 1, 0], [0, -1, 0], [0, -1, 0],
         [0, 1, 0], [0, 0, 1], [0, 0, 1], [0, 1, 0], [1, 0, 0], [-1, 0, 0], [0, 0, 1], [0, -1, 0], [0, -1, 0],
         [0, -1, 0], [0, -1, 0], [0, -1, 0], [0, -1, 0]],
        dtype=np.float32,
    ),
    hips=(1, 2), shoulders=(16, 17), ankles=(7, 8), toes=(10, 11), contacts=(7, 10, 8, 11), contact_threshold=0.002,
    metres=1.0, fps=20, shortest=40,
)  # fmt: skip
# Left and right are as in the public pipeline, whose facing direction makes joint 11 the right hip, though its rest pose has the hips
# and shoulders of both sides the other way round: such bones are all but opposite to their rest direction, so their rotations (which no
# joint follows) jump, as published. The unit is a millimetre of the Master Motor Map, whose people are about a metre tall: 640 of it
# are a metre of SMPL-H's people, by the factor that public code takes between the two.
KIT = MotionFormat(
    name="KIT-ML", datasets=("kit",), evaluator="kit",
    names=(
        "root", "pelvis", "thorax", "neck", "head", "r_shoulder", "r_elbow", "r_wrist", "l_shoulder", "l_elbow", "l_wrist",
        "r_hip", "r_knee", "r_ankle", "r_heel", "r_foot", "l_hip", "l_knee", "l_ankle", "l_heel", "l_foot",
    ),
    parents=(-1, 0, 1, 2, 3, 3, 5, 6, 3, 8, 9, 0, 11, 12, 13, 14, 0, 16, 17, 18, 19),
    chains=((0, 11, 12, 13, 14, 15), (0, 16, 17, 18, 19, 20), (0, 1, 2, 3, 4), (3, 5, 6, 7), (3, 8, 9, 10)),
    unit_offsets=np.array(
        [[0, 0, 0], [0, 1, 0], [0, 1, 0], [0, 1, 0], [0, 1, 0], [1, 0, 0], [0, -1, 0], [0, -1, 0], [-1, 0, 0], [0, -1, 0], [0, -1, 0],
         [1, 0, 0], [0, -1, 0], [0, -1, 0], [0, 0, 1], [0, 0, 1], [-1, 0, 0], [0, -1, 0], [0, -1, 0], [0, 0, 1], [0, 0, 1]],
        dtype=np.float32,
    ),
    hips=(16, 11), shoulders=(8, 5), ankles=(18, 13), toes=(20, 15), contacts=(19, 20, 14, 15), contact_threshold=0.05,
    metres=0.75 / 480, fps=12.5, shortest=24,
)  # fmt: skip
FORMATS = {each.features: each for each in (HUMANML3D, KIT)}  # by the width of their features
EITHER = " or ".join(f"{each.name}'s {width}" for width, each in FORMATS.items())  # for messages

# [22] metres, of HumanML3D's target skeleton (its clip 000021, frame 0).
BONE_LENGTHS = np.array(
    [0.0, 0.1030740, 0.1098834, 0.1315682, 0.3936232, 0.3901882, 0.1431902, 0.4324331, 0.4256434, 0.0573647, 0.1433818,
     0.1494191, 0.2193601, 0.1374868, 0.1433828, 0.1030392, 0.1316140, 0.1229844, 0.2568400, 0.2630917, 0.2660117,
     0.2698764],
    dtype=np.float32,
)  # fmt: skip
# The official scale looks at the right leg only.
_LEG = (5, 8)


def format_of(joints: np.ndarray) -> MotionFormat:
    """The format that has as many joints as `joints` [..., J, 3]; raises InputError when none has."""
    for found in FORMATS.values():
        if joints.ndim >= 2 and joints.shape[-2:] == (found.joints, 3):
            return found
    raise InputError(f"joints: found shape {joints.shape}, expected (..., 22, 3) or KIT's (..., 21, 3)")


def retarget(joints: np.ndarray) -> np.ndarray:
    """Source joints [T, 22, 3] (any bone lengths) on HumanML3D's target skeleton, float32 [T, 22, 3].

    HumanML3D's `uniform_skeleton`: the root path is scaled by the ratio of leg lengths (thigh and shin of frame 0).
    Its inverse followed by forward kinematics keeps every bone's direction and replaces its length, which is what is
    computed here. Raises InputError for a wrong shape or a leg without length.
    """
    joints, parents = np.asarray(joints, dtype=np.float32), HUMANML3D.parents
    if joints.ndim != 3 or joints.shape[1:] != (HUMANML3D.joints, 3) or len(joints) < 2:
        raise InputError(f"joints: found shape {joints.shape}, expected (frames >= 2, {HUMANML3D.joints}, 3)")
    bones = joints[:, 1:] - joints[:, parents[1:]]
    lengths = np.linalg.norm(bones, axis=-1, keepdims=True)
    source_leg = sum(float(lengths[0, joint - 1, 0]) for joint in _LEG)
    if not source_leg > 0:
        raise InputError(f"joints: right leg of frame 0 is {source_leg} m long, expected a positive length")
    target_leg = sum(float(BONE_LENGTHS[joint]) for joint in _LEG)
    directions = bones / np.maximum(lengths, np.finfo(np.float32).tiny)

    retargeted = np.empty_like(joints)
    retargeted[:, 0] = joints[:, 0] * (target_leg / source_leg)
    for joint in range(1, HUMANML3D.joints):
        bone = directions[:, joint - 1] * BONE_LENGTHS[joint]
        retargeted[:, joint] = retargeted[:, parents[joint]] + bone
    return retargeted
