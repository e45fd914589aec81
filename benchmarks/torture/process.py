"""The training command as a process of its own, as a user starts it."""

import os
import subprocess
import sys
import time
from pathlib import Path

from tests.processes import processes_of

ROOT = Path(__file__).resolve().parents[2]
DEADLINE_S = 600


def start(work: Path, *flags, module: str = "learner.main") -> subprocess.Popen:
    """Nothing about Ray or MLflow from outside; Ray's files, and so its processes' arguments, lie under `work`/ray."""
    outside = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "MLFLOW_"))}
    (work / "ray").mkdir(parents=True, exist_ok=True)
    environment = {**outside, "PYTHONPATH": str(ROOT), "RAY_TMPDIR": str(work / "ray"), "PYTHONUNBUFFERED": "1"}
    words = [sys.executable, "-m", module, *map(str, flags)]
    return subprocess.Popen(words, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finish(process: subprocess.Popen) -> tuple[int, str]:
    """Exit code and stderr, once it has ended."""
    _, errors = process.communicate(timeout=DEADLINE_S)
    return process.returncode, errors


def left(work: Path, patience_s: float = 60.0) -> list[str]:
    """Command lines of processes that still name `work` after so long: none, when a run's actors end with it."""
    until = time.monotonic() + patience_s
    while (found := processes_of(work)) and time.monotonic() < until:
        time.sleep(0.2)
    return found
