"""Curves a person can judge a run by: rewards, held-out judgement, what health watches, intervals of an evaluation."""

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from learner.watch.divergence import paired_change
from rollout.io.colours import FAINT, INK, LEFT, RIGHT, TRAIL, dress

COLUMNS = 4  # panels side by side
HELDOUT = {"heldout_reward": RIGHT, "heldout_judge": TRAIL}


def reward_curve_png(path: Path | str, history: list[dict[str, float]]) -> None:
    """Writes a PNG of a run: the reward of its samples by iteration, and how calm its updates were.

    Each entry holds `iteration` and any of mean_reward, std_reward, heldout_reward, heldout_judge, kl,
    mean_ratio, grad_norm and the stages' seconds (keys that start with "seconds"); what is absent is left out.
    """
    figure = Figure(figsize=(11, 6.4), layout="constrained")
    panels = figure.subplot_mosaic([["reward"] * COLUMNS, ["kl", "mean_ratio", "grad_norm", "seconds"]], height_ratios=(2.2, 1))
    _draw_rewards(panels["reward"], history)
    for key in ("kl", "mean_ratio", "grad_norm"):
        panels[key].plot(*_series(history, key), color=LEFT, linewidth=1.2)
        _by_iteration(panels[key], key)
    stages = sorted({key for entry in history for key in entry if key.startswith("seconds")})
    for stage in stages:
        panels["seconds"].plot(*_series(history, stage), linewidth=1.2, label=stage.removeprefix("seconds").strip("_/."))
    _by_iteration(panels["seconds"], "seconds by stage")
    if stages:
        panels["seconds"].legend(fontsize=7, frameon=False)
    figure.savefig(path, dpi=130)


def _draw_rewards(axes: Axes, history: list[dict[str, float]]) -> None:
    iterations, rewards = _series(history, "mean_reward")
    spread = np.array([entry.get("std_reward") or 0.0 for entry in history if entry.get("mean_reward") is not None])
    axes.fill_between(iterations, rewards - spread, rewards + spread, color=LEFT, alpha=0.12, linewidth=0)
    axes.plot(iterations, rewards, color=LEFT, alpha=0.45, linewidth=1, marker=".", label="training samples, mean ± std")
    # Each value with the ones before it, so that the line never knows the future.
    window = max(2, min(10, len(rewards) // 4))
    running = [rewards[max(0, i + 1 - window) : i + 1].mean() for i in range(len(rewards))]
    axes.plot(iterations, running, color=LEFT, linewidth=2.4, label=f"mean of the last {window}")
    axes.set_ylabel("reward")
    _by_iteration(axes, "reward by iteration")
    for key, label in zip(HELDOUT, ("held-out prompts", "judge, held-out (right)")):
        iterations, values = _series(history, key)
        if len(values):
            # The judge has its own scale; its entry in the legend is an empty line on the left axes.
            target = axes.twinx() if key == "heldout_judge" else axes
            axes.plot([], [], color=HELDOUT[key], marker="o", linewidth=2, label=label)
            target.plot(iterations, values, color=HELDOUT[key], marker="o", linewidth=2)
            target.spines[["top"]].set_visible(False)
    axes.legend(frameon=False, fontsize=9, loc="upper left", ncols=2)
    axes.margins(y=0.2)


def seeds_png(path: Path | str, rewards: list[list[float]]) -> None:
    """Writes a PNG: the reward by iteration of runs of several seeds, and its mean with a band of 95 % over seeds."""
    figure = Figure(figsize=(11, 4.4), layout="constrained")
    axes, common = figure.subplots(), min(map(len, rewards))
    for each in rewards:
        axes.plot(range(len(each)), each, color=LEFT, alpha=0.35, linewidth=1)
    over = [paired_change(np.array(values)[:, None]) for values in zip(*rewards)]
    mean, half = np.array([[each.mean, each.half] for each in over]).reshape(-1, 2).T
    axes.fill_between(range(common), mean - half, mean + half, color=LEFT, alpha=0.15, linewidth=0)
    axes.plot(range(common), mean, color=LEFT, linewidth=2.4, label=f"mean of {len(rewards)} seeds, band: 95 % over seeds")
    axes.set_ylabel("reward")
    axes.legend(frameon=False, fontsize=9, loc="upper left")
    _by_iteration(axes, "reward by iteration")
    figure.savefig(path, dpi=130)


def heldout_curves_png(path: Path | str, entries: list[dict[str, float]]) -> None:
    """Writes a PNG of held-out evaluations: one panel a metric, by iterations done. Evaluations at which the reward had risen
    and the judge had fallen (`heldout_parted` above 0) are shaded.

    Each entry holds `iterations` and metrics by name, `heldout_...`.
    """
    names = [name for name in entries[0] if name.startswith("heldout_") and name != "heldout_parted"]
    figure, panels = _panels(len(names), 2.3, 0.4)
    iterations = [entry["iterations"] for entry in entries]
    for axes, name in zip(panels, names):
        axes.plot(iterations, [entry.get(name, np.nan) for entry in entries], marker="o", linewidth=2, color=HELDOUT.get(name, LEFT))
        for before, entry in zip(entries, entries[1:]):
            if entry["heldout_parted"]:
                axes.axvspan(before["iterations"], entry["iterations"], color=FAINT, alpha=0.18, linewidth=0)
        _by_iteration(axes, name.removeprefix("heldout_"))
    figure.supxlabel("iterations; shaded: the reward has risen and the judge has fallen", fontsize=9)
    figure.savefig(path, dpi=110)


# What a monitor watches, each with the name of its finding; a fraction has its whole range.
WATCHED = {
    "mean_reward": "", "std_reward": "reward_spread", "zero_std_fraction": "zero_std", "failed_samples": "failed_samples",
    "max_abs_log_ratio": "log_ratio", "log_prob_gap": "log_prob_gap", "clip_fraction": "clip_fraction", "kl": "kl",
    "prediction_norm": "prediction_norm",
    "grad_norm": "gradient", "learning_rate": "", "length_entropy": "lengths", "seconds": "throughput",
}  # fmt: skip


def health_curves_png(path: Path | str, history: list[dict[str, float]], findings: list) -> None:
    """Writes a PNG: one panel for each watched metric that the entries have, by iteration (from 1), and a line in it where a
    finding of it began. `findings`: `learner.watch.health.Finding`s; those of no panel are not drawn.

    Values that are not finite, or cannot be drawn, are crosses at the top.
    """
    history = [{"seconds": sum(v for k, v in entry.items() if k.startswith("seconds_")) or None, **entry} for entry in history]
    names = [name for name in WATCHED if any(entry.get(name) is not None for entry in history)]
    figure, panels = _panels(len(names), 2.3, 0.4)
    for axes, name in zip(panels, names):
        iterations, values = _series(history, name)
        finite = np.abs(values) < 1e30
        if finite.any():
            axes.plot(iterations[finite] + 1, values[finite], color=LEFT, marker=".", linewidth=1.4, markersize=4, clip_on=False)
        axes.set_xlim(history[0]["iteration"] + 0.5, history[-1]["iteration"] + 1.5)
        axes.ticklabel_format(axis="y", scilimits=(-3, 5))
        if name != "mean_reward" and not (values[finite] < 0).any():
            axes.set_ylim(bottom=0)
        if len(lost := iterations[~finite] + 1):
            axes.plot(lost, np.ones(len(lost)), "x", color=RIGHT, transform=axes.get_xaxis_transform(), clip_on=False)
        for finding in findings:
            if finding.name == WATCHED[name]:
                axes.axvline(finding.iteration + 1, color=RIGHT, linewidth=1.2, linestyle="--")
        _by_iteration(axes, name)
    figure.supxlabel("iteration; dashed: a finding begins or gets worse; x: not a finite number", fontsize=9)
    figure.savefig(path, dpi=110)


def intervals_png(path: Path | str, rows: list[tuple[str, dict[str, dict]]], metrics: dict, real: bool = True) -> None:
    """Writes a PNG of an evaluation: one panel a metric, one bar a row with its 95 % interval.

    rows: name and, by metric, {"mean", "ci95" or None}; metrics: (label, better, digits) by name. What was measured for no
    row has no panel; the dashed line is the first row: of real data, or where `real` is not, of the base model.
    """
    shown = [name for name in metrics if any(name in found for _, found in rows)]
    figure, panels = _panels(len(shown), 1.1 + 0.34 * len(rows), 1.2)
    colours = (FAINT, INK, LEFT) if real else (INK, LEFT)  # real data, the base model, adapters
    for place, (axes, name) in enumerate(zip(panels, shown)):
        label, better, digits = metrics[name]
        lowest = highest = 0.0
        for position, (_, found) in enumerate(rows):
            if name not in found or not np.isfinite(found[name]["mean"]):
                continue
            mean, half = found[name]["mean"], found[name]["ci95"] or 0.0
            axes.barh(position, mean, xerr=half, height=0.7, color=colours[min(position, len(colours) - 1)], alpha=0.85, ecolor=RIGHT, capsize=3)
            axes.annotate(f"{mean:.{digits}f}", (max(0.0, mean + half), position), (4, 0), textcoords="offset points", va="center", fontsize=8)
            lowest, highest = min(lowest, mean - half if mean < 0 else 0.0), max(highest, mean + half)
        if np.isfinite(rows[0][1].get(name, {}).get("mean", np.nan)):
            axes.axvline(rows[0][1][name]["mean"], color=FAINT, linewidth=1, linestyle="--")
        axes.set_xlim(lowest * 1.05, highest * 1.25 or -lowest / 3 or 1)
        axes.set_ylim(len(rows) - 0.5, -0.5)
        dress(axes, f"{label} {better}")
        axes.set_yticks(range(len(rows)), [row for row, _ in rows] if place % COLUMNS == 0 else [""] * len(rows))
    figure.savefig(path, dpi=130)


def _panels(count: int, height: float, more: float) -> tuple[Figure, np.ndarray]:
    """A figure of `count` axes, COLUMNS to a line of `height` inches; `more`: inches for what is above or below all of them."""
    lines = max(1, -(-count // COLUMNS))
    figure = Figure(figsize=(13, height * lines + more), layout="constrained")
    panels = figure.subplots(lines, COLUMNS, squeeze=False).ravel()
    for axes in panels[count:]:
        axes.set_visible(False)
    return figure, panels[:count]


def _series(history: list[dict[str, float]], key: str) -> tuple[np.ndarray, np.ndarray]:
    found = [(entry["iteration"], entry[key]) for entry in history if entry.get(key) is not None]
    iterations, values = np.array(found, dtype=float).reshape(-1, 2).T
    return iterations, values


def _by_iteration(axes: Axes, title: str) -> None:
    dress(axes, title.replace("_", " "))
    axes.xaxis.get_major_locator().set_params(integer=True)
