"""The pictures of a run: what can be checked of them without eyes."""

import numpy as np
import pytest
from PIL import Image

from learner.evaluate.motion.measures import METRICS
from learner.evaluate.rows import Metric
from learner.run.pictures import heldout_curves_png, intervals_png, reward_curve_png
from rollout.io.colours import LEFT, RIGHT, TRAIL
from rollout.motion.before_after import before_after_gif, before_after_png
from tests.figures import pixels, walker


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
    before_after_gif(tmp_path / "motion.gif", [("broken", walker(12), broken, 0.4, float("nan"))])
    assert Image.open(tmp_path / "motion.gif").n_frames > 1


def evaluations(parted: list[int]) -> list[dict]:
    return [
        {"iterations": 10 * i, "heldout_reward": 0.1 * i, "heldout_judge": -i, "heldout_fid": 40.0 - i, "heldout_jerk": 80.0, "heldout_parted": n}
        for i, n in enumerate(parted)
    ]  # fmt: skip


def test_held_out_curves_shade_where_reward_and_judge_part(tmp_path):
    heldout_curves_png(tmp_path / "calm.png", evaluations([0, 0, 0, 0]))
    heldout_curves_png(tmp_path / "parted.png", evaluations([0, 0, 1, 2]))
    calm, parted = (np.asarray(Image.open(tmp_path / name)).astype(int) for name in ("calm.png", "parted.png"))
    assert calm.shape == parted.shape and (calm != parted).any(axis=2).mean() > 0.1
    image = Image.open(tmp_path / "calm.png")
    assert min(len(pixels(image, colour)) for colour in (RIGHT, TRAIL)) > 50


def test_held_out_curves_of_one_evaluation_and_of_a_missing_number(tmp_path):
    entries = evaluations([0, 0])
    del entries[1]["heldout_fid"]
    for count in (1, 2):
        heldout_curves_png(tmp_path / "few.png", entries[:count])
        assert min(Image.open(tmp_path / "few.png").size) > 200


def history(heldout: bool) -> list[dict]:
    entries = [
        {"iteration": i, "mean_reward": 0.5 + 0.01 * i, "std_reward": 0.1, "kl": 1e-4 * i, "mean_ratio": 1.0,
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


def test_an_evaluation_has_a_panel_for_each_metric_that_was_measured_and_survives_one_that_is_no_number(tmp_path):
    entry = {"mean": 2.0, "ci95": 0.5}
    rows = [("ground truth", {"fid": entry}), ("base", {"fid": {"mean": 4.0, "ci95": None}}), ("tuned", {"fid": {"mean": float("nan"), "ci95": None}})]
    intervals_png(tmp_path / "one.png", rows, METRICS)
    every = [(name, dict.fromkeys(METRICS, entry)) for name, _ in rows]
    intervals_png(tmp_path / "all.png", every, METRICS)
    one, all_ = (Image.open(tmp_path / name).size for name in ("one.png", "all.png"))
    assert all_[0] == one[0] and all_[1] > 2 * one[1]


def test_a_value_below_zero_has_a_bar_too(tmp_path):
    for name, gain in (("loss", -0.4), ("gain", 0.4)):
        intervals_png(tmp_path / f"{name}.png", [("base", {"gain": {"mean": gain, "ci95": 0.01}})], {"gain": Metric("gain", "↑", 2)}, real=False)
    bars = [len(pixels(Image.open(tmp_path / f"{name}.png"), "#41454f")) for name in ("loss", "gain")]  # INK, a little transparent
    assert min(bars) > 30_000
