"""How far recipes come by the minute and by the sample: `python -m benchmarks.how_far --out DIR RUN [RUN ...]`.

RUN is the folder of a finished run of `learner.main`, of one seed or of `--seeds`, and one recipe's. Writes how_far.png (held-out
numbers by minute of training and by training samples, bands of 95 % over seeds, which may leave the panel), how_far.json and table.md
into DIR. Minutes are those that the run recorded for rollout, reward, update and publication, waits for other seeds beside it with them
and evaluations left out. How fine the curves are is the run's `evaluate.every`.
"""

import argparse
import json
import sys
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from learner.config.files import read_yaml
from learner.watch.examination import LESS_IS_BETTER, NEITHER, interval
from learner.watch.rules import STAGES
from rollout.io.colours import INK, LEFT, RIGHT, TRAIL, dress
from rollout.io.command import Parser, exit_code
from rollout.io.errors import InputError
from rollout.io.files import write_json

NUMBERS = (
    "reward", "judge", "judge_joints", "fid", "foot_skate", "ground_penetration", "floating", "jerk", "smoothness", "root_drift",
    "diversity",
)  # fmt: skip
NOTE = """\
± is 95 % over seeds; none where there is one. Best is of the curve's means, chosen among its evaluations. N is how many samples a held-out
prompt has under the base model, of which the reward chooses one. It is not the samples that training took."""
COLOURS = (LEFT, RIGHT, TRAIL, "#3a9d5d", "#8458b3", INK)


def points(run: Path) -> list[dict[str, float]]:
    """Every held-out evaluation of one seed's run, from the base model's to the end's: `minutes`, `samples`, `parted` and numbers by name.

    Raises InputError for a run that has not ended well.
    """
    try:
        summary = json.loads((run / "summary.json").read_text(encoding="utf-8"))
        rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
        rollout = read_yaml(run / "config.yaml")["rollout"]
        heldout, best = summary["heldout"], summary.get("best_of_base", {})
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f"{run}: found no finished run ({error!r}), expected metrics and a summary of held-out prompts") from None
    before, after = ({name: _mean(heldout[name].get(when)) for name in NUMBERS if name in heldout} for when in ("before", "after"))
    minutes = np.cumsum([sum(row[stage] for stage in STAGES) for row in rows]) / 60
    samples = rollout["prompts_per_iteration"] * rollout["group_size"]
    found = [{"minutes": 0.0, "samples": 0, "parted": 0.0, **before}]
    for i, row in enumerate(rows):
        if "heldout_reward" in row or i + 1 == len(rows):
            own = {name: _mean(row.get(f"heldout_{name}")) for name in before} if i + 1 < len(rows) else after
            found.append({"minutes": float(minutes[i]), "samples": (i + 1) * samples, "parted": row.get("heldout_parted", 0.0), **own})
    found[0]["best_of"] = {"of": best.get("samples"), **{name: _mean(best[name]["before"]) for name in before if name in best}}
    return found


def recipe(folder: Path) -> dict:
    """One recipe over its seeds: `curve`, a list of evaluations that all seeds have with `minutes`, `samples`, in how many seeds reward
    and judge `parted`, and of each number mean and ci95 (NaN of one seed); `final`, `best` and `gain` by number; `best_of_base`."""
    runs = [points(run) for run in sorted(folder.glob("seed[0-9]*")) or [folder]]
    common = sorted(set.intersection(*({point["samples"] for point in run} for run in runs)))
    kept = [[next(point for point in run if point["samples"] == at) for run in runs] for at in common]
    names = [name for name in NUMBERS if all(np.isfinite(run[at].get(name, np.nan)) for run in runs for at in (0, -1))]
    curve = [
        {"samples": at, "minutes": float(np.mean([p["minutes"] for p in each])), "parted": sum(p["parted"] > 0 for p in each)}
        | {name: over([point[name] for point in each]) for name in names}
        for at, each in zip(common, kept)
    ]  # fmt: skip
    chosen = [run[0]["best_of"] for run in runs]
    best = {}
    for name in names:
        if name not in NEITHER and (values := [point[name]["mean"] for point in curve]):
            place = int(np.nanargmin(values) if name in LESS_IS_BETTER else np.nanargmax(values))
            best[name] = {"minutes": curve[place]["minutes"], "samples": curve[place]["samples"], **curve[place][name]}
    measured = [name for name in names if all(name in each for each in chosen)]
    return {
        "run": str(folder), "seeds": len(runs), "curve": curve, "best": best,
        **{at: float(np.mean([run[-1][at] for run in runs])) for at in ("minutes", "samples")},
        "final": {name: over([run[-1][name] for run in runs]) for name in names},
        "gain": {name: over([run[-1][name] - run[0][name] for run in runs]) for name in names},
        "best_of_base": {"of": chosen[0]["of"], **{name: over([each[name] for each in chosen]) for name in measured}},
    }  # fmt: skip


def over(values: list[float]) -> dict[str, float]:
    """Mean and half-width of 95 % over seeds."""
    return interval(np.array(values, np.float64)[:, None], fixed_prompts=False)


def _mean(entry: dict | float | str | None) -> float:
    """NaN for what is no number, such as why there is none."""
    value = entry["mean"] if isinstance(entry, dict) else entry
    return float(value) if isinstance(value, (int, float)) else np.nan


def draw(recipes: dict[str, dict], path: Path) -> None:
    names = [name for name in NUMBERS if any(name in each["final"] for each in recipes.values())]
    figure = Figure(figsize=(12, 2.1 * len(names) + 1), layout="constrained")
    for (left, right), name in zip(figure.subplots(len(names), 2, sharey="row", squeeze=False), names):
        for axes, by in ((left, "minutes"), (right, "samples")):
            having = [(colour, label, each) for colour, (label, each) in zip(COLOURS, recipes.items()) if name in each["final"]]
            for colour, label, each in having:
                _line(axes, each, name, by, colour, label)
            axes.margins(y=0.3)
            limits = axes.get_ylim()  # the bands of two or three seeds are wide, and would leave nothing of the lines
            for colour, _, each in having:
                x, mean, half = np.array([[point[by], *point[name].values()] for point in each["curve"]]).T
                axes.fill_between(x, mean - half, mean + half, color=colour, alpha=0.15, linewidth=0)
            axes.set_ylim(limits)
            dress(axes, f"held-out {name}")
            axes.set_xlabel(f"training {by}", fontsize=8)
    figure.legend(*figure.axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=3, fontsize=8, frameon=False)
    figure.savefig(path, dpi=100)


def _line(axes, of: dict, name: str, by: str, colour: str, label: str) -> None:
    x, parted = (np.array([point[key] for point in of["curve"]]) for key in (by, "parted"))
    mean = np.array([point[name]["mean"] for point in of["curve"]])
    axes.plot(x, mean, color=colour, marker=".", label=f"{label} ({of['seeds']} seed{'s' * (of['seeds'] > 1)})")
    if (parted > 0).any():
        label_of_parting = f"{label}: reward and judge part"
        axes.plot(x[parted > 0], mean[parted > 0], "X", color=colour, markersize=9, markeredgecolor="black", label=label_of_parting)
    if name in of["best_of_base"]:
        best = of["best_of_base"]
        axes.axhline(best[name]["mean"], color=colour, linestyle="--", linewidth=1, label=f"{label}: best of {best['of']} of the base")


def table(recipes: dict[str, dict]) -> list[str]:
    heads = ["recipe", "held-out", "base", "final", "gain", "at minute", "best", "at minute", "best of N of the base"]
    lines = [f"| {' | '.join(heads)} |", "|" + "---|" * len(heads)]
    for label, each in recipes.items():
        for name, final in each["final"].items():
            best, chosen = each["best"].get(name), each["best_of_base"].get(name)
            cells = [label, name, f"{each['curve'][0][name]['mean']:.4g}", _shown(final), _shown(each["gain"][name], "+")]
            cells.append(f"{each['minutes']:.1f}")
            cells += [_shown(best), f"{best['minutes']:.1f}"] if best else ["", ""]
            cells.append(f"{_shown(chosen)} (N {each['best_of_base']['of']})" if chosen else "")
            lines.append(f"| {' | '.join(cells)} |")
    lines.append("")
    for label, each in recipes.items():
        parted = [f"{point['minutes']:.1f}" for point in each["curve"] if point["parted"]]
        where = f"at minute {', '.join(parted)}" if parted else "at no evaluation"
        lines.append(f"* {label}: {each['seeds']} seed(s), {each['samples']:.0f} training samples each; reward and judge part {where}.")
    return lines + ["", NOTE]


def _shown(entry: dict[str, float], sign: str = "") -> str:
    return f"{entry['mean']:{sign}.4g}" + (f" ± {entry['ci95']:.2g}" if np.isfinite(entry["ci95"]) else "")


def main(argv: list[str]) -> int:
    parser = Parser(
        prog="python -m benchmarks.how_far", description=__doc__, allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", required=True, type=Path)
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN")
    return exit_code(lambda: compared(parser.parse_args(argv), argv))


def compared(given: argparse.Namespace, argv: list[str]) -> str:
    labels = [run.resolve().name for run in given.runs]
    if len(set(labels)) < len(labels) or len(labels) > len(COLOURS):
        raise InputError(f"RUN: found {', '.join(labels)}, expected at most {len(COLOURS)} folders of different names")
    recipes = {label: recipe(run) for label, run in zip(labels, given.runs)}
    given.out.mkdir(parents=True, exist_ok=True)
    lines = [f"`python -m benchmarks.how_far {' '.join(argv)}`", "", *table(recipes)]
    (given.out / "table.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    write_json(given.out / "how_far.json", recipes)
    draw(recipes, given.out / "how_far.png")
    print("\n".join(lines))
    return "finished"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
