"""A run while it trains: what it is at, by what its folder last said. Only read, never written."""

import os
import re
import socket
import time
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from learner.diagnose.read import read_record
from learner.report.present import LEAST_STUCK_S, SLOW, STUCK, spoken, work_of
from learner.run.folder import LOCK
from rollout.io.errors import InputError

SIGNS = ("metrics.jsonl", "log.txt", "summary.json", "config.yaml")  # what is written as a run goes on
RECENT = 10  # iterations that say how long one takes


class Liveness(NamedTuple):
    """`tone`: running, slow, stuck, over or gone; `words`: the same for a person; `stamp`: another whenever the page has more to show."""

    tone: str
    words: str
    stamp: str


def state_of(run: Path, now: float | None = None) -> Liveness:
    """now: seconds since the epoch, None = it is now. Raises InputError for what is no run folder."""
    record = read_record(run)
    signs = [path.stat().st_mtime_ns for name in SIGNS if (path := run / name).is_file()]
    kept = [max((path.name for path in run.glob(f"{part}/[0-9]*.parquet")), default="") for part in ("rollouts", "evaluations")]
    stamp = "-".join(map(str, [record.iterations, *kept, record.summary.get("status"), len(record.log)]))
    now = time.time() if now is None else now
    passed = now - max(signs) / 1e9
    asked, alive = record.config.iterations if record.config else None, _alive(run)
    last = f" Its log last said: {record.log[-1].strip()[:200]}" if record.log else ""
    if alive is False or (alive is None and record.summary):
        if status := record.summary.get("status"):
            return Liveness("over", f"The run has ended: {status}.", stamp)
        return Liveness("gone", f"The process is gone and left no summary.{last}", stamp)
    usual = _usual(record.rows)
    doing = "The evaluation at the end" if record.iterations == asked else f"Iteration {record.iterations + 1} of {asked or '?'}"
    words = f"{doing} is under way for {spoken(passed)}" + (f"; one takes {spoken(usual)}." if usual else ".")
    deadline = f"{record.config.cluster.sampler_deadline:.0f} s" if record.config else "its deadline"
    work = work_of(run, now, deadline)
    if work and work.tone != "running":
        return Liveness(work.tone, f"{words} {work.words}{last}", stamp)
    if usual and passed > max(STUCK * usual, LEAST_STUCK_S) and (not work or work.quiet > LEAST_STUCK_S):
        stall = f"So long no sign of life is a stall: an actor that hangs is replaced after {deadline}."
        return Liveness("stuck", f"{words} {stall}{last}", stamp)
    words += f" {work.words}" if work else ""
    if usual and passed > SLOW * usual:
        return Liveness("slow", f"{words} That is slow: an evaluation, a busy machine, or an actor that is being replaced.{last}", stamp)
    return Liveness("running", words.rstrip(), stamp)


def _usual(rows: list[dict[str, Any]]) -> float | None:
    """Seconds of an iteration."""
    spent = [sum(value for name, value in row.items() if name.startswith("seconds_")) for row in rows[-RECENT:]]
    return median(spent) if spent else None


def _alive(run: Path) -> bool | None:
    """Whether the process that holds the run's lock is there; None where that cannot be told, as on another machine."""
    try:
        found = re.fullmatch(r"process (\d+) on (.+)", (run / LOCK).read_text(encoding="utf-8", errors="replace").strip())
    except OSError:
        return None
    if not found or found[2] != socket.gethostname():
        return None
    try:
        os.kill(int(found[1]), 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return None
    return True


def require_run(run: Path) -> None:
    """Raises InputError for what is no run folder."""
    if not run.is_dir():
        raise InputError(f"{run}: {'found a file' if run.exists() else 'not found'}, expected a run folder")
    read_record(run)
