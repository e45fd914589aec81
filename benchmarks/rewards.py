"""Every reward for the same budget: `python -m benchmarks.rewards --out DIR [--rewards a,b] [--seeds 0,1,2] [--iterations 12] [flags]`.

Trains the shipped model on each reward and seed, one after another, and writes DIR/table.md: held-out reward, judge, FID and
physics, before and after. A reward that reads no prompt is trained beside TMR cosine. A run that DIR has already is read, not
repeated, so an interrupted benchmark goes on. Further flags go to every learner.main.
"""

import argparse
import sys
from pathlib import Path

import numpy as np

from benchmarks.runs import train
from rollout.io.errors import InputError

PHYSICS = ("foot_skate", "ground_penetration", "floating", "jerk", "smoothness", "root_drift")
COSINE = {"tmr": {"path": "tmr.cosine"}}
SCALE = {"similarity": "euclidean", "max_distance": 20, "scale": 10}  # of the shipped TMR: what rewards.inspect suggests


def matching(mapping: str) -> dict:
    read = {"linear": "max_distance"}.get(mapping, "scale")
    return {"tmr": {"path": "tmr.matching", "similarity": "euclidean", "mapping": mapping, read: SCALE[read]}}


def beside_cosine(path: str, weight: float) -> dict:
    return COSINE | {path: {"path": path, "weight": weight}}


REWARDS = {
    "default": {},
    "tmr.cosine": COSINE,
    **{f"tmr.matching {mapping}": matching(mapping) for mapping in ("linear", "exponential", "sigmoid")},
    **{f"tmr.cosine {kind}": {"tmr": {"path": "tmr.cosine", "normalise": kind}} for kind in ("std", "rank", "minmax", "percentile")},
    **{path: {"t2m": {"path": path}} for path in ("t2m.matching", "t2m.r_precision", "t2m.combined")},
    **{f"tmr.cosine + {path}": beside_cosine(path, 0.1) for path in (*PHYSICS, "feature_consistency", "diversity")},
}  # fmt: skip


def flags_of(components: dict) -> list[str]:
    return [
        word for name, settings in components.items() for key, value in settings.items()
        for word in (f"--reward.components.{name}.{key}", str(value))
    ]  # fmt: skip


def row(name: str, summaries: list[dict]) -> str:
    """Means over the seeds; the half-width of a gain is from the seeds' own intervals, sqrt(sum ci^2) / n."""

    def gain(metric: str, place: str = "heldout") -> str:
        entries = [summary[place][metric]["gain"] for summary in summaries]
        half = np.sqrt(np.sum([entry["ci95"] ** 2 for entry in entries])) / len(entries)
        return f"{np.mean([entry['mean'] for entry in entries]):+.3f} ± {half:.3f}"

    def change(metric: str, digits: int) -> str:
        values = {when: [summary["heldout"][metric][when] for summary in summaries] for when in ("before", "after")}
        if None in values["before"] + values["after"]:
            return "-"
        return " → ".join(f"{np.mean(found):.{digits}f}" for found in values.values())

    warned = sum(bool(summary["warnings"]) for summary in summaries)
    digits = dict(zip(PHYSICS, (3, 4, 4, 0, 2, 3)))
    cells = [name, judge_of(REWARDS[name]), gain("reward"), gain("reward", "best_of_base"), gain("judge"), change("fid", 1), *(change(part, digits[part]) for part in PHYSICS)]
    return f"| {' | '.join(cells)} | {warned} of {len(summaries)} |"


def judge_of(components: dict) -> str:
    return "TMR" if any(part["path"].startswith("t2m") for part in components.values()) else "T2M"


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", required=True, type=Path)
    parser.add_argument("--rewards", default=",".join(REWARDS), help="some of: %(default)s")
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--iterations", default="12")
    args, flags = parser.parse_known_args(argv)
    names = args.rewards.split(",")
    if unknown := [name for name in names if name not in REWARDS]:
        raise InputError(f"--rewards: found {unknown[0]!r}, expected some of {', '.join(REWARDS)}")
    units = ("foot skate m/s", "penetration m", "floating m", "jerk m/s³", "smoothness m/s²", "root drift m/s")
    head = ["reward", "judge", "held-out reward, gain", "beside best of N of the base", "judge, gain", "FID", *units, "warned"]
    lines = [
        f"`python -m benchmarks.rewards {' '.join(argv)}`", "",
        f"{args.iterations} iterations, seeds {args.seeds}. Held-out prompts; FID is in the judge's own space; the reward is the weighted sum of raw components.", "",
        f"| {' | '.join(head)} |", "|---" * len(head) + "|",
    ]  # fmt: skip
    every = str(max(1, int(args.iterations) // 4))
    for name in names:
        folder = args.out / name.replace(" ", "_")
        words = [*flags_of(REWARDS[name]), "--iterations", args.iterations, "--evaluate.every", every, *flags]
        lines.append(row(name, [train(folder / f"seed{seed}", ["--seed", seed, *words])[0] for seed in args.seeds.split(",")]))
        (args.out / "table.md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except InputError as error:
        sys.exit(f"error: {error}")
