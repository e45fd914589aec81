"""Learning claims over seeds: `python -m benchmarks.seeds --out DIR [--seeds 0,1,2] [flags of learner.main]`.

Trains all seeds side by side into DIR and prints one table: gain on the training prompts under fresh noise, gain on held-out prompts,
the judge, FID and foot skate before and after, and the gains of all seeds together. Writes it to DIR/table.md.
"""

import argparse
import json
import sys
from pathlib import Path

from benchmarks.runs import shown, train


def main(argv: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", required=True, type=Path)
    parser.add_argument("--seeds", default="0,1,2")
    args, flags = parser.parse_known_args(argv)
    together, _ = train(args.out, ["--seeds", args.seeds, *flags])
    lines = [
        f"`python -m benchmarks.seeds {' '.join(argv)}`", "",
        f"{together['wall_seconds'] / 60:.1f} minutes for all of them.", "",
        "| seed | trained reward | trained gain | held-out reward | held-out gain | judge gain, held out | FID | foot skate m/s |",
        "|---|---|---|---|---|---|---|---|",
    ]  # fmt: skip
    for seed in together["seeds"]:
        summary = json.loads((args.out / f"seed{seed}" / "summary.json").read_text())
        heldout, trained = summary["heldout"], summary["trained"]
        lines.append(
            f"| {seed} | {trained['reward']['before']['mean']:.3f} → {trained['reward']['after']['mean']:.3f} "
            f"| {shown(trained['reward']['gain'])} | {heldout['reward']['before']['mean']:.3f} → {heldout['reward']['after']['mean']:.3f} "
            f"| {shown(heldout['reward']['gain'])} | {shown(heldout['judge']['gain'])} "
            f"| {heldout['fid']['before']:.2f} → {heldout['fid']['after']:.2f} | {heldout['foot_skate']['before']:.3f} → {heldout['foot_skate']['after']:.3f} |"
        )
    lines += ["", "All seeds together (95 % over seeds; in brackets the half-width from the seeds' own intervals, sqrt(sum ci^2) / n):", ""]
    for place, name in (("heldout", "reward"), ("heldout", "judge"), ("heldout", "judge_joints"), ("trained", "reward")):
        gain = together[place][name]["gain"]
        lines.append(f"* {place} {name}: {shown(gain)} ({gain['ci95_within']:.4f})")
    for name in ("reward", "judge", "judge_joints"):  # what the same samples and no training give
        gain = together["best_of_base"][name]["gain"]
        lines.append(f"* beside the best of several samples of the base, heldout {name}: {shown(gain)} ({gain['ci95_within']:.4f})")
    (args.out / "table.md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    main(sys.argv[1:])
