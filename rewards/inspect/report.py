"""An inspection as a table of text and as one picture."""

from pathlib import Path

import numpy as np

from rewards.inspect.faults import crowded
from rewards.inspect.inspection import Inspection
from rewards.inspect.probes import members
from rollout.io.colours import INK, LEFT, RIGHT, dress
from rollout.io.errors import InputError

GROUPS_SHOWN = 60


def table(result: Inspection) -> list[str]:
    """One line a component: its distribution, failures, share at an end of its range, groups without spread, real motion."""
    numbers = "".join(f"{head:>9}" for head in ("mean", "std", "5 %", "median", "95 %"))
    head = f"{'':<22}{numbers}{'at an end':>11}{'flat groups':>13}{'failed':>8}{'real':>9}"
    lines = [f"{len(result.groups)} motions in {len(np.unique(result.groups))} groups", "", head]
    for name, values in result.values.items():
        finite = values[np.isfinite(values)]
        spread = [finite.mean(), finite.std(), *np.percentile(finite, [5, 50, 95])] if len(finite) else [np.nan] * 5
        real = f"{result.real[name]:.3g}" if name in result.real else "-"
        numbers = "".join(f"{number + 0.0:>9.3g}" for number in spread)
        shares = f"{crowded(values)[1]:>11.0%}{result.zero_std[name]:>13.0%}"
        lines.append(f"{name:<22}{numbers}{shares}{len(values) - len(finite):>8}{real:>9}")
    lines += [f"trained on, components normalised in their groups: {result.zero_std['trained']:.0%} of the groups are flat", ""]
    kinds = list(next(iter(result.normalisations.values())))
    lines.append(f"{'advantages against raw':<22}" + "".join(f"{kind:>12}" for kind in kinds))
    lines += [f"{name:<22}" + "".join(f"{found[kind]:>12.3f}" for kind in kinds) for name, found in result.normalisations.items()]
    if len(result.values) > 1:
        names = list(result.values)
        lines += ["", f"{'correlation in groups':<22}" + "".join(f"{name[:18]:>20}" for name in names)]
        lines += [f"{name:<22}" + "".join(f"{value:>20.3f}" for value in row) for name, row in zip(names, result.correlation)]
    return [*lines, ""]


def draw(path: Path, result: Inspection) -> None:
    """Writes a PNG: by component its distribution and the range of each group; correlations of components and normalisations."""
    from matplotlib.figure import Figure

    names = list(result.values)
    figure = Figure(figsize=(max(9, 3.6 * len(names)), 9), layout="constrained")
    top, bottom = figure.subfigures(2, 1, height_ratios=(2, 1.1))
    for (above, below), name in zip(top.subplots(2, len(names), squeeze=False).T, names):
        _histogram(above, name, result)
        _ranges(below, result.values[name], result.groups)
    left, right = bottom.subplots(1, 2)
    _matrix(left, result.correlation, names, names, "correlation of components, inside groups")
    kinds = list(next(iter(result.normalisations.values())))
    rows = np.array([list(found.values()) for found in result.normalisations.values()])
    _matrix(right, rows, list(result.normalisations), kinds, "advantages of each normalisation against raw")
    try:
        figure.savefig(path, dpi=120)
    except OSError as error:
        raise InputError(f"--picture: cannot write {path} ({error.strerror})") from None


def _histogram(axes, name: str, result: Inspection) -> None:
    values = result.values[name]
    finite = values[np.isfinite(values)]
    axes.hist(finite, bins=min(40, max(10, len(finite) // 4)), color=LEFT, alpha=0.85)
    if name in result.real:
        axes.axvline(result.real[name], color=RIGHT, linestyle="--", linewidth=1.5)
        axes.annotate("real", (result.real[name], 0.92), xycoords=("data", "axes fraction"), color=RIGHT, fontsize=8)
    serious = [finding.fault for finding in result.findings[name] if finding.serious]
    dress(axes, f"{name}: {', '.join(serious)}" if serious else name, RIGHT if serious else INK)
    failed = len(values) - len(finite)
    axes.set_xlabel(f"score ({failed} of {len(values)} failed)" if failed else "score", fontsize=8)


def _ranges(axes, values: np.ndarray, groups: np.ndarray) -> None:
    """One line a group from its lowest to its highest score, groups in the order of their means: what an advantage sees is
    the length of a line, not where it lies."""
    parts = [values[rows][np.isfinite(values[rows])] for rows in members(groups)]
    parts = sorted((part for part in parts if len(part)), key=np.mean)
    shown = np.unique(np.linspace(0, len(parts) - 1, min(len(parts), GROUPS_SHOWN)).astype(int))
    for place, part in enumerate(parts[i] for i in shown):
        axes.plot([place, place], [part.min(), part.max()], color=LEFT, alpha=0.5, linewidth=2)
        axes.plot(np.full(len(part), place), part, ".", color=INK, markersize=2.5)
    axes.set_xlabel("groups, by mean", fontsize=8)
    axes.set_ylabel("scores of a group", fontsize=8)
    dress(axes, "")


def _matrix(axes, values: np.ndarray, rows: list[str], columns: list[str], title: str) -> None:
    axes.imshow(np.nan_to_num(values), cmap="RdBu", vmin=-1, vmax=1, aspect="auto")
    for (i, j), value in np.ndenumerate(values):
        text = "-" if np.isnan(value) else f"{value:.2f}" if abs(value) < 0.995 else f"{value:.3f}"
        axes.text(j, i, text, ha="center", va="center", fontsize=8, color="white" if abs(value) > 0.6 else INK)
    axes.set_xticks(range(len(columns)), columns, fontsize=8)
    axes.set_yticks(range(len(rows)), rows, fontsize=8)
    axes.set_title(title, fontsize=10, loc="left", color=INK)
