"""Curves a person can judge a run by: rewards, held-out judgement, what health watches, intervals of an evaluation."""

from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from rollout.io.colours import FAINT, INK, LEFT, RIGHT, TRAIL


def reward_curve_png(path: Path | str, history: list[dict[str, float]]) -> None:
    """Writes a PNG of a run: the reward of its samples by iteration, and how calm its updates were.

    Each entry holds `iteration` and any of mean_reward, std_reward, heldout_reward, heldout_judge, kl,
    mean_ratio, grad_norm and the stages' seconds (keys that start with "seconds"); what is absent is left out.
    """
    figure = Figure(figsize=(11, 6.4), layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.add_gridspec(2, 4, height_ratios=(2.2, 1))
    _draw_rewards(figure.add_subplot(grid[0, :]), history)
    for column, key in enumerate(("kl", "mean_ratio", "grad_norm")):
        axes = figure.add_subplot(grid[1, column])
        axes.plot(*_series(history, key), color=LEFT, linewidth=1.2)
        _dress(axes, key.replace("_", " "))
    axes = figure.add_subplot(grid[1, 3])
    stages = sorted({key for entry in history for key in entry if key.startswith("seconds")})
    for stage in stages:
        axes.plot(*_series(history, stage), linewidth=1.2, label=stage.removeprefix("seconds").strip("_/."))
    _dress(axes, "seconds by stage")
    if stages:
        axes.legend(fontsize=7, frameon=False)
    figure.savefig(path, dpi=130)


def _draw_rewards(axes, history: list[dict[str, float]]) -> None:
    iterations, rewards = _series(history, "mean_reward")
    spread = np.array([entry.get("std_reward") or 0.0 for entry in history if entry.get("mean_reward") is not None])
    axes.fill_between(iterations, rewards - spread, rewards + spread, color=LEFT, alpha=0.12, linewidth=0)
    label = "training samples, mean ± std"
    axes.plot(iterations, rewards, color=LEFT, alpha=0.45, linewidth=1, marker=".", label=label)
    # Each value with the ones before it, so that the line never knows the future.
    window = max(2, min(10, len(rewards) // 4))
    running = [rewards[max(0, i + 1 - window) : i + 1].mean() for i in range(len(rewards))]
    axes.plot(iterations, running, color=LEFT, linewidth=2.4, label=f"mean of the last {window}")
    axes.set_ylabel("reward")
    _dress(axes, "reward by iteration")
    heldout = (("heldout_reward", RIGHT, "held-out prompts"), ("heldout_judge", TRAIL, "judge, held-out (right)"))
    for key, colour, label in heldout:
        iterations, values = _series(history, key)
        if len(values):
            # The judge has its own scale; its entry in the legend is an empty line on the left axes.
            target = axes.twinx() if key == "heldout_judge" else axes
            axes.plot([], [], color=colour, marker="o", linewidth=2, label=label)
            target.plot(iterations, values, color=colour, marker="o", linewidth=2)
            target.spines[["top"]].set_visible(False)
    axes.legend(frameon=False, fontsize=9, loc="upper left", ncols=2)
    axes.margins(y=0.2)


def heldout_curves_png(path: Path | str, entries: list[dict[str, float]]) -> None:
    """Writes a PNG of held-out evaluations: one panel a metric, by iterations done. Evaluations at which the reward had risen
    and the judge had fallen (`heldout_parted` above 0) are shaded.

    Each entry holds `iterations` and metrics by name, `heldout_...`.
    """
    names = [name for name in entries[0] if name.startswith("heldout_") and name != "heldout_parted"]
    columns = 4
    lines = -(-len(names) // columns)
    figure = Figure(figsize=(13, 2.3 * lines + 0.4), layout="constrained")
    FigureCanvasAgg(figure)
    iterations = [entry["iterations"] for entry in entries]
    colours = {"heldout_reward": RIGHT, "heldout_judge": TRAIL}
    for axes, name in zip(figure.subplots(lines, columns, squeeze=False).ravel(), names):
        axes.plot(iterations, [entry.get(name, np.nan) for entry in entries], marker="o", linewidth=2, color=colours.get(name, LEFT))
        for before, entry in zip(entries, entries[1:]):
            if entry["heldout_parted"]:
                axes.axvspan(before["iterations"], entry["iterations"], color=FAINT, alpha=0.18, linewidth=0)
        _dress(axes, name.removeprefix("heldout_").replace("_", " "))
    for axes in figure.axes[len(names) :]:
        axes.set_visible(False)
    figure.supxlabel("iterations; shaded: the reward has risen and the judge has fallen", fontsize=9)
    figure.savefig(path, dpi=110)


# What a monitor watches, each with the name of its finding; a fraction has its whole range.
WATCHED = {
    "mean_reward": "", "std_reward": "reward_spread", "zero_std_fraction": "zero_std", "failed_samples": "failed_samples",
    "max_abs_log_ratio": "log_ratio", "log_prob_gap": "log_prob_gap", "clip_fraction": "clip_fraction", "kl": "kl",
    "grad_norm": "gradient", "learning_rate": "", "length_entropy": "lengths", "seconds": "throughput",
}  # fmt: skip


def health_curves_png(path: Path | str, history: list[dict[str, float]], findings: list) -> None:
    """Writes a PNG: one panel for each watched metric that the entries have, by iteration (from 1), and a line in it where a
    finding of it began. `findings`: `learner.watch.health.Finding`s; those of no panel are not drawn.

    Values that are not finite, or cannot be drawn, are crosses at the top.
    """
    history = [{"seconds": sum(v for k, v in entry.items() if k.startswith("seconds_")) or None, **entry} for entry in history]
    names = [name for name in WATCHED if any(entry.get(name) is not None for entry in history)]
    columns = 4
    lines = max(1, -(-len(names) // columns))
    figure = Figure(figsize=(13, 2.3 * lines + 0.4), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(lines, columns, squeeze=False).ravel()
    for axes, name in zip(panels, names):
        iterations, values = _series(history, name)
        finite = np.abs(values) < 1e30
        if finite.any():
            axes.plot(iterations[finite] + 1, values[finite], color=LEFT, marker=".", linewidth=1.4, markersize=4, clip_on=False)
        axes.set_xlim(history[0]["iteration"] + 0.5, history[-1]["iteration"] + 1.5)
        axes.ticklabel_format(axis="y", scilimits=(-3, 5))
        if name != "mean_reward" and not (values[finite] < 0).any():
            axes.set_ylim(bottom=0)
        if not finite.all():
            lost = iterations[~finite] + 1
            axes.plot(lost, np.ones(len(lost)), "x", color=RIGHT, transform=axes.get_xaxis_transform(), clip_on=False)
        for finding in findings:
            if finding.name == WATCHED[name]:
                axes.axvline(finding.iteration + 1, color=RIGHT, linewidth=1.2, linestyle="--")
        _dress(axes, name.replace("_", " "))
    for axes in panels[len(names) :]:
        axes.set_visible(False)
    figure.supxlabel("iteration; dashed: a finding begins or gets worse; x: not a finite number", fontsize=9)
    figure.savefig(path, dpi=110)


def _series(history: list[dict[str, float]], key: str) -> tuple[np.ndarray, np.ndarray]:
    found = [(entry["iteration"], entry[key]) for entry in history if entry.get(key) is not None]
    iterations, values = zip(*found) if found else ((), ())
    return np.array(iterations, dtype=float), np.array(values, dtype=float)


def _dress(axes, title: str) -> None:
    axes.set_title(title, fontsize=10, loc="left", color=INK)
    axes.grid(alpha=0.25, linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=8)
    axes.xaxis.get_major_locator().set_params(integer=True)


def intervals_png(path: Path | str, rows: list[tuple[str, dict[str, dict]]], metrics: dict) -> None:
    """Writes a PNG of an evaluation: one panel a metric, one bar a row with its 95 % interval.

    rows: name and, by metric, {"mean", "ci95" or None}; metrics: (label, better, digits) by name. What was measured for no
    row has no panel; the dashed line is the first row, real motion.
    """
    shown = [name for name in metrics if any(name in found for _, found in rows)]
    columns = 4
    lines = -(-len(shown) // columns)
    figure = Figure(figsize=(13, 1.2 + lines * (1.1 + 0.34 * len(rows))), layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.add_gridspec(lines, columns)
    colours = (FAINT, INK, LEFT)  # real motion, the base model, adapters
    for place, name in enumerate(shown):
        axes = figure.add_subplot(grid[place // columns, place % columns])
        label, better, digits = metrics[name]
        highest = 0.0
        for position, (row, found) in enumerate(rows):
            if name not in found or not np.isfinite(found[name]["mean"]):
                continue
            mean, half = found[name]["mean"], found[name]["ci95"] or 0.0
            axes.barh(position, mean, xerr=half, height=0.7, color=colours[min(position, 2)], alpha=0.85, ecolor=RIGHT, capsize=3)
            axes.annotate(f"{mean:.{digits}f}", (mean + half, position), (4, 0), textcoords="offset points", va="center", fontsize=8)
            highest = max(highest, mean + half)
        if np.isfinite(rows[0][1].get(name, {}).get("mean", np.nan)):
            axes.axvline(rows[0][1][name]["mean"], color=FAINT, linewidth=1, linestyle="--")
        axes.set_xlim(0, highest * 1.25 or 1)
        axes.set_ylim(len(rows) - 0.5, -0.5)
        _dress(axes, f"{label} {better}")
        axes.xaxis.get_major_locator().set_params(integer=False)
        axes.set_yticks(range(len(rows)), [row for row, _ in rows] if place % columns == 0 else [""] * len(rows))
    figure.savefig(path, dpi=130)
