"""What the language family learns, over seeds: `python -m benchmarks.language --out DIR [--config people] [--seeds 0,1,2] [flags of learner.main]`.

Trains each seed twice: as it is, and blind (`--model.blank true`: every image grey). What rises in both was learnt without seeing,
so accuracy (people) or IoU (points) stands apart from the total. Prints and writes DIR/table.md: held-out total and held-out
measures before and after, and the gain of the total of all seeds together with its 95 % interval.
"""

import argparse
import sys
from pathlib import Path

import numpy as np

from benchmarks.runs import shown, train

KINDS = {"sees": [], "blind": ["--model.blank", "true"]}


def main(argv: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", required=True, type=Path)
    parser.add_argument("--config", default="people")
    parser.add_argument("--seeds", default="0,1,2")
    args, flags = parser.parse_known_args(argv)
    lines = [f"`python -m benchmarks.language {' '.join(argv)}`", ""]
    lines += ["| run | seed | minutes | held-out total | gain | held-out measures, before → after |", "|---|---|---|---|---|---|"]
    gains = {kind: [] for kind in KINDS}
    for kind, more in KINDS.items():
        for seed in args.seeds.split(","):
            summary, _ = train(args.out / f"{kind}{seed}", ["--config", args.config, "--seed", seed, *flags, *more])
            heldout = summary["heldout"]
            total = heldout["reward"]
            gains[kind].append(total["gain"])
            lines.append(
                f"| {kind} | {seed} | {summary['wall_seconds'] / 60:.1f} | {total['before']['mean']:.3f} → {total['after']['mean']:.3f} "
                f"| {shown(total['gain'])} | {measures(heldout)} |"
            )
    lines += ["", "All seeds together (mean of the seeds; half-width from the seeds' own intervals, sqrt(sum ci^2) / n):", ""]
    for kind, entries in gains.items():
        together = {"mean": np.mean([e["mean"] for e in entries]), "ci95": np.sqrt(np.sum([e["ci95"] ** 2 for e in entries])) / len(entries)}
        lines.append(f"* {kind}, held-out total: {shown(together)}")
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "table.md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


def measures(heldout: dict) -> str:
    """Those that are told before and after as plain numbers: accuracy, format and the like."""
    plain = {name: each for name, each in heldout.items() if isinstance(each, dict) and all(isinstance(each.get(k), float) for k in ("before", "after"))}
    return ", ".join(f"{name} {each['before']:.3f} → {each['after']:.3f}" for name, each in plain.items())


if __name__ == "__main__":
    main(sys.argv[1:])
