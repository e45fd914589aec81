"""What one rollout ahead is worth where rewards are slow: `python -m benchmarks.staleness --out DIR [--rounds 3] [flags of learner.main]`.

Runs of the same settings in turns, `cluster.max_staleness` 0 and 1, each with as many samplers; seconds an iteration are
read from the stages that every run records. Writes DIR/table.md.
"""

import argparse
import os
import platform
import sys
import time
from pathlib import Path

import numpy as np

from benchmarks.runs import shown, train

STAGES = ("rollout", "reward", "update", "publish")


def main(argv: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", required=True, type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    args, flags = parser.parse_known_args(argv)
    spent, gains, clipped = {0: [], 1: []}, {0: [], 1: []}, {0: [], 1: []}
    for round_ in range(args.rounds):
        for staleness in (0, 1):
            seed = ["--seed", str(round_), "--cluster.max_staleness", str(staleness)]
            summary, rows = train(args.out / f"{round_}-{staleness}", [*flags, *seed])
            rows = rows[1:]  # in the first one nothing is ahead
            spent[staleness].append([np.mean([row[f"seconds_{stage}"] for row in rows]) for stage in STAGES])
            gains[staleness].append(shown(summary["trained"]["reward"]["gain"]))
            clipped[staleness].append(np.mean([row["clip_fraction"] for row in rows]))
    totals = {staleness: np.sum(spent[staleness], axis=1) for staleness in spent}
    ratios = totals[0] / totals[1]
    lines = [
        f"`python -m benchmarks.staleness {' '.join(argv)}` ({time.strftime('%Y-%m-%d')}, {os.cpu_count()} cores of {platform.machine()})", "",
        f"Seconds an iteration, means of {args.rounds} runs in turns (lowest to highest); a stage counts what the loop waited for it.", "",
        "| max_staleness | iteration | " + " | ".join(STAGES) + " | clip fraction | trained gain, seed by seed |", "|---" * (len(STAGES) + 4) + "|",
        *(
            f"| {staleness} | {totals[staleness].mean():.2f} ({totals[staleness].min():.2f} to {totals[staleness].max():.2f}) | "
            + " | ".join(f"{value:.2f}" for value in np.mean(spent[staleness], axis=0))
            + f" | {np.mean(clipped[staleness]):.2f} | {', '.join(gains[staleness])} |"
            for staleness in spent
        ), "",
        f"One rollout ahead is {ratios.mean():.2f} times as fast ({ratios.min():.2f} to {ratios.max():.2f}, run by run).",
    ]  # fmt: skip
    (args.out / "table.md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    main(sys.argv[1:])
