"""Physics measures on motions whose answer is known by construction."""

from pathlib import Path

import numpy as np
import pytest

from rewards.motion.physics import floating, foot_skate, ground_penetration, jerk, root_drift, smoothness
from rollout.io.errors import InputError
from rollout.motion.dataset import read_clips
from rollout.motion.skeleton import BONE_LENGTHS, HUMANML3D, KIT
from tests.figures import kit_stander

MEASURES = (foot_skate, ground_penetration, floating, jerk, smoothness, root_drift)
REAL = Path(__file__).resolve().parents[3].parent / "shared" / "data" / "cmu_motion_text.parquet"


def standing(frames: int = 30) -> np.ndarray:
    """Someone who stands with the lowest joint on the floor, float32 [frames, 22, 3]."""
    pose = np.zeros((HUMANML3D.joints, 3))
    for joint in range(1, HUMANML3D.joints):
        pose[joint] = pose[HUMANML3D.parents[joint]] + HUMANML3D.unit_offsets[joint] * BONE_LENGTHS[joint]
    pose -= [0, pose[:, 1].min(), 0]
    return np.repeat(pose[None], frames, axis=0).astype(np.float32)


def seconds(frames: int = 30) -> np.ndarray:
    return np.arange(frames)[:, None] / 20


def one(measure, joints: np.ndarray) -> float:
    return float(measure(joints[None], np.array([len(joints)]))[0])


@pytest.mark.parametrize("measure", MEASURES)
def test_standing_still_is_free(measure):
    assert one(measure, standing()) == 0
    assert measure(standing()[None], np.array([30])).dtype == np.float32


def test_gliding_feet_skate_at_their_speed():
    joints = standing()
    joints[..., 2] += 0.6 * seconds()
    joints[..., 0] += 0.8 * seconds()
    assert one(foot_skate, joints) == pytest.approx(1.0, abs=1e-4)


def test_the_same_is_measured_of_a_kit_body_in_metres_and_seconds():
    joints = (kit_stander(30) * KIT.metres).astype(np.float32)
    time = np.arange(30)[:, None] / 12.5
    for measure in MEASURES:
        assert one(measure, joints) == pytest.approx(0.02 if measure is floating else 0, abs=1e-6)  # the feet's height
    gliding, shaking = joints.copy(), joints.copy()
    gliding[..., 2] += 0.6 * time
    gliding[..., 0] += 0.8 * time
    assert one(foot_skate, gliding) == pytest.approx(1.0, abs=1e-4) and one(root_drift, gliding) == pytest.approx(1.0, abs=1e-4)
    shaking[..., 2] += time**3
    assert one(jerk, shaking) == pytest.approx(6, abs=0.02)
    assert one(smoothness, shaking) == pytest.approx(np.mean(6 * time[1:-1]), abs=0.02)
    lifted = gliding.copy()
    lifted[:, [13, 18], 1] += 0.02  # ankles: above 8 cm a foot does not stand
    assert one(foot_skate, lifted) == 0
    assert one(ground_penetration, joints - np.array([0, 0.05, 0], np.float32)) == pytest.approx(0.03, abs=1e-6)


def test_a_lifted_foot_does_not_skate():
    joints = standing()
    joints[:, 8, 1] += 0.1
    joints[:, 11, 2] += 2.0 * seconds()[:, 0]
    assert one(foot_skate, joints) == 0


def test_only_steps_with_both_ends_low_are_stance():
    joints = standing(3)
    joints[2, 10] += [0, 0.2, 0.5]
    joints[1:, 11, 2] += 0.05
    # Left foot: one step standing still, one leaving the floor (no stance, 0). Right foot: one step of 5 cm in 1/20 s, one still.
    assert one(foot_skate, joints) == pytest.approx((0 + 0 + 1.0 + 0) / 4, abs=1e-4)


def test_sinking_and_hovering_are_measured_in_metres():
    for offset, penetrates, floats in ((-0.1, 0.1, 0), (0.1, 0, 0.1), (0.004, 0, 0), (-0.004, 0, 0)):
        joints = standing()
        joints[:15, :, 1] += offset
        assert one(ground_penetration, joints) == pytest.approx(penetrates / 2, abs=1e-6)
        assert one(floating, joints) == pytest.approx(floats / 2, abs=1e-6)


def test_a_constant_third_derivative_is_the_jerk():
    joints = standing()
    joints[..., 1] += 5 * seconds() ** 3 / 6
    assert one(jerk, joints) == pytest.approx(5.0, rel=0.02)
    falling = standing() - np.array([0, 1, 0], dtype=np.float32) * (9.81 * seconds()[:, None] ** 2 / 2)
    assert one(jerk, falling) == pytest.approx(0, abs=0.05)


def test_a_constant_acceleration_is_the_smoothness():
    joints = standing()
    joints[..., 1] += 3 * seconds() ** 2 / 2
    assert one(smoothness, joints) == pytest.approx(3.0, rel=0.02)
    rising = standing() + np.array([0, 0.7, 0], dtype=np.float32) * seconds()[:, None]
    assert one(smoothness, rising) == pytest.approx(0, abs=0.01)


def test_a_root_that_travels_on_two_standing_feet_drifts():
    gliding = standing(21)
    gliding[..., 0] += 0.6 * seconds(21)
    assert one(root_drift, gliding) == pytest.approx(0.6, abs=1e-4)
    swaying = standing(21)
    swaying[:, 0, 2] += 0.1 * np.sin(2 * np.pi * seconds(21)[:, 0])  # there and back within the second
    assert one(root_drift, swaying) == pytest.approx(0, abs=1e-4)
    stepping = gliding.copy()
    stepping[:, 10, 1] += 0.2  # one toe is up: the body may travel
    assert one(root_drift, stepping) == 0
    stepping[:11, 10, 1] -= 0.2  # up only in the second half
    assert one(root_drift, stepping) == pytest.approx(0.3, abs=1e-4)


def test_each_stretch_of_standing_drifts_by_its_own_net_way():
    joints = standing(41)
    joints[11:31, 7, 1] += 0.2
    joints[:11, :, 0] += 0.5 * seconds(11)
    joints[11:31, :, 0] += 0.25
    joints[31:, :, 0] += 0.25 - 0.5 * seconds(10)  # back again: two stretches do not cancel
    assert one(root_drift, joints) == pytest.approx((0.25 + 0.225) / 2, abs=1e-4)


@pytest.mark.parametrize("measure", MEASURES)
@pytest.mark.parametrize("garbage", [7.0, -7.0, np.nan])
def test_padded_frames_never_count(measure, garbage):
    rng = np.random.default_rng(0)
    joints = standing(20) + rng.normal(0, 0.02, (20, HUMANML3D.joints, 3)).astype(np.float32)
    joints[12:, :, 1] += 0.3
    padded = np.concatenate([joints, np.full((9, HUMANML3D.joints, 3), garbage, dtype=np.float32)])
    assert one(measure, joints) > 0
    assert measure(padded[None], np.array([20]))[0] == np.float32(one(measure, joints))


@pytest.mark.parametrize("measure", MEASURES)
def test_samples_are_measured_each_by_itself(measure):
    rng = np.random.default_rng(1)
    batch = standing(20) + rng.normal(0, 0.03, (3, 20, HUMANML3D.joints, 3)).astype(np.float32)
    batch[1, 5, 3, 1] = np.nan
    lengths = np.array([20, 15, 11])
    found = measure(batch, lengths)
    assert np.isnan(found).tolist() == [False, True, False]
    np.testing.assert_array_equal(found[::-1], measure(batch[::-1], lengths[::-1]))
    assert found[2] == measure(batch[2:, :11], np.array([11]))[0]


@pytest.mark.parametrize("measure", MEASURES)
def test_a_single_frame_has_nothing_to_slide_or_shake(measure):
    assert one(measure, standing(1)) == 0


@pytest.mark.parametrize(
    ("shape", "lengths", "message"),
    [
        ((2, 20, 20, 3), [20, 20], "expected .N, T, 22, 3."),
        ((20, 22, 3), [20], "expected .N, T, 22, 3."),
        ((2, 20, 22, 3), [20], "lengths of shape"),
        ((2, 20, 22, 3), [20, 21], "lengths 20..21, expected 1..20"),
        ((2, 20, 22, 3), [0, 20], "lengths 0..20, expected 1..20"),
    ],
)
def test_what_does_not_fit_is_refused(shape, lengths, message):
    for measure in MEASURES:
        with pytest.raises(InputError, match=message):
            measure(np.zeros(shape, dtype=np.float32), np.array(lengths))


def test_real_motion_is_more_physical_than_the_same_motion_dragged_and_shaken():
    if not REAL.is_file():
        pytest.skip(f"{REAL} is absent")
    walks = [clip.joints[:40] for clip in read_clips(REAL) if clip.action == "walk" and len(clip.joints) >= 40][:60]
    real = np.stack(walks)
    lengths = np.full(len(real), 40)
    dragged = real + np.linspace(0, 1, 40, dtype=np.float32)[:, None, None] * np.array([1, 0, 0], dtype=np.float32)
    shaken = real + np.random.default_rng(0).normal(0, 0.01, real.shape).astype(np.float32)
    assert foot_skate(real, lengths).mean() < 0.1 < 0.2 < foot_skate(dragged, lengths).mean()
    assert 3 * jerk(real, lengths).mean() < jerk(shaken, lengths).mean()
    assert ground_penetration(real, lengths).max() < 0.005
