"""Runs killed at random moments and resumed: `python -m benchmarks.torture.resumes --out DIR [--kills 50] [--each 5] [--seed 0]`.

Every kill is SIGKILL to the whole driver, at a moment drawn uniformly from what is left of the run; every fifth one goes into
a save of a checkpoint, every seventh is SIGTERM, after which the run must say that it can be resumed (exit code 75).
"""

import itertools
import json
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
from mlflow import MlflowClient

from benchmarks.torture.outcome import differences, metrics
from benchmarks.torture.process import finish, left, start
from benchmarks.torture.table import Table, part
from learner.run.checkpoint import Checkpoints
from tests.tiny import write_run_config

ITERATIONS = 10
RESUMABLE = 75
STARTING_S = 10.0  # about what Ray and the actors take


def flags(config: Path, run: Path, every: int) -> list:
    return [
        "--config", config, "--run_dir", run, "--iterations", ITERATIONS, "--cluster.max_staleness", 1, "--evaluate.every", 3,
        "--optimizer.ema_decay", 0.5, "--group_size", 24, "--clip_epsilon", 1e-3, "--checkpoint.every", every,
        "--reward.components.tmr.path", "tmr.cosine", "--reward.components.tmr.normalise", "percentile",
    ]  # fmt: skip


def options(parser) -> None:
    parser.add_argument("--kills", type=int, default=50, help="at least so many, over all runs")
    parser.add_argument("--each", type=int, default=5, help="of one run; it may finish before the last")
    parser.add_argument("--seed", type=int, default=0)


class Killer:
    """Kills processes of one run after another; what it did is counted over all of them."""

    def __init__(self, seed: int, seconds: float):
        """seconds: of one undisturbed iteration."""
        self.draw, self.seconds, self.kills = np.random.default_rng(seed), seconds, itertools.count(1)

    def run(self, begin: list, folder: Path, work: Path, kills: int) -> tuple[list[str], str]:
        """Has the run killed so often and then finish. Returns what was done to it, and what went wrong."""
        done, words, checkpoints = [], begin, folder / "checkpoints"
        for left_to_do in range(kills, 0, -1):
            number = next(self.kills)
            before = Checkpoints(checkpoints, 1).saved() if done else []
            saving, stop = number % 5 == 0, signal.SIGTERM if number % 7 == 0 else signal.SIGKILL
            process = start(work, *words, module="benchmarks.torture.slow_disk" if saving else "learner.main")
            moment = (self._await_save if saving else self._await_moment)(process, checkpoints, before, left_to_do)
            process.send_signal(stop)
            code, errors = finish(process)
            if errors or code not in (0, -signal.SIGKILL, RESUMABLE):
                return done, f"{stop.name} at {moment}: exit {code}: {errors[-300:]}"
            if code == 0:
                return done, ""
            words = ["--resume", folder]
            done.append(f"{stop.name.removeprefix('SIG')} {moment} → {Checkpoints(checkpoints, 1).saved()[-1]}")
            if finished(folder):
                return done, ""
        code, errors = finish(start(work, *words))
        return done, f"exit {code}: {errors[-300:]}" if code or errors else ""

    def _await_moment(self, process: subprocess.Popen, checkpoints: Path, before: list[int], kills: int) -> str:
        """Until the moment to kill has come, of a process that began after `before` was saved. Says which it was."""
        share = self.draw.uniform(0, (ITERATIONS - max(before, default=0)) / kills)  # iterations
        if not before:
            while process.poll() is None and not (checkpoints / "000000.safetensors").exists():
                time.sleep(0.02)
        early = before and self.draw.uniform() < 0.25  # while Ray and the actors start
        for line in process.stdout if before else ():
            if line.startswith("going on" if early else "iteration"):
                break
        seconds = self.draw.uniform(0, STARTING_S) if early else share * self.seconds
        time.sleep(seconds)
        return f"{'start' if early else 'iteration' if before else 'beginning'}+{seconds:.1f}s"

    def _await_save(self, process: subprocess.Popen, checkpoints: Path, before: list[int], kills: int) -> str:
        """Until a checkpoint, one of the next few, is being written."""
        first = max(before, default=0) + 1 + int(self.draw.uniform(0, (ITERATIONS - max(before, default=0)) / kills))
        while process.poll() is None:
            written = [int(path.name.split(".")[1]) for path in checkpoints.glob(".*.writing")]
            if any(number >= min(first, ITERATIONS) for number in written):
                return f"saving {written[0]}"
            time.sleep(0.005)
        return "never"


def finished(run: Path) -> bool:
    """Whether the run had ended before the signal came, and the process had not."""
    summary = run / "summary.json"
    return summary.exists() and json.loads(summary.read_text())["status"] == "finished"


def mlflow_defects(store: Path, run: Path) -> str:
    """One run of that name, FINISHED, with every step of every metric once and with the value of metrics.jsonl."""
    client = MlflowClient(tracking_uri=f"sqlite:///{store}")
    experiment = client.get_experiment_by_name("motion-grpo").experiment_id
    found = client.search_runs([experiment], filter_string=f"attributes.run_name = '{run.name}'")
    if len(found) != 1 or found[0].info.status != "FINISHED":
        return f"MLflow: {[(each.info.run_id, each.info.status) for each in found]}"
    rows = metrics(run)
    for name in rows[0].keys() - {"iteration"}:
        expected = [(row["iteration"], row[name]) for row in rows if name in row]
        if [(step.step, step.value) for step in client.get_metric_history(found[0].info.run_id, name)] != expected:
            return f"MLflow: {name}"
    return ""


def measure(arguments, work: Path) -> Table:
    kills, each = (3, 3) if arguments.quick else (arguments.kills, arguments.each)
    config, table = write_run_config(work / "config"), Table(
        arguments.out, "Resumes",
        f"Runs of {ITERATIONS} iterations, one rollout ahead, evaluated every 3. A kill is told as signal, moment, iterations "
        "that the next process went on from. The same: adapter, optimizer, metrics, rollouts, one MLflow run; and no process is left.",
        ("run", "checkpoint.every", "kills", "result"),
    )  # fmt: skip
    undisturbed, total = {}, 0
    for every in (1,) if arguments.quick else (1, 2):
        run = undisturbed[every] = work / f"undisturbed{every}"
        code, errors = finish(start(work, *flags(config, run, every)))
        assert (code, errors) == (0, ""), errors
    rows = [json.loads(line) for line in (undisturbed[1] / "metrics.jsonl").read_text().splitlines()]
    seconds = [sum(value for name, value in row.items() if name.startswith("seconds_")) for row in rows]
    killer = Killer(arguments.seed, float(np.mean(seconds)))
    for number in range(kills):
        if total >= kills:
            break
        every = 2 if number % 3 == 2 else 1
        run = work / f"run{number}"
        done, wrong = killer.run(flags(config, run, every), run, work, each)
        wrong = wrong or differences(run, undisturbed[every]) or mlflow_defects(work / "mlflow.db", run)
        remaining = left(work / "ray")
        wrong = wrong or (f"left: {remaining[0][:100]}" if remaining else "")
        total += len(done)
        table.add(number, every, "; ".join(done), wrong or "same", held=not wrong)
    table.add("all", "-", f"{total} kills", f"{table.failed} runs differ" if table.failed else "same", held=not table.failed)
    return table


if __name__ == "__main__":
    part(__doc__, options, measure)
