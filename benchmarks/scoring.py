"""How fast motions are scored: `python -m benchmarks.scoring --out DIR [--groups 48] [--rounds 5] [flags of learner.main]`.

Samples some groups once, then scores them in turns, round by round: in one process with the text embeddings kept and with
every caption embedded again for each group, and by one and by two reward actors. Writes medians to DIR/table.md.
"""

import argparse
import os
import platform
import sys
import time
from pathlib import Path
from statistics import median

import torch

from cluster.connect import connected
from cluster.scorers import Scorers
from cluster.training_pool import TrainingPool
from learner.config.parse import parse_config
from learner.run.plan import Plan
from rewards.motion.loading import load_reward_and_judge
from rewards.motion.motions import as_motions

DIFFERENT = 12  # groups that are sampled; more are these again


def main(argv: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", required=True, type=Path)
    parser.add_argument("--groups", type=int, default=48)
    parser.add_argument("--rounds", type=int, default=5)
    args, flags = parser.parse_known_args(argv)
    config = parse_config([*flags, "--cluster.reward_actors", "2", "--cluster.samplers", "1"])
    torch.set_num_threads(config.cluster.sampler_cpus)
    plan = Plan.make(config)
    build = plan.family.build(config)
    policy = build("cpu")
    sampled = [policy.sample(request) for request in plan.rollout_requests(0)[:DIFFERENT]]
    groups = [sampled[i % len(sampled)] for i in range(args.groups)]
    judge, _ = config.reward.chosen_judge()
    scorer, _ = load_reward_and_judge(config.reward.parsed(), judge, config.reward)

    def embedded_once() -> None:
        for group in groups:
            scorer(as_motions(group))

    def embedded_again() -> None:
        for group in groups:
            for evaluator in scorer.evaluators.values():
                evaluator.texts.known.clear()
            scorer(as_motions(group))

    with connected():
        pool = TrainingPool(config, build, plan.rewards, plan.shared)

        def by_actors(count: int) -> None:
            scoring = Scorers(pool.scorers.actors[:count], pool.scorers.another, 1, config.cluster.reward_deadline, print).begin("score", len(groups))
            for i, group in enumerate(groups):
                scoring.add(i, group.group())
            scoring.results()

        ways = {
            "one process, each caption embedded once": embedded_once, "one process, embedded again for each group": embedded_again,
            "1 reward actor": lambda: by_actors(1), "2 reward actors": lambda: by_actors(2),
        }  # fmt: skip
        seconds = {name: [] for name in ways}
        for round_ in range(args.rounds + 1):  # the first one warms up
            for name, way in ways.items():
                started = time.perf_counter()
                way()
                if round_:
                    seconds[name].append(time.perf_counter() - started)
    motions = sum(len(group) for group in groups)
    lines = [
        f"`python -m benchmarks.scoring {' '.join(argv)}` ({time.strftime('%Y-%m-%d')}, {os.cpu_count()} cores of {platform.machine()})", "",
        f"{len(groups)} groups of {len(groups[0])} motions, {config.model.frames} frames; components {', '.join(config.reward.parsed())}; medians of {args.rounds} rounds.", "",
        "| way | seconds | motions a second |", "|---|---|---|",
        *(f"| {name} | {median(found):.2f} ({min(found):.2f} to {max(found):.2f}) | {motions / median(found):.0f} |" for name, found in seconds.items()),
    ]  # fmt: skip
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "table.md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    main(sys.argv[1:])
