"""Learning claims over seeds: `python -m benchmarks.seeds --out DIR [--seeds 0,1,2] [flags of learner.main]`.

Trains once per seed and prints one table: gain on the training prompts under fresh noise, gain on held-out prompts, the
judge, FID and foot skate before and after, and the held-out gain of all seeds together. Writes it to DIR/table.md.
"""

import argparse
import sys
from pathlib import Path

import numpy as np

from benchmarks.runs import shown, train


def main(argv: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", required=True, type=Path)
    parser.add_argument("--seeds", default="0,1,2")
    args, flags = parser.parse_known_args(argv)
    lines = [
        f"`python -m benchmarks.seeds {' '.join(argv)}`", "",
        "| seed | minutes | trained reward | trained gain | held-out reward | held-out gain | judge gain, held out | FID | foot skate m/s |",
        "|---|---|---|---|---|---|---|---|---|",
    ]  # fmt: skip
    gains = {("heldout", "reward"): [], ("heldout", "judge"): [], ("trained", "reward"): []}
    for seed in args.seeds.split(","):
        summary, _ = train(args.out / f"seed{seed}", ["--seed", seed, *flags])
        heldout, trained = summary["heldout"], summary["trained"]
        for place, name in gains:
            gains[place, name].append(summary[place][name]["gain"])
        lines.append(
            f"| {seed} | {summary['wall_seconds'] / 60:.1f} | {trained['reward']['before']['mean']:.3f} → {trained['reward']['after']['mean']:.3f} "
            f"| {shown(trained['reward']['gain'])} | {heldout['reward']['before']['mean']:.3f} → {heldout['reward']['after']['mean']:.3f} "
            f"| {shown(heldout['reward']['gain'])} | {shown(heldout['judge']['gain'])} "
            f"| {heldout['fid']['before']:.2f} → {heldout['fid']['after']:.2f} | {heldout['foot_skate']['before']:.3f} → {heldout['foot_skate']['after']:.3f} |"
        )
    lines += ["", "All seeds together (mean of the seeds; half-width from the seeds' own intervals, sqrt(sum ci^2) / n):", ""]
    for (place, name), entries in gains.items():
        together = {"mean": np.mean([e["mean"] for e in entries]), "ci95": np.sqrt(np.sum([e["ci95"] ** 2 for e in entries])) / len(entries)}
        lines.append(f"* {place} {name}: {shown(together)}")
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "table.md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    main(sys.argv[1:])
