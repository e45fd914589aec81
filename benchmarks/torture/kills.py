"""Actors killed and stopped in every phase: `python -m benchmarks.torture.kills --out DIR`. Every run must end as an undisturbed one."""

import os
import signal
import threading
import time
from pathlib import Path

from benchmarks.torture import ambush
from benchmarks.torture.loop import end, local_ray, planned, pool_of, trained
from benchmarks.torture.outcome import differences
from benchmarks.torture.table import Table, part
from cluster.calls import get
from rollout.io.errors import RunFailed
from tests.processes import still_there
from tests.tiny import write_run_config

ITERATIONS, STRUCK = 6, 2  # iterations of a run; how many are done when the ambush is laid
SIGNALS = (signal.SIGKILL, signal.SIGSTOP)
CASES = [
    *(("sampler", phase) for phase in ("loading its model", "loading the adapter", "sampling", "returning", "gradient", "returning a gradient")),
    ("reward", "scoring"), *(("learner", phase) for phase in ("witness", "optimizer step", "publishing", "saving")),
]  # fmt: skip
QUICK = [("sampler", "sampling"), ("sampler", "gradient"), ("learner", "witness"), ("learner", "optimizer step"), ("learner", "publishing")]
WORDS = "no space left for a model"


class Scene:
    """One pool that run after run is trained from the same beginning, and what happens to its actors meanwhile."""

    def __init__(self, config: Path, work: Path, staleness: int):
        self.work, self.lines = work, []
        self.plan = planned(config, "--iterations", ITERATIONS, "--cluster.samplers", 2, "--cluster.max_staleness", staleness)
        self.pool = pool_of(self.plan, self.told)
        self.beginning = self.pool.state
        self.next_sampler = None  # what is laid into the next actor that takes a sampler's place
        self.mark: Path | None = None  # of the case that goes on
        start = self.pool.samplers._start
        (work / "asked").mkdir(parents=True)

        def started():
            actor = start()
            actor.__ray_call__.remote(ambush.record, str(work / "asked"))
            if self.next_sampler:
                actor.__ray_call__.remote(*self.next_sampler)
            return actor

        self.pool.samplers._start = started

    def told(self, line: str) -> None:
        """A loss. Once it is that of the actor that hung, deadlines are long again: a busy machine is slow to start another one."""
        self.lines.append(line)
        cluster = self.plan.config.cluster
        self.pool.learner.deadline_s = cluster.learner_deadline
        if self.mark and self.mark.exists() and f"process {self.mark.read_text()} " in line or "reward" in line:
            self.pool.samplers.deadline_s, self.pool.scorers.deadline_s = cluster.sampler_deadline, cluster.reward_deadline

    def hurry(self, mark: Path) -> None:
        """Deadlines are short from the moment that an actor hangs."""
        while not mark.exists():
            if mark != self.mark:  # its run is over
                return
            time.sleep(0.05)
        self.pool.samplers.deadline_s = self.pool.scorers.deadline_s = 2.0

    def run(self, name: str, watch=lambda keeper, iterations: None) -> Path:
        self.pool.restore(self.beginning)
        self.pool.samplers.await_all()
        return trained(self.plan, self.pool, self.work / name, watch)

    def disturb(self, kind: str, phase: str, number: int, mark: Path, keeper) -> None:
        """Has an actor of `kind` signalled when it next comes to `phase`; that it did, `mark` tells."""
        pool = self.pool
        if number == signal.SIGSTOP:
            threading.Thread(target=self.hurry, args=(mark,), daemon=True).start()
            if kind == "learner":
                pool.learner.deadline_s = 10.0  # it reads its deadline when it asks
        if phase == "loading its model":
            self.next_sampler = (ambush.lay, phase, str(mark), number)
            for sampler in pool.samplers.all:  # of both, so that the run has to wait for one that takes their place
                os.kill(sampler.whereabouts.pid, signal.SIGKILL)
        elif phase in ("publishing", "saving"):
            holder, method = (pool, "publish") if phase == "publishing" else (keeper.checkpoints, "save")
            real = getattr(holder, method)

            def struck(*arguments, **named):
                if not mark.exists():
                    victim = get(pool.learner.actor.whereabouts.remote()).pid
                    mark.write_text(str(victim))
                    os.kill(victim, number)
                return real(*arguments, **named)

            setattr(holder, method, struck)
        else:
            victim = {"sampler": pool.samplers.all[0].actor, "reward": pool.scorers.actors[0], "learner": pool.learner.actor}[kind]
            get(victim.__ray_call__.remote(ambush.lay, phase, str(mark), number))

    def case(self, kind: str, phase: str, number: int, undisturbed: Path, table: Table) -> None:
        name = f"{kind} {phase} {number}".replace(" ", "_")
        mark, recovered = self.work / f"{name}.mark", []
        self.mark = mark

        def watch(keeper, iterations: int) -> None:
            if iterations == STRUCK:
                self.lines.clear()
                self.disturb(kind, phase, number, mark, keeper)
            elif mark.exists() and self.lines and not recovered:
                recovered.append(time.time() - mark.stat().st_mtime)

        try:
            different = differences(self.run(name, watch), undisturbed)
        except RunFailed as error:
            different = f"did not finish: {error}"
        finally:
            self.pool.__dict__.pop("publish", None)  # what `disturb` put over the method
            self.next_sampler = self.mark = None
        hit = mark.exists()
        left = hit and still_there(int(mark.read_text()))
        cells = (kind, phase, signal.Signals(number).name, self.plan.config.cluster.max_staleness)
        lost = f"{recovered[0]:.1f}" if recovered else "-"
        what = different or ("the phase was not reached" if not hit else "its process stays" if left else "same")
        table.add(*cells, what, lost, held=hit and not left and not different)

    def crash_loop(self, table: Table) -> None:
        """Last: the pool is of no use afterwards."""

        def watch(keeper, iterations: int) -> None:
            if iterations == STRUCK:
                self.next_sampler = (ambush.lay_for_ever, WORDS)
                for sampler in self.pool.samplers.all:
                    os.kill(sampler.whereabouts.pid, signal.SIGKILL)

        message = ""
        try:
            self.run("crash_loop", watch)
        except RunFailed as error:
            message = str(error)
        held = "samplers keep dying" in message and WORDS in message and "\n" not in message
        cells = ("every sampler", "loading its model", "exit 1", self.plan.config.cluster.max_staleness)
        table.add(*cells, f"stops: {message[:300]}" if held else f"said {message!r}", "-", held=held)

    def order(self, table: Table) -> None:
        """No sampler that took another's place sampled before it had acknowledged, or under anything but what it then held."""
        files, wrong = list((self.work / "asked").iterdir()), 0
        for file in files:
            acknowledged = None
            for word, digest in (line.split() for line in file.read_text().splitlines()):
                acknowledged = digest if word == "holds" else acknowledged
                wrong += acknowledged != digest
        staleness = self.plan.config.cluster.max_staleness
        what = f"{len(files)} of them: acknowledged before their first work"
        table.add("recovered samplers", "all", "-", staleness, what, "-", held=bool(files) and not wrong)


def measure(arguments, work: Path) -> Table:
    table = Table(
        arguments.out, "Kills",
        f"Runs of {ITERATIONS} iterations with 2 samplers; the signal comes from inside the phase, after {STRUCK}. "
        "Seconds: from the signal to the end of the iteration that noticed it, with the short deadlines used here (2 s; learner 10).",
        ("actor", "phase", "signal", "max_staleness", "result", "seconds"),
    )  # fmt: skip
    config = write_run_config(work / "config")
    for staleness in (1,) if arguments.quick else (0, 1):
        with local_ray(8, work):
            scene = Scene(config, work / f"staleness{staleness}", staleness)
            undisturbed = scene.run("undisturbed")
            for kind, phase in QUICK if arguments.quick else CASES:
                for number in SIGNALS:
                    scene.case(kind, phase, number, undisturbed, table)
            scene.order(table)
            scene.crash_loop(table)
            end(scene.pool)
    return table


if __name__ == "__main__":
    part(__doc__, lambda parser: None, measure)
