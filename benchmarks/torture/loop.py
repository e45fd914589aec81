"""The training loop in this process, on tiny models and a Ray of its own, with a hook after every iteration."""

import contextlib
import os
from collections.abc import Callable
from pathlib import Path

import ray
from rich.console import Console

from cluster.training_pool import TrainingPool
from learner.config.parse import parse_config
from learner.main import Run, supervise
from learner.report.write import write_report
from learner.run.folder import RunFolder
from learner.run.keeper import Keeper
from learner.run.plan import Plan
from learner.run.progress import Progress
from learner.run.report import Report
from learner.run.tracking import Tracker

LOCAL = {"num_gpus": 0, "include_dashboard": False, "log_to_driver": False, "logging_level": "error"}


@contextlib.contextmanager
def local_ray(cpus: int, folder: Path):
    """A private Ray that believes it has so many CPUs."""
    ray.init(address="local", num_cpus=cpus, _temp_dir=str(folder / "ray"), **LOCAL)
    try:
        yield
    finally:
        ray.shutdown()


def planned(config: Path, *flags) -> Plan:
    parsed = parse_config(["--config", str(config), *map(str, flags)])
    return Plan.make(parsed)


def pool_of(plan: Plan, tell: Callable[[str], None] = lambda line: None) -> TrainingPool:
    return TrainingPool(plan.config, plan.family.build(plan.config), plan.rewards, plan.shared, tell)


def end(pool: TrainingPool) -> None:
    """Its CPUs are free for the next pool."""
    for actor in [*(sampler.actor for sampler in pool.samplers.all), *pool.scorers.actors, pool.learner.actor]:
        ray.kill(actor)


class Watched(Keeper):
    """A keeper that tells, after every iteration, how many are done."""

    watch: Callable[[int], None] = staticmethod(lambda iterations: None)

    def finished(self, iterations, learner, report) -> None:
        super().finished(iterations, learner, report)
        self.watch(iterations)


def trained(plan: Plan, pool: TrainingPool, path: Path, watch: Callable[[Watched, int], None] = lambda keeper, iterations: None) -> Path:
    """One run of `learner.main` in the folder `path`, which is returned; its MLflow store lies beside it. A pool that trained
    before goes on from wherever its learner is. Raises what the run does, and KeyboardInterrupt when it was asked to stop."""
    folder = RunFolder.create(path, plan.config.seed)
    keeper = Watched(plan, folder)
    keeper.watch = lambda iterations: watch(keeper, iterations)
    with open(os.devnull, "w") as nowhere, Progress(plan.config.iterations, Console(file=nowhere)) as progress:
        progress.log_to(folder.log)
        report = Report(plan, folder, progress, Tracker.start(plan.config, folder.path), write_report)
        if supervise([Run(plan, pool, report, keeper)]) == "saved":
            raise KeyboardInterrupt
    return path
