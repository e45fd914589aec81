"""BVH files, read back by a small forward kinematics of their own: joints, frames, limits of the fit."""

from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from rollout.io.errors import InputError
from rollout.motion.bvh import write_bvh
from rollout.motion.dataset import read_clips
from rollout.motion.skeleton import BONE_LENGTHS, HUMANML3D, KIT
from tests.figures import kit_stander, walker
from tests.rollout.motion.test_dataset import REAL
from tests.rollout.motion.test_features import walking_joints


class Bvh:
    """A parsed file: joint names in file order, parents, offsets [J, 3], channels by joint, motion, seconds a frame."""

    def __init__(self, path: Path):
        hierarchy, _, motion = path.read_text().partition("MOTION\n")
        self.names, self.parents, self.offsets, self.channels, stack = [], [], [], [], []
        for words in map(str.split, hierarchy.splitlines()[1:]):
            if words[0] in ("ROOT", "JOINT", "End"):
                self.parents.append(stack[-1] if stack else -1)
                self.names.append(words[1] if words[0] != "End" else f"end of {self.names[stack[-1]]}")
                self.channels.append([])
            elif words[0] == "{":
                stack.append(len(self.names) - 1)
            elif words[0] == "}":
                stack.pop()
            elif words[0] == "OFFSET":
                self.offsets.append([float(word) for word in words[1:]])
            elif words[0] == "CHANNELS":
                assert int(words[1]) == len(words[2:])
                self.channels[-1] = words[2:]
        frames, seconds, *rows = motion.splitlines()
        self.seconds, self.motion = float(seconds.removeprefix("Frame Time: ")), np.array([row.split() for row in rows], float)
        assert int(frames.removeprefix("Frames: ")) == len(rows)
        assert self.motion.shape[1] == sum(map(len, self.channels)) and not stack

    def joints(self) -> dict[str, np.ndarray]:
        """World positions [T, 3] by name: each rotation channel turns what the later ones have turned."""
        column, positions, rotations = 0, [], []
        for parent, offset, channels in zip(self.parents, self.offsets, self.channels):
            rotation = rotations[parent] if parent >= 0 else np.tile(np.eye(3), (len(self.motion), 1, 1))
            position = (positions[parent] if parent >= 0 else 0) + rotation @ np.array(offset)
            for channel in channels:
                axis, value = "XYZ".index(channel[0]), self.motion[:, column]
                column += 1
                if channel.endswith("position"):
                    position = position + value[:, None] * np.eye(3)[axis]
                else:
                    rotation = rotation @ turn(axis, np.radians(value))
            positions.append(position)
            rotations.append(rotation)
        return dict(zip(self.names, positions))


def turn(axis: int, angle: np.ndarray) -> np.ndarray:
    first, second = (axis + 1) % 3, (axis + 2) % 3
    matrix = np.tile(np.eye(3), (len(angle), 1, 1))
    matrix[:, first, first] = matrix[:, second, second] = np.cos(angle)
    matrix[:, second, first], matrix[:, first, second] = np.sin(angle), -np.sin(angle)
    return matrix


def errors(path: Path, joints: np.ndarray, names=HUMANML3D.names) -> np.ndarray:
    """Distances [T, J] in metres between what was written and what the file says."""
    found = Bvh(path).joints()
    return np.linalg.norm(np.stack([found[name] for name in names], axis=1) - joints, axis=-1)


def tumbling(frames: int = 80, seed: int = 0) -> np.ndarray:
    """A body of fixed bones that moves every joint and turns on itself more than once, [T, 22, 3]."""
    draw, time = np.random.default_rng(seed), np.linspace(0, 4, frames)[:, None]
    joints = np.zeros((frames, 22, 3))
    joints[:, 0] = np.sin(time * draw.uniform(0.2, 1, 3)) + [0, 1, 0]
    rotations = [Rotation.from_rotvec(np.array([0, 3.5, 0]) * time)]
    for joint in range(1, 22):
        swing = 0.5 * np.sin(time * draw.uniform(1, 2, 3) + draw.uniform(0, 6, 3))
        rotations.append(rotations[HUMANML3D.parents[joint]] * Rotation.from_rotvec(swing))
        joints[:, joint] = joints[:, HUMANML3D.parents[joint]] + rotations[HUMANML3D.parents[joint]].apply(HUMANML3D.unit_offsets[joint] * BONE_LENGTHS[joint])
    return joints


def test_a_body_of_fixed_bones_comes_back_exactly(tmp_path):
    write_bvh(tmp_path / "m.bvh", tumbling())
    assert errors(tmp_path / "m.bvh", tumbling()).max() < 1e-5
    file = Bvh(tmp_path / "m.bvh")
    ends = [f"end of {name}" for name in ("l_foot", "r_foot", "head", "l_wrist", "r_wrist")]
    assert sorted(file.names) == sorted([*HUMANML3D.names, *ends])
    assert file.seconds == 0.05
    for name, parent in zip(HUMANML3D.names[1:], HUMANML3D.parents[1:]):
        own = file.names.index(name)
        assert file.names[file.parents[own]] == HUMANML3D.names[parent]
        assert np.linalg.norm(file.offsets[own]) == pytest.approx(BONE_LENGTHS[HUMANML3D.names.index(name)], abs=2e-6)


def test_angles_go_on_past_a_full_turn(tmp_path):
    write_bvh(tmp_path / "m.bvh", tumbling(200))
    angles = Bvh(tmp_path / "m.bvh").motion[:, 3:]
    assert np.abs(np.diff(angles, axis=0)).max() < 60
    assert np.ptp(angles[:, 2]) > 700


def test_the_rest_pose_stands_upright_with_its_arms_out_and_faces_forward(tmp_path):
    write_bvh(tmp_path / "m.bvh", tumbling())
    file = Bvh(tmp_path / "m.bvh")
    file.motion[:] = 0
    rest = {name: position[0] for name, position in file.joints().items()}
    assert rest["head"][1] > 0.4 and rest["l_ankle"][1] < -0.7 and rest["l_foot"][2] > rest["l_ankle"][2] + 0.1
    assert rest["l_wrist"][0] > 0.6 and rest["r_wrist"][0] < -0.6 and rest["l_hip"][0] > rest["r_hip"][0]


def test_parity_real_motion_comes_back_within_centimetres(tmp_path):
    """Measured on every tenth clip: mean 1.6 mm, 99% below 13 mm, worst 67 mm, where a pelvis bends in a high jump."""
    if not REAL.is_file():
        pytest.skip(f"{REAL} is absent")
    for clip in read_clips(REAL)[::120]:
        write_bvh(tmp_path / "m.bvh", clip.joints)
        found = errors(tmp_path / "m.bvh", clip.joints)
        assert found.mean() < 0.004 and np.quantile(found, 0.99) < 0.03 and found.max() < 0.08, clip.clip_id
        assert found[:, 18:].max() < 0.02, "errors add up along the arms"
        assert np.abs(np.diff(Bvh(tmp_path / "m.bvh").motion[:, 3:], axis=0)).max() < 180


def test_a_bone_that_folds_back_onto_its_parent_has_angles(tmp_path):
    joints = walker(3)
    joints[:, 20] = joints[:, 16] - 0.2 * (joints[:, 18] - joints[:, 16])
    write_bvh(tmp_path / "m.bvh", joints)
    assert errors(tmp_path / "m.bvh", joints)[:, 20].max() < 0.02


@pytest.mark.parametrize("joints", [np.zeros((4, 22, 3)), walking_joints(1)], ids=["all in one point", "one frame"])
def test_odd_motions_have_finite_files(tmp_path, joints):
    write_bvh(tmp_path / "m.bvh", joints)
    assert errors(tmp_path / "m.bvh", joints).max() < 1e-5


def test_kit_is_written_in_metres_at_its_rate(tmp_path):
    write_bvh(tmp_path / "m.bvh", kit_stander())
    assert errors(tmp_path / "m.bvh", kit_stander() * KIT.metres, KIT.names).max() < 1e-5
    assert Bvh(tmp_path / "m.bvh").seconds == 0.08


@pytest.mark.parametrize("joints", [np.zeros((5, 20, 3)), np.zeros((22, 3)), np.zeros((0, 22, 3)), np.full((5, 22, 3), np.nan)])
def test_what_is_no_motion_is_refused(tmp_path, joints):
    with pytest.raises(InputError, match="joints: found shape .*expected"):
        write_bvh(tmp_path / "m.bvh", joints)
    assert not (tmp_path / "m.bvh").exists()
