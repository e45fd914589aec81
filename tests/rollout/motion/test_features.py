"""Motion features against recorded official ones, and their own geometry."""

import os
from pathlib import Path

import numpy as np
import pytest

from rollout.io.errors import InputError
from rollout.motion.features import features_to_joints, joints_to_features
from rollout.motion.skeleton import BONE_LENGTHS, HUMANML3D, retarget

FIXTURES = Path(os.environ.get("PARITY_FIXTURES", Path(__file__).resolve().parents[3].parent / "shared" / "fixtures"))
TOLERANCE = 5e-5


def recorded(prefix: str) -> dict[str, dict[str, np.ndarray]]:
    """The arrays of every case of every `*features.npz`, keyed by case, then by the name before the first slash."""
    cases: dict[str, dict[str, np.ndarray]] = {}
    for path in sorted(FIXTURES.rglob("*features.npz")):
        with np.load(path, allow_pickle=False) as arrays:
            for key in arrays.files:
                kind, _, case = key.partition("/")
                if kind.startswith(prefix):
                    cases.setdefault(f"{path.stem}/{case}", {})[kind] = arrays[key]
    if not cases:
        pytest.skip(f"no recorded motion features under {FIXTURES} (set PARITY_FIXTURES)")
    return cases


def walking_joints(frames: int = 60, turn: float = 0.0) -> np.ndarray:
    """A rest pose whose legs swing while it moves forward and turns by `turn` radians in all, [T, 22, 3]."""
    pose = np.zeros((HUMANML3D.joints, 3), dtype=np.float32)
    for joint in range(1, HUMANML3D.joints):
        pose[joint] = pose[HUMANML3D.parents[joint]] + HUMANML3D.unit_offsets[joint] * BONE_LENGTHS[joint]
    joints = np.repeat(pose[None], frames, axis=0)
    phase = np.linspace(0, 4 * np.pi, frames)
    joints[:, [4, 7, 10], 2] += 0.1 * np.sin(phase)[:, None]
    joints[:, [5, 8, 11], 2] -= 0.1 * np.sin(phase)[:, None]
    angle = np.linspace(0, turn, frames)
    x, z = joints[..., 0].copy(), joints[..., 2].copy()
    joints[..., 0] = x * np.cos(angle)[:, None] + z * np.sin(angle)[:, None]
    joints[..., 2] = z * np.cos(angle)[:, None] - x * np.sin(angle)[:, None]
    step = np.stack([np.sin(angle), np.zeros(frames), np.cos(angle)], axis=1) * 0.05
    joints += np.cumsum(step, axis=0)[:, None].astype(np.float32)
    return (joints - np.array([0, joints[..., 1].min(), 0]) - joints[0, 0] * np.array([1, 0, 1])).astype(np.float32)


def test_parity_features_of_recorded_joints():
    for case, arrays in recorded("").items():
        if "features" in arrays and "joints" in arrays:
            # The recorded pipeline starts with retargeting, which here only undoes the rounding of the joints.
            found = joints_to_features(retarget(arrays["joints"]))
            assert found.dtype == np.float32
            np.testing.assert_allclose(found, arrays["features"], atol=TOLERANCE, rtol=0, err_msg=case)


def test_parity_joints_recovered_from_recorded_features():
    for case, arrays in recorded("").items():
        if "recovered" in arrays:
            found = features_to_joints(arrays["features"])
            assert found.dtype == np.float32
            np.testing.assert_allclose(found, arrays["recovered"], atol=TOLERANCE, rtol=0, err_msg=case)


def test_parity_joints_come_back_from_the_features_made_of_them():
    for case, arrays in recorded("").items():
        if "recovered" in arrays and "joints" in arrays:
            found = features_to_joints(joints_to_features(retarget(arrays["joints"])))
            np.testing.assert_allclose(found, arrays["recovered"], atol=TOLERANCE, rtol=0, err_msg=case)


def test_parity_retargeting_of_recorded_joints():
    for case, arrays in recorded("retarget").items():
        found = retarget(arrays["retarget_in"])
        np.testing.assert_allclose(found, arrays["retarget_out"], atol=TOLERANCE, rtol=0, err_msg=case)


def test_joints_come_back_from_their_features():
    joints = walking_joints(turn=1.5)
    np.testing.assert_allclose(features_to_joints(joints_to_features(joints)), joints[:-1], atol=1e-5)


def test_recovery_is_the_same_in_a_batch():
    features = [joints_to_features(walking_joints(turn=turn)) for turn in (-1.0, 0.0, 2.0)]
    batch = features_to_joints(np.stack(features).reshape(3, 1, -1, 263))
    assert batch.shape == (3, 1, 59, 22, 3)
    for alone, together in zip(features, batch[:, 0]):
        np.testing.assert_array_equal(features_to_joints(alone), together)


def test_features_do_not_depend_on_place_and_heading():
    joints = walking_joints(turn=1.0)
    moved = joints[..., [2, 1, 0]] * np.array([1, 1, -1], dtype=np.float32) + np.array([3, -1, 2], dtype=np.float32)
    np.testing.assert_allclose(joints_to_features(moved), joints_to_features(joints), atol=1e-5)


def test_a_straight_walk_reads_as_one():
    features = joints_to_features(walking_joints())
    np.testing.assert_allclose(features[:, 0], 0, atol=1e-6)
    np.testing.assert_allclose(features[:, 2], 0.05, atol=1e-5)
    assert set(np.unique(features[:, 259:])) <= {0.0, 1.0}


def test_a_left_turn_adds_up_in_half_angles():
    features = joints_to_features(walking_joints(frames=300, turn=np.pi / 2))
    # The root rotation undoes the turn: 90 degrees to the left (+x) sum to -45, less what smoothing takes at the ends.
    assert -np.pi / 4 - 0.01 < features[:, 0].sum() < -np.pi / 4 + 0.1


def test_retargeting_sets_bone_lengths_and_keeps_directions():
    source = walking_joints() * 1.7
    found = retarget(source)
    bones, old = (j[:, 1:] - j[:, HUMANML3D.parents[1:]] for j in (found, source))
    np.testing.assert_allclose(np.linalg.norm(bones, axis=-1), np.tile(BONE_LENGTHS[1:], (60, 1)), atol=1e-6)
    cosines = (bones * old).sum(-1) / np.linalg.norm(bones, axis=-1) / np.linalg.norm(old, axis=-1)
    np.testing.assert_allclose(cosines, 1, atol=1e-6)


@pytest.mark.parametrize("call", [joints_to_features, retarget])
@pytest.mark.parametrize("shape", [(5, 20, 3), (22, 3), (1, 22, 3)])
def test_joints_of_another_shape_are_refused(call, shape):
    with pytest.raises(InputError, match="joints: found shape"):
        call(np.zeros(shape, dtype=np.float32))


def test_a_leg_without_length_is_refused():
    with pytest.raises(InputError, match="right leg"):
        retarget(np.zeros((5, 22, 3), dtype=np.float32))


@pytest.mark.parametrize("width", [66, 239, 262, 264, 275])
def test_features_of_another_width_are_refused(width):
    with pytest.raises(InputError, match="expected .*263 or KIT-ML's 251"):
        features_to_joints(np.zeros((5, width), dtype=np.float32))


def test_features_of_kit_hold_the_same_of_one_joint_less():
    features = joints_to_features(walking_joints(turn=1.0))
    kit = np.full((len(features), 251), np.nan, dtype=np.float32)
    kit[:, :64] = features[:, :64]
    np.testing.assert_array_equal(features_to_joints(kit), features_to_joints(features)[:, :21])
