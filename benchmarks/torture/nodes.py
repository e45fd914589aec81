"""A node of a cluster lost in the middle of a rollout, and another one joining: `python -m benchmarks.torture.nodes --out DIR`."""

import os
import threading
import time
from pathlib import Path

import ray
from ray.cluster_utils import Cluster

from benchmarks.torture import ambush
from benchmarks.torture.loop import planned, pool_of, trained
from benchmarks.torture.outcome import adapter, differences
from benchmarks.torture.table import Table, part
from cluster.calls import get
from cluster.samplers import Step
from rollout.io.errors import RunFailed
from tests.tiny import write_run_config

ITERATIONS, STRUCK, JOINED = 6, 2, 4
HEALTH = {"health_check_initial_delay_ms": 0, "health_check_period_ms": 500, "health_check_timeout_ms": 500,
          "health_check_failure_threshold": 3}  # fmt: skip


def node_of(actor) -> str:
    return get(actor.__ray_call__.remote(lambda actor: ray.get_runtime_context().get_node_id()))


class Site:
    """A cluster of one CPU on the head and two on a second node, and a pool of three samplers on it."""

    def __init__(self, config: Path, work: Path):
        self.work, self.lines = work, []
        self.cluster = Cluster(True, head_node_args={"num_cpus": 1, "num_gpus": 0, "_system_config": HEALTH, "include_dashboard": False})
        self.second = self.cluster.add_node(num_cpus=2, num_gpus=0)
        self.cluster.wait_for_nodes()
        ray.init(address=self.cluster.address, log_to_driver=False, logging_level="error")
        self.plan = planned(config, "--iterations", ITERATIONS, "--cluster.samplers", 3)
        self.pool = pool_of(self.plan, self.lines.append)
        self.beginning = self.pool.state

    def run(self, name: str, watch=lambda keeper, iterations: None) -> Path:
        self.pool.restore(self.beginning)
        return trained(self.plan, self.pool, self.work / name, watch)

    def lose(self, mark: Path) -> None:
        """The second node, as soon as a sampler on it is in the middle of its work."""
        while not mark.exists():
            time.sleep(0.05)
        self.cluster.remove_node(self.second, allow_graceful=False)

    def close(self) -> None:
        ray.shutdown()
        self.cluster.shutdown()


def measure(arguments, work: Path) -> Table:
    table = Table(
        arguments.out, "Nodes",
        f"A run of {ITERATIONS} iterations on a simulated cluster, 3 samplers: a node with two of them is killed in the middle of "
        f"a rollout after {STRUCK} iterations, another one joins after {JOINED}.",
        ("event", "result", "seconds"),
    )  # fmt: skip
    config = write_run_config(work / "config", rollout={"prompts_per_iteration": 3})
    site = Site(config, work)
    try:
        undisturbed = site.run("undisturbed")
        head = ray.get_runtime_context().get_node_id()
        away = [sampler for sampler in site.pool.samplers.all if node_of(sampler.actor) != head]
        mark, recovered, waiting = work / "mark", [], []

        def watch(keeper, iterations: int) -> None:
            if iterations == STRUCK:
                get(away[0].actor.__ray_call__.remote(ambush.hold, str(mark), 60.0))
                threading.Thread(target=site.lose, args=(mark,), daemon=True).start()
            elif iterations == STRUCK + 1:
                recovered.append(time.time() - mark.stat().st_mtime)
            elif iterations == JOINED:
                waiting.append(sum(sampler.step is Step.PENDING for sampler in site.pool.samplers.all))
                site.cluster.add_node(num_cpus=2, num_gpus=0)

        try:
            run = site.run("disturbed", watch)
            different = differences(run, undisturbed) or f"same (adapter {adapter(run)})"
            site.pool.samplers.await_all()
        except RunFailed as error:
            different = f"did not finish: {error}"
        lost = f"{recovered[0]:.1f}" if recovered else "-"
        table.add("a node with 2 of 3 samplers is lost", different, lost, held=different.startswith("same"))
        nodes = {node_of(sampler.actor) for sampler in site.pool.samplers.all if sampler.step is Step.IDLE}
        ready = sum(sampler.step is Step.IDLE for sampler in site.pool.samplers.all)
        what = f"{waiting[0] if waiting else '?'} samplers waited for it, {ready} of 3 are ready"
        table.add("another node joins", what, "-", held=waiting == [2] and ready == 3 and len(nodes) == 2)
    finally:
        site.close()
    return table


if __name__ == "__main__":
    os.environ.pop("RAY_ADDRESS", None)
    part(__doc__, lambda parser: None, measure)
