"""The pictures of a run: what can be checked of them without eyes."""

import numpy as np
import pytest
from PIL import Image, ImageColor

from learner.pictures import before_after_gif, before_after_png, contact_sheet, reward_curve_png
from learner.stick_figures import LEFT, RIGHT, SUPERSAMPLING, TRAIL, TRUNK, View, scene
from rollout.motion.skeleton import BONE_LENGTHS, JOINTS, PARENTS, UNIT_OFFSETS

PATCH = np.array([[-0.6, -0.6], [0.6, 0.6]])


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


def view() -> View:
    return View((150, 200), np.array([0, 0.85, 0]), 80)


def test_projection_keeps_up_up_forward_right_and_near_large():
    points, depth = view().project(np.array([[0, 0.85, 0], [0, 1.85, 0], [0, 0.85, 1], [-1, 0.85, 1], [1, 0.85, -1]]))
    centre, above, ahead, near, far = points
    assert tuple(centre) == (75 * SUPERSAMPLING, 100 * SUPERSAMPLING)
    assert above[1] < centre[1] and above[0] == pytest.approx(centre[0])
    assert ahead[0] > centre[0]
    assert depth[3] < depth[0] < depth[4]
    assert abs(near[1] - centre[1]) > abs(far[1] - centre[1])


def test_left_and_right_have_their_colours_and_sides():
    """The camera stands to the right of someone who looks along +z, so the right limbs are lower in the picture."""
    image = scene(view(), walker(1)[0], np.zeros((1, 3)), PATCH)
    assert pixels(image, RIGHT)[:, 0].max() > pixels(image, LEFT)[:, 0].max()
    mirrored = walker(1)[0] * [-1, 1, 1]
    image = scene(view(), mirrored, np.zeros((1, 3)), PATCH)
    assert pixels(image, LEFT)[:, 0].max() > pixels(image, RIGHT)[:, 0].max()


def test_a_raised_arm_reaches_above_the_head():
    joints = walker(1)[0]
    for order, joint in enumerate((18, 20)):
        joints[joint] = joints[16] + [0, 0.35 * (order + 1), 0]
    image = scene(view(), joints, np.zeros((1, 3)), PATCH)
    assert pixels(image, LEFT)[:, 0].min() < pixels(image, TRUNK)[:, 0].min()


def test_the_trail_is_drawn_where_the_root_went():
    trail = np.array([[0, 0.9, -0.5], [0, 0.9, 0.0]])
    with_trail = scene(view(), walker(1)[0], trail, PATCH)
    without = scene(view(), walker(1)[0], trail[:1], PATCH)
    assert len(pixels(with_trail, TRAIL)) > len(pixels(without, TRAIL))


def test_contact_sheet_grows_by_rows_and_not_by_captions(tmp_path):
    contact_sheet(tmp_path / "one.png", [("a person walks", walker())])
    contact_sheet(tmp_path / "two.png", [("a person walks", walker()), ("on and on " * 80, walker(35))])
    one, two = Image.open(tmp_path / "one.png"), Image.open(tmp_path / "two.png")
    assert two.width == one.width and two.height > 1.7 * one.height
    assert min(len(pixels(two, colour)) for colour in (LEFT, RIGHT, TRUNK)) > 1000


def test_before_and_after_are_different_strips(tmp_path):
    before_after_png(tmp_path / "same.png", [("a person walks", walker(speed=0), walker(speed=0), 0.1, 0.2)])
    before_after_png(tmp_path / "changed.png", [("a person walks", walker(speed=0), walker(), 0.1, 0.2)])
    same, changed = (np.asarray(Image.open(tmp_path / name)) for name in ("same.png", "changed.png"))
    different = np.flatnonzero((same != changed).any(axis=(1, 2)))
    assert different.min() > len(same) * 0.4, "the base strip is drawn above and did not change"


def test_the_animation_runs_at_20_fps_for_the_longest_motion_and_stays_small(tmp_path):
    rows = [(f"prompt {i}", walker(30), walker(60, 0.02 * i), 0.4, 0.6) for i in range(1, 5)]
    before_after_gif(tmp_path / "motion.gif", rows)
    image = Image.open(tmp_path / "motion.gif")
    assert image.n_frames == 60 and image.info["duration"] == 50 and image.info["loop"] == 0
    assert (tmp_path / "motion.gif").stat().st_size < 2_000_000


def test_the_shorter_motion_holds_its_last_pose(tmp_path):
    before_after_gif(tmp_path / "motion.gif", [("a person walks", walker(10), walker(30), 0.4, 0.6)])
    image = Image.open(tmp_path / "motion.gif")
    frames = []
    for i in (5, 12, 29):
        image.seek(i)
        frames.append(np.asarray(image.convert("RGB")))
    half = frames[0].shape[1] // 2
    assert (frames[0][:, :half] != frames[1][:, :half]).any()
    np.testing.assert_array_equal(frames[1][:, :half], frames[2][:, :half])
    assert (frames[1][:, half:] != frames[2][:, half:]).any()


def test_a_motion_that_blew_up_still_has_its_pictures(tmp_path):
    broken = walker(12)
    broken[3:] *= 1e30
    broken[5, 4] = np.nan
    contact_sheet(tmp_path / "sheet.png", [("broken", broken), ("one frame", walker(1))])
    before_after_gif(tmp_path / "motion.gif", [("broken", walker(12), broken, 0.4, float("nan"))])
    assert Image.open(tmp_path / "sheet.png").size[1] > 300
    assert Image.open(tmp_path / "motion.gif").n_frames > 1


def history(heldout: bool) -> list[dict]:
    entries = [
        {"iteration": i, "mean_reward": 0.5 + 0.01 * i, "std_reward": 0.1, "kl_penalty": 1e-4 * i, "mean_ratio": 1.0,
         "grad_norm": 0.3, "seconds_rollout": 4.0, "seconds_update": 6.0}
        for i in range(12)
    ]  # fmt: skip
    if heldout:
        entries[0] |= {"heldout_reward": 0.5, "heldout_judge": -3.0}
        entries.append({"iteration": 12, "heldout_reward": 0.6, "heldout_judge": -2.9})
    return entries


def test_the_reward_curve_shows_held_out_evaluations_when_there_are_any(tmp_path):
    reward_curve_png(tmp_path / "without.png", history(False))
    reward_curve_png(tmp_path / "with.png", history(True))
    without, with_heldout = Image.open(tmp_path / "without.png"), Image.open(tmp_path / "with.png")
    assert len(pixels(without, LEFT)) > 300
    assert len(pixels(without, RIGHT)) == len(pixels(without, TRAIL)) == 0
    assert len(pixels(with_heldout, RIGHT)) > 300 and len(pixels(with_heldout, TRAIL)) > 300


@pytest.mark.parametrize("known", [{}, {"mean_reward": 0.5}, {"heldout_reward": 0.5, "mean_reward": None}])
def test_the_reward_curve_of_a_run_that_has_just_begun(tmp_path, known):
    reward_curve_png(tmp_path / "reward.png", [{"iteration": 0, **known}] if known else [])
    assert Image.open(tmp_path / "reward.png").width > 1000
