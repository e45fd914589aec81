"""The default objective beside the original's, on the same run: `python -m benchmarks.objectives --out DIR [flags]`.

Same seed, prompts, noise and learning rate. Writes DIR/objectives.png and DIR/table.md.
"""

import argparse
import sys
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

from benchmarks.runs import shown, train

ORIGINAL = ["--objective.kind", "trajectory", "--objective.clip_epsilon", "0.2", "--objective.kl_penalty", "0.1"]
PANELS = ("mean_reward", "kl", "mean_ratio", "clip_fraction")


def main(argv: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", required=True, type=Path)
    args, flags = parser.parse_known_args(argv)
    runs = {"default (grpo)": train(args.out / "grpo", flags), "original (trajectory)": train(args.out / "trajectory", flags + ORIGINAL)}
    figure, axes = plt.subplots(1, len(PANELS), figsize=(14, 3.2), constrained_layout=True)
    for axis, name in zip(axes, PANELS):
        for label, (_, rows) in runs.items():
            axis.plot([row["iteration"] for row in rows], [row[name] for row in rows], label=label)
        axis.set(title=name, xlabel="iteration", yscale="log" if name in ("mean_ratio", "kl") else "linear")
    axes[0].legend(fontsize=8)
    figure.savefig(args.out / "objectives.png", dpi=110)
    lines = [
        f"`python -m benchmarks.objectives {' '.join(argv)}`", "",
        "| objective | trained gain | held-out gain | judge gain | FID | largest mean ratio | last clip fraction | last KL to base |",
        "|---|---|---|---|---|---|---|---|",
    ]  # fmt: skip
    for label, (summary, rows) in runs.items():
        heldout = summary["heldout"]
        lines.append(
            f"| {label} | {shown(summary['trained']['reward']['gain'])} | {shown(heldout['reward']['gain'])} | {shown(heldout['judge']['gain'])} "
            f"| {heldout['fid']['before']:.2f} → {heldout['fid']['after']:.2f} | {max(row['mean_ratio'] for row in rows):.4g} "
            f"| {rows[-1]['clip_fraction']:.2f} | {rows[-1]['kl']:.2g} |"
        )
    (args.out / "table.md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    main(sys.argv[1:])
