"""Every kind of objective on the same prompts and as many samples: `python -m benchmarks.objectives --out DIR [flags of learner.main]`.

Same seed and learning rate; awm and nft sample without noise in the steps (configs/awm.yaml), so what they start from is another
number. Writes DIR/objectives.png, by iteration and by minute of training, and DIR/table.md.
"""

import argparse
import sys
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

from benchmarks.runs import shown, train

# At one update a rollout nft is awm, but for the scale of its gradient.
KINDS = {
    "default (grpo)": [],
    "awm": ["--config", "awm"],
    "nft": ["--config", "awm", "--objective.kind", "nft", "--objective.advantage_clip", "5", "--objective.updates_per_rollout", "2"],
    "original (trajectory)": ["--objective.kind", "trajectory", "--objective.clip_epsilon", "0.2", "--objective.kl_penalty", "0.1"],
}
PANELS = [("mean_reward", "minutes"), *((name, "iteration") for name in ("mean_reward", "kl", "mean_ratio", "clip_fraction"))]


def main(argv: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", required=True, type=Path)
    args, flags = parser.parse_known_args(argv)
    runs = {label: train(args.out / label.split()[0], own + flags) for label, own in KINDS.items()}
    figure, axes = plt.subplots(1, len(PANELS), figsize=(17, 3.2), constrained_layout=True)
    lines = [
        f"`python -m benchmarks.objectives {' '.join(argv)}`", "",
        "| objective | minutes of training | trained gain | held-out reward | held-out gain | beside best of N of the base | judge gain | FID | largest mean ratio "
        "| last clip fraction | last KL to base |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]  # fmt: skip
    for label, (summary, rows) in runs.items():
        minutes = np.cumsum([sum(value for name, value in row.items() if name.startswith("seconds_")) for row in rows]) / 60
        for axis, (name, by) in zip(axes, PANELS):
            axis.plot(minutes if by == "minutes" else [row[by] for row in rows], [row[name] for row in rows], label=label)
            axis.set(title=name, xlabel=by, yscale="log" if name in ("mean_ratio", "kl") else "linear")
        heldout = summary["heldout"]
        lines.append(
            f"| {label} | {minutes[-1]:.1f} | {shown(summary['trained']['reward']['gain'])} "
            f"| {heldout['reward']['before']['mean']:.3f} → {heldout['reward']['after']['mean']:.3f} | {shown(heldout['reward']['gain'])} "
            f"| {shown(summary['best_of_base']['reward']['gain'])} | {shown(heldout['judge']['gain'])} | {heldout['fid']['before']:.2f} → {heldout['fid']['after']:.2f} "
            f"| {max(row['mean_ratio'] for row in rows):.4g} | {rows[-1]['clip_fraction']:.2f} | {rows[-1]['kl']:.2g} |"
        )
    axes[0].legend(fontsize=8)
    figure.savefig(args.out / "objectives.png", dpi=110)
    (args.out / "table.md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    main(sys.argv[1:])
