"""What is on the screen in a terminal, and what is in a log when there is none."""

import io

import pytest
from rich.console import Console

from learner.run.progress import Progress, sparkline

METRICS = {
    "mean_reward": 0.5, "mean_ratio": 1.0, "kl": 0.25, "log_prob_gap": 0.0, "grad_norm": 0.125,
    "seconds_rollout": 2.0, "seconds_reward": 0.25, "seconds_update": 1.5, "seconds_publish": 0.25,
}  # fmt: skip
SUMMARY = {
    "status": "finished", "iterations": 3, "seed": 7, "samplers": 2, "wall_seconds": 754.0,
    "adapter_sha256": "ab" * 32, "max_log_prob_gap": 0.0,
    "heldout": {
        "reward": {"before": {"mean": 0.5, "ci95": 0.02}, "after": {"mean": 0.6, "ci95": 0.02}, "gain": {"mean": 0.1, "ci95": 0.03}},
        "judge": {"before": {"mean": 0.4, "ci95": 0.02}, "after": {"mean": 0.41, "ci95": 0.02}, "gain": {"mean": 0.01, "ci95": 0.03}},
        "fid": {"before": 1.5, "after": 1.25},
        "mean_iou": {"before": 0.5, "after": 0.6, "gain": {"mean": 0.08, "ci95": 0.03}},
        "foot_skate": {"before": None, "after": None},
        "floating": {"before": 0.05, "after": 0.08, "gain": {"mean": 0.03, "ci95": 0.01}},
        "root_drift": {"before": 0.08, "after": 0.05, "gain": {"mean": -0.03, "ci95": 0.01}},
        "jerk": {"before": 1.5, "after": 2.5, "gain": {"mean": 1.0, "ci95": 0.5}},
        "diversity": {"before": 1.5, "after": "too few motions"},
    },
    "best_of_base": {
        "samples": 4,
        "judge": {"before": {"mean": 0.45, "ci95": 0.02}, "after": {"mean": 0.41, "ci95": 0.02}, "gain": {"mean": -0.04, "ci95": 0.03}},
    },
    "trained": {
        "reward": {"before": {"mean": 0.5, "ci95": 0.02}, "after": {"mean": 0.4, "ci95": 0.02}, "gain": {"mean": -0.1, "ci95": 0.03}},
    },
}  # fmt: skip


def plain(encoding="utf-8"):
    console = Console(file=io.TextIOWrapper(io.BytesIO(), encoding=encoding), width=80)
    return console, lambda: console.file.buffer.getvalue().decode(encoding)


def terminal(width=120):
    console = Console(file=io.StringIO(), force_terminal=True, width=width)
    return console, lambda: console.file.getvalue()


def test_without_a_terminal_each_iteration_is_one_plain_line():
    console, shown = plain()
    with Progress(60, console=console) as progress:
        for number in (9, 10):
            progress.stage("sampling", number, 12, line=False)
            progress.iteration(number, METRICS | {"mean_reward": number / 20})
    first, second = shown().splitlines()
    assert second == (
        "iteration 10/60  reward 0.500 (+0.050 since the first)  ratio 1  KL 0.25  gap 0  gradient 0.125  "
        "seconds: rollout 2.0 reward 0.2 update 1.5 publish 0.2  3m20s left"
    )
    assert first.startswith("iteration  9/60  reward 0.450 (+0.000 since the first)")


def test_time_left_follows_the_latest_iterations_and_counts_every_stage():
    console, shown = plain()
    with Progress(30, console=console) as progress:
        for number in range(1, 21):
            progress.iteration(number, {"seconds_rollout": 100.0 if number <= 10 else 1.0, "seconds_evaluate": 2.0})
    left = [line.rsplit("  ", 1)[1] for line in shown().splitlines()]
    assert (left[0], left[9], left[19]) == ("49m18s left", "34m00s left", "30s left")


def test_a_counted_stage_is_two_lines_without_a_terminal():
    console, shown = plain()
    with Progress(1, console=console) as progress:
        progress.stage("starting Ray ...")
        for done in (0, 64, 128, 256):
            progress.stage("evaluating before training", done, 256)
    assert shown().splitlines() == [
        "starting Ray ...",
        "evaluating before training: 0/256 samples",
        "evaluating before training: 256/256 samples",
    ]


def test_a_terminal_shows_reward_trend_stage_and_seconds_in_place():
    console, shown = terminal()
    with Progress(60, console=console) as progress:
        progress.stage("starting Ray ...")
        for number, reward in enumerate((0.5, 0.6, 0.55), start=1):
            progress.iteration(number, METRICS | {"mean_reward": reward} | ({"heldout_reward": 0.625} if number == 2 else {}), "48 motions/s")
        progress.stage("sampling", 3, 12, line=False)
    assert "\x1b[" in shown()
    with console.capture() as capture:
        progress.stage("sampling", 3, 12, line=False)
        console.print(progress._view())
    view = capture.get()
    for part in ("iteration 3/60", "reward 0.550", "▁█▅", "ratio 1", "rollout 2.0", "left", "48 motions/s  held-out reward 0.625", "sampling: 3/12 samples"):
        assert part in view


def test_a_note_stays_and_its_brackets_are_text():
    for console, shown in (plain(), terminal()):
        with Progress(2, console=console) as progress:
            progress.note("unknown word [bold] in prompt 3")
        assert "unknown word [bold] in prompt 3" in shown()


def test_the_summary_says_what_rose_what_fell_and_what_cannot_be_told(tmp_path):
    (tmp_path / "adapter").mkdir()
    (tmp_path / "reward.png").touch()
    console, shown = plain()
    with Progress(3, console=console) as progress:
        progress.summary(SUMMARY, tmp_path)
    lines = [" ".join(line.split()) for line in shown().splitlines()]
    assert lines == [
        "held-out reward before 0.500±0.020 after 0.600±0.020 gain +0.100±0.030 better",
        "held-out judge before 0.400±0.020 after 0.410±0.020 gain +0.010±0.030 no clear change",
        "held-out fid (less is better) before 1.500 after 1.250 gain -0.250 better",
        "held-out mean_iou before 0.500 after 0.600 gain +0.080±0.030 better",
        "held-out foot_skate (less is better) before - after - gain - not measured",
        "held-out floating (less is better) before 0.050 after 0.080 gain +0.030±0.010 worse",
        "held-out root_drift (less is better) before 0.080 after 0.050 gain -0.030±0.010 better",
        "held-out jerk before 1.500 after 2.500 gain +1.000±0.500 changed",
        "held-out diversity before - after - gain - too few motions",
        "beside best of 4 of the base: judge before 0.450±0.020 after 0.410±0.020 gain -0.040±0.030 worse",
        "trained reward before 0.500±0.020 after 0.400±0.020 gain -0.100±0.030 worse",
        "run finished: iterations 3, seed 7, samplers 2, max_log_prob_gap 0.0, 12m34s, adapter abababababab",
        f"results in {tmp_path}: adapter/ reward.png",
    ]


def test_the_summary_in_a_terminal_is_a_table_below_the_last_view(tmp_path):
    console, shown = terminal()
    with Progress(3, console=console) as progress:
        progress.iteration(3, METRICS)
        progress.summary(SUMMARY, tmp_path)
    end = shown()[shown().rindex("iteration 3/3") :]
    assert "+0.100±0.030" in end and "no clear change" in end and f"results in {tmp_path}" in end


def test_a_run_that_failed_early_still_has_a_summary(tmp_path):
    console, shown = plain()
    with Progress(3, console=console) as progress:
        progress.summary({"status": "failed"}, tmp_path / "missing")
    assert shown().startswith("run failed")


@pytest.mark.parametrize("make", [plain, terminal])
def test_an_error_passes_through_and_gives_the_terminal_back(make):
    console, shown = make()
    with pytest.raises(RuntimeError, match="the run's own"):
        with Progress(3, console=console):
            raise RuntimeError("the run's own")
    if make is terminal:
        assert shown().rindex("\x1b[?25h") > shown().rindex("\x1b[?25l")  # the cursor is visible again


def test_the_log_keeps_plain_lines_of_a_live_view_too(tmp_path):
    console, _ = terminal()
    with Progress(3, console=console) as progress:
        progress.stage("starting Ray ...")
        progress.log_to(tmp_path / "log.txt")
        progress.iteration(1, METRICS)
        progress.summary(SUMMARY, tmp_path)
    log = (tmp_path / "log.txt").read_text()
    assert log.startswith("starting Ray ...\niteration 1/3  reward 0.500") and "gain +0.100±0.030" in log
    assert "\x1b" not in log


def test_a_log_in_a_poor_encoding_loses_a_sign_and_not_the_run(tmp_path):
    console, shown = plain("ascii")
    with Progress(3, console=console) as progress:
        progress.summary(SUMMARY, tmp_path)
    assert "gain +0.100?0.030" in shown()


def test_numbers_that_are_not_finite_or_missing_are_shown_as_they_are():
    console, shown = plain()
    with Progress(3, console=console) as progress:
        progress.iteration(1, {"mean_reward": float("nan"), "mean_ratio": float("inf")})
        progress.iteration(2, {})
    first, second = shown().splitlines()
    assert "reward nan" in first and "ratio inf" in first and "reward -" in second


@pytest.mark.parametrize(
    "values, blocks",
    [([], ""), ([1.0], "▁"), ([2.0, 2.0], "▁▁"), ([0, 1, 2, 7], "▁▂▃█"), ([0.0, float("nan"), 1.0], "▁ █"), ([float("nan")], " ")],
)
def test_sparkline(values, blocks):
    assert sparkline(values) == blocks


def test_units_other_than_iterations_are_counted_in_one_line_each_with_what_is_left():
    console, shown = plain()
    with Progress(4, console=console, unit="replication") as progress:
        progress.step("ground truth", 10.0)
        progress.step("base", 20.0)
    assert shown().splitlines() == ["replication 1/4  ground truth  30s left", "replication 2/4  base  30s left"]


def test_a_terminal_shows_them_without_a_reward():
    console, shown = terminal()
    with Progress(4, console=console, unit="replication") as progress:
        progress.step("base", 20.0)
    assert "replication 1/4" in shown() and "reward" not in shown()
