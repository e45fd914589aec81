"""The folder that one run leaves behind. It belongs to that run alone.

    config.yaml  metrics.jsonl  log.txt  summary.json  adapter/  rollouts/  (pictures)
"""

import json
import math
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from rollout.errors import InputError


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
    """Paths of a training run's results, and the two files that are written while it goes on."""

    @classmethod
    def create(cls, path: str | Path | None, seed: int = 0) -> "RunFolder":
        """See `claim`; the setting is run_dir."""
        return cls.claim(path, "run_dir", f"seed{seed}", ("rollouts", "adapter"))

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
    def adapter(self) -> Path:
        return self.path / "adapter"

    @property
    def summary(self) -> Path:
        return self.path / "summary.json"

    @property
    def log(self) -> Path:
        return self.path / "log.txt"

    def append_metrics(self, iteration: int, metrics: Mapping[str, Any]) -> None:
        """Add one JSON line `{"iteration": ..., name: number, ...}` to metrics.jsonl, on disk when this returns."""
        with self.metrics.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"iteration": iteration, **_strict(metrics)}, allow_nan=False) + "\n")

    def write_summary(self, summary: Mapping[str, Any]) -> None:
        write_json(self.summary, summary)


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Replace `path` in one step: a reader or a crash sees the old file or the new one, never a part."""
    aside = path.with_suffix(".json.writing")
    with aside.open("w", encoding="utf-8") as file:
        json.dump(_strict(content), file, indent=2, allow_nan=False)
        file.write("\n")
        file.flush()
        os.fsync(file.fileno())
    aside.replace(path)


def _strict(value: Any) -> Any:
    """`value` as JSON knows it: array scalars as numbers, and nan, inf, -inf (which JSON has not) as those words."""
    if isinstance(value, Mapping):
        return {str(key): _strict(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_strict(item) for item in value]
    if hasattr(value, "item"):
        value = value.item()
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value
