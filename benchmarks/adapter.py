"""What the folded adapter costs beside PEFT's: `python -m benchmarks.adapter --out DIR [--repeats 7]`.

The shipped model on one thread: groups of 16 motions sampled, and 5 trained steps of each recomputed with gradient, in turns with
the folded adapter, with PEFT's unmerged one of the same rank and targets, and with the base model alone, whose recompute is
forward only. CPU seconds, medians, and their ratios. Writes DIR/table.md.
"""

import argparse
import statistics
import sys
import time
from pathlib import Path

import torch
from peft import LoraConfig, get_peft_model

from rollout.motion.diffusion_policy import MotionDiffusionPolicy, MotionPolicySettings
from rollout.motion.family import MOTION
from rollout.motion.prepare import MotionPreparer
from rollout.motion.settings import Lora, Model
from rollout.policy import Request


def policies() -> dict[str, MotionDiffusionPolicy]:
    lora = Lora()
    folded = MotionDiffusionPolicy(MotionPolicySettings(lora_rank=lora.r, lora_alpha=lora.alpha, lora_targets=lora.targets))
    peft, base = (MotionDiffusionPolicy(MotionPolicySettings()) for _ in range(2))
    peft.network = get_peft_model(peft.network, LoraConfig(r=lora.r, lora_alpha=lora.alpha, target_modules=list(lora.targets))).eval()
    base.network.requires_grad_(False)
    return {"base": base, "folded": folded, "PEFT": peft}


def main(argv: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", required=True, type=Path)
    parser.add_argument("--repeats", type=int, default=7)
    args = parser.parse_args(argv)
    torch.set_num_threads(1)
    preparer = MotionPreparer(Model())
    (conditioning,) = preparer.prepare(preparer.read(MOTION.shipped("heldout"))[:1])
    measured, seconds = policies(), {}
    for repeat in range(args.repeats + 1):  # the first one warms up
        for name, policy in measured.items():
            started = time.process_time()
            group = policy.sample(Request(conditioning, 16, (0, repeat), 5))
            sampled = time.process_time()
            for score in policy.score(group):
                if score.log_prob.requires_grad:
                    score.log_prob.sum().backward()
            if repeat:
                seconds.setdefault(name, []).append((sampled - started, time.process_time() - sampled))
    medians = {name: [statistics.median(column) for column in zip(*rows)] for name, rows in seconds.items()}
    lines = [f"`python -m benchmarks.adapter {' '.join(argv)}`", "", "| adapter | sampling, CPU s | / PEFT | recompute, CPU s | / PEFT |", "|---|---|---|---|---|"]
    for name, (sampling, recompute) in medians.items():
        share = f"{sampling / medians['PEFT'][0]:.2f} | {recompute:.3f} | {recompute / medians['PEFT'][1]:.2f}"
        lines.append(f"| {name} | {sampling:.3f} | {share} |")
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "table.md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    main(sys.argv[1:])
