"""What the language family learns, over seeds: `python -m benchmarks.language --out DIR [--config people] [--seeds 0,1,2] [flags of learner.main]`.

Trains each seed twice: as it is, and blind (`--model.blank true`: every image grey). What rises in both was learnt without seeing,
so accuracy (people) or IoU (points) stands apart from the total. Prints and writes DIR/table.md: held-out total and held-out
measures before and after, of sampled and of greedy answers, and the gains of all seeds together with their 95 % intervals.
"""

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from benchmarks.runs import shown, train

KINDS = {"sees": [], "blind": ["--model.blank", "true"]}
FIXED = ("baseline_iou", "iou_gain", "accuracy_official", "accuracy_intentbench")  # which do not move, or move as another does
TOGETHER = "All seeds together (mean of the seeds; half-width from the seeds' own intervals, sqrt(sum ci^2) / n; in brackets their mean, which \
holds even if every seed moves the same prompts alike):"


def main(argv: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", required=True, type=Path)
    parser.add_argument("--config", default="people")
    parser.add_argument("--seeds", default="0,1,2")
    args, flags = parser.parse_known_args(argv)
    lines = [f"`python -m benchmarks.language {' '.join(argv)}`", ""]
    lines += ["| run | seed | minutes | held-out total | gain | held-out measures, before → after | greedy |", "|---|---|---|---|---|---|---|"]
    gains = {kind: {} for kind in KINDS}
    for kind, more in KINDS.items():
        base = answered(["--config", args.config, *flags, *more], None)
        for seed in args.seeds.split(","):
            own, run_dir = ["--config", args.config, "--seed", seed, *flags, *more], args.out / f"{kind}{seed}"
            summary, _ = train(run_dir, own)
            heldout, total = summary["heldout"], summary["heldout"]["reward"]
            for name, entry in heldout.items():
                if "gain" in entry and name not in FIXED:
                    gains[kind].setdefault(name, []).append(entry["gain"])
            greedy = {name: {"before": base[name], "after": tuned} for name, tuned in answered(own, run_dir).items()}
            lines.append(
                f"| {kind} | {seed} | {summary['wall_seconds'] / 60:.1f} | {total['before']['mean']:.3f} → {total['after']['mean']:.3f} "
                f"| {shown(total['gain'])} | {measures(heldout)} | {measures(greedy)} |"
            )
    lines += ["", TOGETHER, ""]
    for kind, by_name in gains.items():
        for name, entries in by_name.items():
            halves = [entry["ci95"] for entry in entries]
            together = {"mean": np.mean([entry["mean"] for entry in entries]), "ci95": np.sqrt(np.sum(np.square(halves))) / len(halves)}
            lines.append(f"* {kind}, held-out {'total' if name == 'reward' else name}: {shown(together)} ({np.mean(halves):.4f})")
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "table.md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


def measures(entries: Mapping[str, Mapping]) -> str:
    """Those that are told before and after as plain numbers: accuracy, format and the like."""
    plain = {name: each for name, each in entries.items() if isinstance(each, dict) and all(isinstance(each.get(k), float) for k in ("before", "after"))}
    return ", ".join(f"{name} {each['before']:.3f} → {each['after']:.3f}" for name, each in plain.items())


def answered(flags: list[str], run_dir: Path | None) -> dict[str, float | None]:
    """Reward and measures of the likeliest answer to each held-out prompt of a run with those flags: of its base model, or of what it became."""
    import torch

    from learner.config.parse import parse_config
    from learner.run.plan import Plan
    from rollout.language.adapter_folder import adapter_of
    from rollout.language.chat_policy import LanguagePolicy, LanguageSettings
    from rollout.policy import Request

    torch.set_num_threads(1)
    plan = Plan.make(parse_config([*flags, "--rollout.top_k", "1"]))
    settings, adapter = adapter_of(LanguageSettings(plan.config.model, plan.config.rollout, precision=plan.config.cluster.precision), run_dir and run_dir / "adapter")
    policy = LanguagePolicy(settings)
    policy.load_adapter(adapter)
    groups = [policy.sample(Request(conditioning, 1, (0, 0, 0, 0), 0)) for conditioning in plan.heldout]
    results = plan.rewards.examine(groups, *plan.rewards.load(plan.config, "cpu", plan.shared))
    return {"reward": float(np.mean([each.reward for each in results])), **plan.quality(results)}


if __name__ == "__main__":
    main(sys.argv[1:])
