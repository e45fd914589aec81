"""What the device at hand gives: `python -m benchmarks.gpu --out DIR [--quick] [--compile]`.

In this process and as a run computes by default: samples a second of the sampler and of whole iterations, by group size and precision,
beside the plain fp32 loop of two passes at its best size; the share of what one large matrix product reaches on the same device; and
how far recomputed log-probs are from the sampled ones and from fp32's, by denoising step. The model that ships, and one of the official
size with random weights. --compile: the sampler with a compiled network too, on a GPU also in CUDA graphs. --quick: a smoke test of two
minutes on a CPU. Writes DIR/table.md, DIR/gpu.json and DIR/gpu.png.
"""

import argparse
import dataclasses
import json
import os
import platform
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.speed.models import Size, demo, official
from benchmarks.speed.plain_loop import PlainLoop
from benchmarks.speed.side_by_side import medians
from cluster.device import AS_TOLD, EXACT, allow_tf32, compute_exactly
from learner.config.settings import Objective, Optimizer
from learner.gradient import Lesson, gradient
from learner.learner import Learner
from learner.objective import shares
from learner.tally import ScoredGroup
from rollout.adapter import Adapter
from rollout.motion.diffusion_policy import MotionDiffusionPolicy
from rollout.policy import Trajectories

GROUPS = {"cpu": (4, 16), "cuda": (4, 16, 64, 256)}
PRECISIONS = {"cpu": ("fp32", "bf16"), "cuda": ("fp32", "tf32", "bf16")}
SQUARE = {"cpu": 1024, "cuda": 8192}  # rows of the matrix product that stands for the device's peak


def peak(device: str, precision: str, rounds: int) -> float:
    """FLOPs a second of one large product."""
    a, b = torch.randn(2, SQUARE[device], SQUARE[device], device=device, dtype=torch.bfloat16 if precision == "bf16" else torch.float32)
    return 2 * SQUARE[device] ** 3 / timed(device, {"product": lambda: a @ b}, rounds + 4)["product"]


def timed(device: str, ways: dict[str, Callable], rounds: int) -> dict[str, float]:
    """Seconds of each until the device has done it; of a CPU, which may be shared, its own."""
    if device == "cpu":
        return medians(ways, rounds, time.process_time)
    return medians({name: lambda way=way: (way(), torch.cuda.synchronize()) for name, way in ways.items()}, rounds)


def flops(work: Callable) -> int:
    with FlopCounterMode(display=False) as counter:
        work()
    return counter.get_total_flops()


def taught(policy: MotionDiffusionPolicy, group: Trajectories) -> None:
    """Its gradient, as in the first step on it."""
    objective, advantage = Objective(), torch.linspace(-1, 1, len(group)).numpy()
    (share,) = shares([group.counted], objective)
    gradient(policy, group, Lesson(advantage, objective, share, 1, frozenset([0]), 0, True, policy.loaded[1]))


def speeds(size: Size, device: str, precision: str, rounds: int, reached: float) -> dict[str, float]:
    """Samples a second of the sampler and of an iteration (sampled, its gradient, one optimizer step), and each one's share of the peak."""
    policy, (request,) = size.policy(device, precision=precision), size.requests(1)
    learner = Learner(policy, Objective(), Optimizer())
    rewards = np.linspace(0, 1, size.group, dtype=np.float32)
    group = policy.sample(request)
    work = {"sampler": flops(lambda: policy.sample(request)), "gradient": flops(lambda: taught(policy, group))}
    ways = {"sampler": lambda: policy.sample(request), "gradient": lambda: taught(policy, group)}
    seconds = timed(device, ways, rounds)  # before a step: then the group is of older weights
    seconds |= timed(device, {"iteration": lambda: learner.update([ScoredGroup(policy.sample(request), rewards)])}, rounds)
    return {
        "sampler": size.group / seconds["sampler"], "iteration": size.group / seconds["iteration"],
        **{f"{name} / peak": work[name] / seconds[name] / reached for name in work},
    }  # fmt: skip


def compiled(size: Size, device: str, precision: str, rounds: int) -> dict[str, float]:
    """Samples a second of the sampler with a compiled network."""
    found, (request,) = {}, size.requests(1)
    for name, mode in {"compiled": "default", **({"CUDA graphs": "reduce-overhead"} if device == "cuda" else {})}.items():
        policy = size.policy(device, precision=precision)
        policy.network = torch.compile(policy.network, mode=mode)
        found[name] = size.group / timed(device, {"sampler": lambda: policy.sample(request)}, rounds)["sampler"]
    return found


def plain(size: Size, device: str, rounds: int) -> dict[str, float]:
    """Samples a second of the loop that this project replaces."""
    loop, requests = PlainLoop(size, device), size.requests(1)
    seconds = timed(device, {"sampler": lambda: loop.sample(requests[0]), "iteration": lambda: loop.iteration(requests)}, rounds)
    return {name: size.group / value for name, value in seconds.items()}


@torch.no_grad()
def gaps(size: Size, device: str, precision: str) -> list[dict[str, float]]:
    """By trained step, that of least noise first: the largest difference of a sampled log-prob to the recomputed one, and to that of fp32."""
    (request,), found = size.requests(1), []
    exact, policy = size.policy(device), size.policy(device, precision=precision)
    for each in (exact, policy):
        each.load_adapter(Adapter.pack(0, {name: value + 0.01 for name, value in each.adapter_state().items()}))
    allow_tf32(precision)
    group = policy.sample(request)
    again = [score.log_prob.cpu().numpy() for score in policy.score(group.without(policy.shortcuts))]
    allow_tf32("fp32")
    for step, score in enumerate(exact.score(group.without(exact.shortcuts))):
        old, t = group.log_probs[:, step], int(group.actions["t"][:, step].min())
        others = {"own": again[step], "fp32": score.log_prob.cpu().numpy()}
        found.append({"t": t} | {name: float(np.abs(values - old).max()) for name, values in others.items()})
    return found


def measured(size: Size, device: str, groups: tuple[int, ...], rounds: int, peaks: dict[str, float], compiling: bool) -> dict:
    """All of one model, by precision and group size. A size that does not fit the device's memory is left out."""
    found: dict = {"plain": {}, "curve": {precision: {} for precision in peaks}, "gaps": {}}
    for count in groups:
        own = dataclasses.replace(size, group=count)
        try:
            found["plain"][count] = plain(own, device, rounds)
            for precision, reached in peaks.items():
                allow_tf32(precision)
                found["curve"][precision][count] = speeds(own, device, precision, rounds, reached)
                if compiling and count == groups[-1]:
                    found["curve"][precision][count] |= compiled(own, device, precision, rounds)
                allow_tf32("fp32")
        except torch.OutOfMemoryError:
            break
    few = dataclasses.replace(size, group=groups[0])
    return found | {"gaps": {precision: gaps(few, device, precision) for precision in peaks}}


def rows(name: str, found: dict) -> list[str]:
    """Each precision at its best group size, beside the plain loop at its own."""
    best = {what: max(each[what] for each in found["plain"].values()) for what in ("sampler", "iteration")}
    lines = [f"| {name} | plain, fp32 | | {best['sampler']:.3g} | | {best['iteration']:.3g} | | | | | |"]
    for precision, curve in found["curve"].items():
        count, at = max(curve.items(), key=lambda item: item[1]["iteration"])
        own, distance = (max(step[which] for step in found["gaps"][precision]) for which in ("own", "fp32"))
        more = "".join(f"; {mode} {at[mode]:.3g}" for mode in ("compiled", "CUDA graphs") if mode in at)
        lines.append(
            f"| {name} | {precision} | {count} | {at['sampler']:.3g}{more} | {at['sampler'] / best['sampler']:.2f} "
            f"| {at['iteration']:.3g} | {at['iteration'] / best['iteration']:.2f} "
            f"| {at['sampler / peak']:.0%} | {at['gradient / peak']:.0%} | {own:.1g} | {distance:.1g} |"
        )
    return lines


def picture(path: Path, found: dict[str, dict]) -> None:
    figure = Figure(figsize=(5 * len(found), 4), layout="constrained")
    for axes, (name, each) in zip(figure.subplots(1, len(found), squeeze=False)[0], found.items()):
        for label, curve in {"plain, fp32": each["plain"], **each["curve"]}.items():
            axes.plot(list(curve), [at["iteration"] for at in curve.values()], marker=".", label=label)
        axes.set(title=name, xlabel="samples in a group", ylabel="samples a second, update included", xscale="log", yscale="log")
        axes.set_xticks(list(each["plain"]), labels=list(each["plain"]))
        axes.set_xticks([], minor=True)
        axes.legend(fontsize=8, frameon=False)
    figure.savefig(path, dpi=130)


def main(argv: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", required=True, type=Path)
    parser.add_argument("--quick", action="store_true", help="groups of 2 and 4, the official size at 20 frames, one round")
    parser.add_argument("--compile", action="store_true", help="compile the network too; minutes")
    args = parser.parse_args(argv)
    os.environ.update(AS_TOLD | EXACT)  # before CUDA starts
    device = "cuda" if torch.cuda.is_available() else "cpu"
    compute_exactly(gpu=device == "cuda")
    allow_tf32("fp32")
    torch.set_num_threads(1 if device == "cpu" else os.cpu_count())
    rounds, sizes = (1 if args.quick else 5), {"demo": demo(), "official": official()}
    if args.quick:
        sizes["official"] = dataclasses.replace(sizes["official"], model=sizes["official"].model.replace(frames=20))
    peaks = {}
    for precision in PRECISIONS[device]:
        allow_tf32(precision)
        peaks[precision] = peak(device, precision, rounds)
    allow_tf32("fp32")
    groups = (2, 4) if args.quick else GROUPS[device]
    found = {name: measured(size, device, groups, rounds, peaks, args.compile) for name, size in sizes.items()}
    named = torch.cuda.get_device_name() if device == "cuda" else f"a CPU, one thread of {platform.machine()}: says nothing of a GPU"
    lines = [
        f"The device is {named}. `python -m benchmarks.gpu {' '.join(argv)}` ({time.strftime('%Y-%m-%d')}, torch {torch.__version__})", "",
        f"TFLOP/s of a {SQUARE[device]} x {SQUARE[device]} product, the peak: {', '.join(f'{name} {value / 1e12:.3g}' for name, value in peaks.items())}.",
        "Samples a second, in groups of the size that is best; gap: the largest of recomputed log-probs, nats a dimension.", "",
        "| model | precision | group | sampler | / plain | iteration | / plain | sampler / peak | gradient / peak | gap to sampled | to fp32 |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
        *(row for name, each in found.items() for row in rows(name, each)),
    ]  # fmt: skip
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "table.md").write_text("\n".join(lines) + "\n")
    (args.out / "gpu.json").write_text(json.dumps({"device": named, "peaks": peaks, **found}, indent=1) + "\n")
    picture(args.out / "gpu.png", found)
    print("\n".join(lines))


if __name__ == "__main__":
    main(sys.argv[1:])
