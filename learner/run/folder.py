"""The folder that one run leaves behind. It belongs to that run alone.

    run.json  config.yaml  metrics.jsonl  spans.jsonl  log.txt  summary.json  report.html  adapter/  rollouts/  evaluations/  checkpoints/  (pictures)  .lock

While it trains there is present.json too: see `cluster.present`.
"""

import contextlib
import dataclasses
import fcntl
import json
import logging
import os
import re
import shutil
import socket
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, TextIO

from learner.config.resume import FORMAT
from rewards.trust import RUN, origin
from rollout.io.errors import InputError
from rollout.io.files import ASIDE, replace_file, strict, write_json
from rollout.io.machine import machine, versions

log = logging.getLogger(__name__)
LOCK, PRESENT = ".lock", "present.json"
LOST_S = 120  # after a node's death a file server may keep its locks for nearly as long
POLL_S = 0.5  # for a lock
SPAN = re.compile(r'\{"iteration": (\d+), .*\}')  # a line of spans.jsonl that is whole
REAL = "real.parquet"  # among the evaluations, what was recorded for their prompts
NOT_FINITE = ("nan", "inf", "-inf")
PARTS = ("rollouts", "evaluations", "adapter")


@dataclass(frozen=True)
class Folder:
    """A folder that belongs to one run alone."""

    path: Path
    made: bool = True  # or was it there, empty

    @classmethod
    def claim(cls, path: str | Path | None, key: str, name: str, parts: tuple[str, ...] = ()):
        """Claim `path` (None: a new `runs/<UTC time>-<name>`) for one run, with folders `parts` in it; the result's path is
        absolute.

        Raises InputError, naming the setting `key`, when it is a file, holds anything, cannot be made, or was claimed by
        another run meanwhile.
        """
        path = Path(path or Path("runs") / f"{datetime.now(timezone.utc):%Y%m%dT%H%M%SZ}-{name}").expanduser().resolve()
        folder = cls(path, made=not path.exists())
        taken = f"{key}: {path} is not empty, expected a new or empty folder (a run never shares one)"
        try:
            path.mkdir(parents=True, exist_ok=True)
            if any(path.iterdir()):
                raise InputError(taken)
            # Of two runs that both saw the folder empty, only one can make these.
            for part in parts:
                (path / part).mkdir()
        except FileExistsError:
            raise InputError(f"{key}: {path} is a file" if path.is_file() else taken) from None
        except OSError as error:
            raise InputError(f"{key}: cannot write in {path} ({error.strerror})") from None
        return folder

    def discard(self) -> None:
        """Leaves things as they were before `claim`, for a run that ended before it began."""
        for path in self.path.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        if self.made:
            self.path.rmdir()


@dataclass(frozen=True)
class RunFolder(Folder):
    """Paths of a training run's results, and the two files that are written while it goes on.

    lock: held for as long as this object lives, at most until the process ends, so that no two write here at once.
    """

    lock: TextIO | None = dataclasses.field(default=None, compare=False, repr=False)
    begun: bool = False  # by an earlier process, whose results lie here

    @classmethod
    def create(cls, path: str | Path | None, seed: int | str = 0, parts: tuple[str, ...] = PARTS) -> "RunFolder":
        """See `claim`; the setting is run_dir."""
        folder = cls.claim(path, "run_dir", f"seed{seed}", parts)
        try:
            write_json(folder.path / RUN, {"format": FORMAT, **origin(folder.path), "machine": machine(), "versions": versions()})
        except OSError as error:
            folder.discard()
            raise InputError(f"run_dir: cannot write in {folder.path} ({error.strerror})") from None
        return dataclasses.replace(folder, lock=locked(folder.path, "run_dir"))

    @classmethod
    def reopen(cls, path: str | Path, parts: tuple[str, ...] = PARTS, wait_s: float = 0.0) -> "RunFolder":
        """The folder of a run that goes on. Raises InputError when another process works in it, for `wait_s` seconds more, or it cannot
        be written in."""
        path = Path(path).expanduser().resolve()
        folder = cls(path, made=False, lock=locked(path, "run_dir", wait_s), begun=True)
        for part in parts:
            (path / part).mkdir(exist_ok=True)
        return folder

    def discard(self) -> None:
        """See `Folder.discard`; what an earlier process left stays."""
        if not self.begun:
            super().discard()

    @property
    def config(self) -> Path:
        return self.path / "config.yaml"

    @property
    def metrics(self) -> Path:
        return self.path / "metrics.jsonl"

    @property
    def rollouts(self) -> Path:
        return self.path / "rollouts"

    @property
    def evaluations(self) -> Path:
        return self.path / "evaluations"

    @property
    def adapter(self) -> Path:
        return self.path / "adapter"

    @property
    def page(self) -> Path:
        return self.path / "report.html"

    @property
    def spans(self) -> Path:
        return self.path / "spans.jsonl"

    @property
    def present(self) -> Path:
        return self.path / PRESENT

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def summary(self) -> Path:
        return self.path / "summary.json"

    @property
    def log(self) -> Path:
        return self.path / "log.txt"

    def append_metrics(self, iteration: int, metrics: Mapping[str, Any]) -> None:
        """Add one JSON line `{"iteration": ..., name: number, ...}` to metrics.jsonl, on disk when this returns."""
        with self.metrics.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"iteration": iteration, **strict(metrics)}, allow_nan=False) + "\n")
            file.flush()
            os.fsync(file.fileno())

    def append_spans(self, iteration: int, spans: Sequence[Any]) -> None:
        """One line each to spans.jsonl: actor, what it did, from when to when, in seconds since 1970. No run ends for want of them."""
        lines = [json.dumps({"iteration": iteration, **span._asdict()}) + "\n" for span in spans]
        with contextlib.suppress(OSError), open(self.spans, "a", encoding="utf-8") as file:
            file.writelines(lines)

    def show_present(self, found: Mapping[str, Any]) -> None:
        """What the actors are at now, in place of what they were at: worth nothing after a crash, so it is not synced, and no run ends
        for want of it."""
        aside = self.present.with_name(self.present.name + ASIDE)
        with contextlib.suppress(OSError):
            aside.write_text(json.dumps(found), encoding="utf-8")
            aside.replace(self.present)

    def rewind(self, iterations: int) -> list[dict[str, Any]]:
        """Leave what the first `iterations` iterations wrote: later metrics, rollouts and evaluations go, and half-written files.

        Returns the rows of metrics.jsonl that stay, as `{"iteration": ..., **metrics}` with the metrics that
        `append_metrics` was given. Raises InputError unless they are those of iterations 0 .. iterations-1, each once.
        """
        text = self.metrics.read_text(encoding="utf-8", errors="replace") if self.metrics.exists() else ""
        kept = [(line, row) for line, row in self._rows(text) if row["iteration"] < iterations]
        for expected, row in enumerate([row["iteration"] for _, row in kept] + [None] * (len(kept) < iterations)):
            if row != expected:
                found = "nothing" if row is None else f"iteration {row}"
                raise InputError(f"{self.metrics}: found {found} where iteration {expected} should be, of {iterations} that were done")
        whole = "".join(f"{line}\n" for line, _ in kept)
        if whole != text:
            replace_file(self.metrics, whole.encode())
        later = [path for path in self.rollouts.glob("[0-9]*.parquet") if int(path.stem) >= iterations]
        for path in later + [path for path in self.evaluations.glob("[0-9]*.parquet") if int(path.stem) > iterations]:
            path.unlink()
        if self.spans.exists():
            lines = self.spans.read_text(encoding="utf-8", errors="replace").splitlines()
            earlier = [line for line in lines if (found := SPAN.match(line)) and int(found[1]) < iterations]
            replace_file(self.spans, "".join(f"{line}\n" for line in earlier).encode())
        for path in self.path.rglob(f"*{ASIDE}"):
            path.unlink()
        return [row for _, row in kept]

    def _rows(self, text: str):
        """Lines of metrics.jsonl, each with what it says. The last may have been cut off, by a kill or a full disk."""
        lines = text.splitlines()
        for number, line in enumerate(lines, 1):
            try:
                row = json.loads(line)
                row["iteration"] + 0
            except (ValueError, TypeError, KeyError):
                if number == len(lines):
                    return
                raise InputError(f"{self.metrics}: line {number} is no JSON object with an iteration") from None
            yield line, {key: float(value) if value in NOT_FINITE else value for key, value in row.items()}

    def write_summary(self, summary: Mapping[str, Any]) -> None:
        write_json(self.summary, summary)


def locked(path: Path, key: str, wait_s: float = 0.0) -> TextIO | None:
    """The lock of folder `path`, of setting `key`, taken, if need be after `wait_s` seconds. None on a file system that has no locks."""
    try:
        file = (path / LOCK).open("a+", encoding="utf-8")
    except OSError as error:
        raise InputError(f"{key}: cannot write in {path} ({error.strerror})") from None
    end, told = time.monotonic() + wait_s, False
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except BlockingIOError:
            file.seek(0)
            taken = f"{key}: {path} is in use by {file.read() or 'another process'}"
        except OSError as error:
            log.warning("%s: %s cannot be locked (%s); see that no other process writes there", key, path, error.strerror)
            return None
        if time.monotonic() >= end:
            raise InputError(taken)
        if not told:
            log.warning("%s; waiting for up to %g s", taken, wait_s)
        told = True
        time.sleep(POLL_S)
    file.truncate(0)
    file.write(f"process {os.getpid()} on {socket.gethostname()}")
    file.flush()
    return file
