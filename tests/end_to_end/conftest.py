"""Whole runs of the training command on tiny models. What several tests read is run once; every process has a deadline.

Runs of one file share a folder and so one MLflow store: names need to differ in a file, whatever a worker of pytest-xdist is dealt. Ray's own files lie in a folder of the session, with a short name: a long
path breaks its sockets.
"""

import fcntl
import gc
import json
import logging
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from _pytest.capture import FDCapture, MultiCapture
from ray._raylet import Config

from learner.main import main
from rollout.motion.record import read_rollout

ROOT = Path(__file__).resolve().parents[2]
DEADLINE_S = 240


@dataclass(frozen=True)
class Run:
    """A run that ended."""

    folder: Path
    done: subprocess.CompletedProcess

    @property
    def summary(self) -> dict:
        return json.loads((self.folder / "summary.json").read_text())

    @property
    def metrics(self) -> list[dict]:
        return [json.loads(line) for line in (self.folder / "metrics.jsonl").read_text().splitlines()]

    @property
    def rollouts(self) -> list[list[dict]]:
        return [read_rollout(path) for path in sorted((self.folder / "rollouts").iterdir())]


@dataclass(frozen=True)
class Head:
    """A cluster of three CPUs on loopback, and the environment of those who may use it."""

    address: str
    environment: dict[str, str]
    temporary: Path

    def joined(self, environment: dict[str, str]) -> dict[str, str]:
        """`environment`, for a command that joins this cluster: seconds sooner than one that starts its own."""
        return {**environment, **self.environment, "RAY_ADDRESS": self.address}

    def run(self, command: Callable[[list[str]], int], *words, folder: Path = ROOT) -> subprocess.CompletedProcess:
        """What a command's `main` does on this cluster and says, in this process: seconds sooner again than one that imports everything."""
        handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
        said = MultiCapture(in_=None, out=FDCapture(1), err=FDCapture(2))
        with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("ignore", DeprecationWarning)  # as in a process of its own
            patch.setattr(logging.getLogger(), "handlers", [])  # pytest's; without one, a warning goes to stderr
            patch.setattr(sys, "path", [*sys.path])
            patch.chdir(folder)
            patch.delenv("MLFLOW_TRACKING_URI", raising=False)
            for name, value in self.joined({}).items():
                patch.setenv(name, value)
            Config.initialize("")  # of Ray, which else goes on with the RAY_AUTH_MODE that it was imported under
            said.start_capturing()
            try:
                status = command(list(map(str, words)))
            finally:
                out, err = said.readouterr()
                said.stop_capturing()
                for number, handler in handlers.items():
                    signal.signal(number, handler)
                gc.collect()  # what it held, such as the lock of its folder, ends with it as with a process
        return subprocess.CompletedProcess(words, status, out, err + "".join(f"{warning}\n" for warning in warned))


@pytest.fixture(scope="session")
def ray_folder():
    folder = Path(tempfile.mkdtemp(prefix="ray", dir="/tmp"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def environment(ray_folder):
    """That of a fresh shell: nothing about Ray or MLflow from outside, one thread to a process."""
    ours = {name: os.environ[name] for name in ("RAY_worker_niceness", "RAY_prestart_worker_first_driver", "OMP_NUM_THREADS", "MKL_NUM_THREADS")}
    outside = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "MLFLOW_"))}
    binaries = f"{Path(sys.executable).parent}:{outside.get('PATH', '')}"
    return {**outside, **ours, "PATH": binaries, "RAY_TMPDIR": str(ray_folder)}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="session")
def config_file(tiny, tmp_path_factory):
    return tiny.write_run_config(tmp_path_factory.mktemp("config"))


@pytest.fixture(scope="session")
def command(config_file):
    """The command of a run; the flags come last and win."""
    return lambda *flags: [sys.executable, "-m", "learner.main", "--config", str(config_file), *map(str, flags)]


@pytest.fixture(scope="session")
def train_in(command, environment):
    """Runs to the end: a process with a private Ray, or in this one on that of `head`."""

    def train_in(run_dir: Path, *flags, head: Head | None = None, folder: Path = ROOT) -> Run:
        words = command("--run_dir", run_dir, *flags)
        if head:
            return Run(run_dir, head.run(main, *words[3:], folder=folder))
        return Run(run_dir, subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True, timeout=DEADLINE_S))

    return train_in


@pytest.fixture(scope="module")
def train(train_in, runs):
    return lambda name, *flags, **places: train_in(runs / name, *flags, **places)


@pytest.fixture(scope="module")
def train_shipped(runs, head):
    """Runs the shipped demo, with flags of its own, to the end."""
    return lambda name, *flags: Run(runs / name, head.run(main, "--run_dir", runs / name, *flags))


@pytest.fixture(scope="session")
def first(train_in, tmp_path_factory):
    """Seed 7 with one sampler, on a Ray of its own, evaluated in between too. Of several workers of pytest-xdist the first to ask makes
    it for all; its MLflow store lies beside its folder."""
    place = tmp_path_factory.getbasetemp()
    kept = (place.parent if "PYTEST_XDIST_WORKER" in os.environ else place) / "first.json"
    with kept.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not kept.exists():
            run = train_in(tmp_path_factory.mktemp("runs") / "first", "--seed", 7, "--cluster.samplers", 1, "--evaluate.every", 2)
            kept.write_text(json.dumps([str(run.folder), vars(run.done)]))
    folder, done = json.loads(kept.read_text())
    return Run(Path(folder), subprocess.CompletedProcess(**done))


@pytest.fixture(scope="session")
def head(ray_folder, environment):
    port, client, dashboard, agent = free_ports(4)
    secret = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": os.environ["RAY_AUTH_TOKEN"]}  # that which Ray has read in this process
    temporary = ray_folder / "head"
    words = [
        "ray", "start", "--head", "--block", "--num-cpus=3", "--num-gpus=0", f"--port={port}", "--node-ip-address=127.0.0.1",
        "--dashboard-host=127.0.0.1", f"--dashboard-port={dashboard}", f"--dashboard-agent-listen-port={agent}",
        f"--ray-client-server-port={client}", f"--temp-dir={temporary}", "--disable-usage-stats", "--include-log-monitor=false",
    ]  # fmt: skip
    soon = {"RAY_health_check_period_ms": "1000", "REPORTER_UPDATE_INTERVAL_MS": "60000"}  # it notices sooner that a node was killed, and forgives a slow one as long as ever
    log = (ray_folder / "head.log").open("w+")
    process = subprocess.Popen(words, cwd=ray_folder, env={**environment, **secret, **soon}, stdout=log, stderr=subprocess.STDOUT)
    api = {"RAY_API_SERVER_ADDRESS": f"http://127.0.0.1:{dashboard}"}
    try:
        wait_for(lambda: process.poll() is not None or "Ray runtime started" in (ray_folder / "head.log").read_text())
        assert process.poll() is None, (ray_folder / "head.log").read_text()
        yield Head(f"127.0.0.1:{port}", {**secret, **api}, temporary)
    finally:
        process.terminate()  # and not `ray stop`, which stops every cluster of the machine
        process.wait(120)
        log.close()


def free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def wait_for(condition, deadline_s: float = 120) -> None:
    end = time.monotonic() + deadline_s
    while not condition():
        assert time.monotonic() < end, "the deadline passed"
        time.sleep(0.1)
