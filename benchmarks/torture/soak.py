"""A long run with a random actor killed again and again: `python -m benchmarks.torture.soak --out DIR [--iterations 1000] [--seed 0]`.

Memory and open files of every process, and the object store, go to DIR/soak.csv and DIR/soak.png.
"""

import csv
import os
import signal
import threading
import time
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import ray
from ray.exceptions import GetTimeoutError

from benchmarks.torture.loop import end, local_ray, planned, pool_of, trained
from benchmarks.torture.table import Table, part
from cluster.calls import LOST, get
from cluster.samplers import Step
from learner.run.folder import RunFolder
from rollout.io.errors import RunFailed
from tests.tiny import write_run_config

BETWEEN_KILLS, BETWEEN_SAMPLES = 20, 10
SERVICES = ("raylet", "gcs_server")
# Growth over the last three quarters of the run that is put down to chance: MB, open files. The driver keeps the metrics of
# every iteration for its pictures, a few kB each.
TOLERANCE = {"MB": 30.0, "files": 8.0, "store MB": 5.0}


def megabytes(pid: int) -> float:
    """Resident memory of a process, without what it shares with others (the object store)."""
    fields = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return sum(int(fields[name].split()[0]) for name in ("RssAnon", "RssFile")) / 1024


class Watch:
    """What is killed and measured while the run goes on."""

    def __init__(self, pool, work: Path, seed: int):
        self.pool, self.work, self.draw = pool, work, np.random.default_rng(seed)
        self.kills: list[tuple[int, str]] = []
        self.next_kill = BETWEEN_KILLS
        self.rows: list[dict] = []
        self.services = {service_of(pid): pid for pid in children(os.getpid()) if service_of(pid)}

    def pids(self) -> dict[str, int]:
        """One living process of each kind; a kind whose actor was killed just now is left out."""
        samplers = [sampler.actor for sampler in self.pool.samplers.all if sampler.step is Step.IDLE]  # not one that still loads
        actors = {"sampler": samplers[0], "reward": self.pool.scorers.actors[0], "learner": self.pool.learner.actor}
        found = {"driver": os.getpid(), **self.services}
        for kind, actor in actors.items():
            try:
                found[kind] = get(actor.whereabouts.remote(), 60).pid
            except (*LOST, GetTimeoutError):
                pass
        return found

    def iteration(self, keeper, iterations: int) -> None:
        if iterations >= self.next_kill:
            kinds = {kind: pid for kind, pid in self.pids().items() if kind in ("sampler", "reward", "learner")}
            kind = str(self.draw.choice(sorted(kinds)))
            self.kills.append((iterations, kind))
            threading.Timer(self.draw.uniform(0, 0.5), os.kill, (kinds[kind], signal.SIGKILL)).start()
            self.next_kill += int(self.draw.integers(BETWEEN_KILLS - 5, BETWEEN_KILLS + 6))
        elif iterations % BETWEEN_SAMPLES == 5:
            row = {"iteration": iterations, "seconds": time.time()}
            for kind, pid in self.pids().items():
                try:
                    row |= {f"{kind} MB": megabytes(pid), f"{kind} files": len(os.listdir(f"/proc/{pid}/fd"))}
                except (OSError, KeyError):  # killed meanwhile; a zombie has no memory
                    continue
            row |= {"processes": len(children(os.getpid())), "store MB": store_megabytes()}
            self.rows.append(row)


def children(pid: int) -> list[int]:
    """All processes below `pid`."""
    parents = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[int(path.parent.name)] = int(path.read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
    found, level = [], [pid]
    while level := [child for child, parent in parents.items() if parent in level]:
        found += level
    return found


def service_of(pid: int) -> str:
    try:
        name = Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""
    return name if name in SERVICES else ""


def store_megabytes() -> float:
    """In use of the object store, as its raylet tells."""
    from ray._private.internal_api import node_stats  # the public ways need the dashboard

    (node,) = ray.nodes()
    stats = node_stats(node["NodeManagerAddress"], node["NodeManagerPort"], include_memory_info=False)
    return stats.store_stats.object_store_bytes_used / 2**20


def growth(rows: list[dict], name: str) -> float:
    """By a straight line through the last three quarters, from their first to their last iteration."""
    points = np.array([(row["iteration"], row[name]) for row in rows[len(rows) // 4 :] if name in row], float)
    slope, _ = np.polyfit(points[:, 0], points[:, 1], 1)
    return slope * (points[-1, 0] - points[0, 0])


def draw(path: Path, rows: list[dict], kills: list[tuple[int, str]]) -> None:
    kinds = ("driver", "learner", "sampler", "reward", *SERVICES)
    figure, axes = plt.subplots(4, 1, figsize=(10, 11), sharex=True, constrained_layout=True)
    panels = {
        "resident memory (MB)": [f"{kind} MB" for kind in kinds], "open files": [f"{kind} files" for kind in kinds],
        "object store (MB)": ["store MB"], "processes": ["processes"],
    }  # fmt: skip
    for axis, (title, names) in zip(axes, panels.items()):
        for name in names:
            points = [(row["iteration"], row[name]) for row in rows if name in row]
            axis.plot(*zip(*points), label=name.rsplit(" ", 1)[0], linewidth=1)
        axis.set(ylabel=title, ylim=(0, None))
        for iteration, _ in kills:
            axis.axvline(iteration, color="0.85", linewidth=0.7, zorder=0)
        if len(names) > 1:
            axis.legend(fontsize=8, ncols=3)
    axes[0].set_title(f"{len(kills)} actors killed (grey lines)")
    axes[-1].set_xlabel("iteration")
    figure.savefig(path, dpi=100)


def measure(arguments, work: Path) -> Table:
    iterations = 100 if arguments.quick else arguments.iterations
    table = Table(
        arguments.out, "Soak",
        f"{iterations} iterations with 2 samplers, one rollout ahead; every {BETWEEN_KILLS} or so one of sampler, reward actor and "
        "learner is killed at random. Growth: by a straight line through the last three quarters, and how much of it is put down to "
        "chance; one process of each kind, an actor's successor in its place. [soak.png](soak.png)",
        ("what", "mean", "growth", "allowed"),
    )  # fmt: skip
    config = write_run_config(work / "config", checkpoint={"every": 5})
    with local_ray(8, work):
        plan = planned(config, "--iterations", iterations, "--cluster.samplers", 2, "--cluster.max_staleness", 1)
        pool = pool_of(plan)
        watch, started, ended = Watch(pool, work, arguments.seed), time.perf_counter(), "finished"
        try:
            trained(plan, pool, work / "run", watch.iteration)
        except RunFailed as error:
            ended = f"failed: {error}"
        end(pool)
    rows = watch.rows
    with (arguments.out / "soak.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(dict.fromkeys(name for row in rows for name in row)), restval="")
        writer.writeheader()
        writer.writerows({name: round(value, 2) for name, value in row.items()} for row in rows)
    draw(arguments.out / "soak.png", rows, watch.kills)
    done = len((RunFolder(work / "run").metrics).read_text().splitlines())
    kinds = {kind: sum(each == kind for _, each in watch.kills) for kind in ("sampler", "reward", "learner")}
    spent = f"{(time.perf_counter() - started) / 60:.0f} min"
    whole = ended == "finished" and done == iterations
    table.add(f"the run: {ended}, {spent}", f"{done} iterations", f"{len(watch.kills)} kills: {kinds}", "-", held=whole)
    for name in sorted({name for row in rows for name in row} - {"iteration", "seconds"}):
        allowed = TOLERANCE.get(name, TOLERANCE["MB" if name.endswith("MB") else "files"])
        grown, mean = growth(rows, name), np.mean([row[name] for row in rows if name in row])
        table.add(name, f"{mean:.1f}", f"{grown:+.1f}", f"{allowed:g}", held=grown <= allowed)
    return table


def options(parser) -> None:
    parser.add_argument("--iterations", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)


if __name__ == "__main__":
    part(__doc__, options, measure)
