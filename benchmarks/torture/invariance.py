"""The same run on every number of actors: `python -m benchmarks.torture.invariance --out DIR`. What it computes may not depend on it."""

import os
import signal
import threading
import time
from collections import Counter
from pathlib import Path

import numpy as np

from benchmarks.torture.loop import end, local_ray, planned, pool_of, trained
from benchmarks.torture.outcome import adapter, differences, metrics, rollouts
from benchmarks.torture.table import Table, part
from learner.run.plan import Plan
from tests.tiny import write_run_config

ITERATIONS = 20


class Shaker(threading.Thread):
    """Samplers stand still at random, and so their groups arrive in any order."""

    def __init__(self, pool, seed: int):
        super().__init__(daemon=True)
        self.pids = [sampler.whereabouts.pid for sampler in pool.samplers.all]
        self.draw, self.over, self.stops = np.random.default_rng(seed), threading.Event(), 0

    def run(self) -> None:
        while not self.over.is_set():
            pid = int(self.draw.choice(self.pids))
            os.kill(pid, signal.SIGSTOP)
            time.sleep(self.draw.uniform(0.02, 0.4))
            os.kill(pid, signal.SIGCONT)
            self.stops += 1
            time.sleep(self.draw.uniform(0, 0.05))

    def stop(self) -> None:
        self.over.set()
        self.join()


def trained_groups(folder: Path) -> Counter:
    """How many samples of each (iteration, prompt, seed, staleness) the run trained on."""
    found = Counter()
    for iteration, rows in enumerate(rollouts(folder)):
        found.update((iteration, row["prompt"], row["seed"], iteration - row["adapter_version"]) for row in rows)
    return found


def scheduled_groups(plan: Plan) -> Counter:
    """The same, as the plan has it: everything once, and at a staleness that follows from the iteration alone."""
    found = Counter()
    for iteration in range(ITERATIONS):
        staleness = min(iteration, plan.config.cluster.max_staleness)
        for request in plan.rollout_requests(iteration):
            found[iteration, request.conditioning.prompt.text, ",".join(map(str, request.seed)), staleness] += request.group_size
    return found


def measure(arguments, work: Path) -> Table:
    table = Table(
        arguments.out, "Invariance",
        f"Runs of {ITERATIONS} iterations of 3 groups, compared with that of 1 sampler and 1 reward actor at the same "
        "max_staleness: adapter, optimizer, metrics, rollouts. Trained: samples by (iteration, prompt, seed, staleness), as scheduled.",
        ("max_staleness", "samplers", "reward actors", "arrival", "result", "adapter", "trained", "seconds"),
    )  # fmt: skip
    config = write_run_config(work / "config", rollout={"prompts_per_iteration": 3})
    samplers, rewards = ((1, 3), (1,)) if arguments.quick else ((1, 2, 3, 4), (1, 2))
    plain = [(count, reward, False) for reward in rewards for count in samplers]
    for staleness in (0, 1):
        first = None
        for count, reward, shaken in [*plain, (3, 1, True), *([] if arguments.quick else [(4, 2, True)])]:
            with local_ray(8, work):
                started = time.perf_counter()
                actors = ["--cluster.samplers", count, "--cluster.reward_actors", reward]
                plan = planned(config, "--iterations", ITERATIONS, *actors, "--cluster.max_staleness", staleness)
                pool = pool_of(plan)
                shaker = Shaker(pool, seed=count)
                if shaken:
                    shaker.start()
                folder = trained(plan, pool, work / f"{staleness}-{count}-{reward}-{shaken}")
                if shaken:
                    shaker.stop()
                end(pool)
            first = first or folder
            different = differences(folder, first)
            found, expected = trained_groups(folder), scheduled_groups(plan)
            behind = [row["staleness"] for row in metrics(folder)]
            as_scheduled = found == expected and behind == [min(i, staleness) for i in range(ITERATIONS)]
            arrival = f"shuffled by {shaker.stops} stops" if shaken else "as it comes"
            cells = (staleness, count, reward, arrival, different or "same", adapter(folder))
            trained_of = f"{(found & expected).total()} of {expected.total()}, others {(found - expected).total()}"
            table.add(*cells, trained_of, f"{time.perf_counter() - started:.0f}", held=not different and as_scheduled)
    return table


if __name__ == "__main__":
    part(__doc__, lambda parser: None, measure)
