"""What is left of a run, read as far as it goes: a run folder, whole or cut off, or a file of metrics alone."""

import csv
import io
import json
import math
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from learner.config.parse import parse_config
from learner.config.settings import Config
from rollout.io.errors import InputError

# Other names of our metrics, the original's among them.
OURS = {"kl_penalty": "kl_loss", "log_ratio": "mean_log_ratio", "step": "iteration", "global_step": "iteration", "epoch": "iteration"}
PARTS = ("config.yaml", "metrics.jsonl", "summary.json", "log.txt")
WARNING = "warning: "  # how a line of the log begins that is one
UNREADABLE = (ValueError, RecursionError)  # of JSON, the second for what is nested too deeply
READ_AT_MOST = 256 * 2**20  # bytes of one file


@dataclass
class Record:
    """A run. rows: metrics by iteration, numbers only, `iteration` (from 0) among them, ascending. config: None when there is
    none to be read. log: its lines. defects: what was missing or damaged, in words. checkpoint: the newest in the folder."""

    path: Path
    rows: list[dict[str, float]] = field(default_factory=list)
    config: Config | None = None
    summary: dict[str, Any] = field(default_factory=dict)
    log: list[str] = field(default_factory=list)
    defects: list[str] = field(default_factory=list)
    checkpoint: Path | None = None

    @property
    def iterations(self) -> int:
        """How many were done, as far as is known."""
        return int(self.rows[-1]["iteration"]) + 1 if self.rows else 0

    def told(self, name: str, mark: str) -> list[str]:
        """`warnings` or `advisories`: those of the summary; of a run without one the lines of its log that begin with `mark`."""
        told = self.summary.get(name)
        logged = [line.removeprefix(mark) for line in self.log if line.startswith(mark)]
        return [str(text) for text in told] if isinstance(told, list) else list(dict.fromkeys(logged))


def read_record(path: Path) -> Record:
    """A run folder, or metrics as .json, .jsonl or .csv. InputError when nothing in it can be read."""
    try:
        return _read_folder(path) if path.is_dir() else _read_metrics(path)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}), expected a run folder or a file of metrics") from None


def _read_folder(path: Path) -> Record:
    record = Record(path)
    there = [part for part in PARTS if (path / part).is_file()]
    if not there:
        raise InputError(f"{path}: found none of {', '.join(PARTS)}, expected a run folder")
    record.defects += [f"{part} is not there" for part in PARTS if part not in there and part != "summary.json"]
    if "config.yaml" in there:
        try:
            record.config = parse_config(["--config", str(path / "config.yaml")], only_read=True)
        except (InputError, *UNREADABLE) as error:
            record.defects.append(f"{' '.join(str(error).split())[:300]}; the default settings stand in")
    if record.config and record.config.seeds:
        raise InputError(f"{path}: found runs of seeds {', '.join(map(str, record.config.seeds))}, expected one of them: its folder seed*")
    if "metrics.jsonl" in there:
        _take_rows(record, _lines(path / "metrics.jsonl", record), "metrics.jsonl")
    if "summary.json" in there:
        try:
            summary = json.loads(_text(path / "summary.json"))
            record.summary = summary if isinstance(summary, dict) else {}
        except UNREADABLE:
            record.defects.append("summary.json is damaged or cut off")
    record.log = _text(path / "log.txt").splitlines() if "log.txt" in there else []
    record.checkpoint = max(path.glob("checkpoints/[0-9]*.safetensors"), key=lambda found: found.name, default=None)
    return record


def _read_metrics(path: Path) -> Record:
    """Rows of JSON lines or CSV; of JSON one object of numbers, one of lists, or a list of objects."""
    record, kind = Record(path), path.suffix.lower()
    if kind not in (".json", ".jsonl", ".csv"):
        path.stat()  # one that is not there is told as such
        raise InputError(f"{path}: found a file of type {kind or 'unknown'}, expected a run folder, .json, .jsonl or .csv")
    if kind == ".jsonl":
        found = _lines(path, record)
    elif kind == ".csv":
        try:
            found = list(csv.DictReader(io.StringIO(_text(path)), strict=True))
        except csv.Error as error:
            raise InputError(f"{path}: not a CSV file ({error})") from None
    else:
        try:
            found = json.loads(_text(path))
        except UNREADABLE as error:
            raise InputError(f"{path}: not valid JSON ({' '.join(str(error).split())[:100]})") from None
        lists = {name: value for name, value in found.items() if isinstance(value, list)} if isinstance(found, dict) else {}
        if lists:
            found = [dict(zip(lists, values)) for values in zip(*lists.values())]
    _take_rows(record, found if isinstance(found, list) else [found], path.name)
    if not record.rows:
        raise InputError(f"{path}: found no row of numbers, expected metrics by name such as mean_ratio")
    return record


def _text(path: Path) -> str:
    """The text of a file, which may hold anything."""
    with path.open("rb") as file:
        return file.read(READ_AT_MOST).decode("utf-8", "replace")


def _lines(path: Path, record: Record) -> list[Any]:
    """What each line of JSON holds. A broken one is left out and told; the last is usually one that a kill cut off."""
    found = []
    lines = [line for line in _text(path).splitlines() if line.strip()]
    for i, line in enumerate(lines):
        try:
            found.append(json.loads(line))
        except UNREADABLE:
            record.defects.append(f"{path.name}: line {i + 1} is {'cut off' if i + 1 == len(lines) else 'damaged'}")
    return found


def _take_rows(record: Record, found: list[Any], name: str) -> None:
    """Rows by iteration; of two of one iteration the later stands."""
    rows = [row for i, entry in enumerate(found) if isinstance(entry, dict) and (row := _row(entry, i))]
    by_iteration = {row["iteration"]: row for row in rows}
    if len(by_iteration) < len(rows):
        record.defects.append(f"{name}: {len(rows) - len(by_iteration)} iterations are there twice; the later stands")
    record.rows = [by_iteration[iteration] for iteration in sorted(by_iteration)]


def _row(entry: dict, place: int) -> dict[str, float]:
    """Its numbers under our names; {} without any. What the log-ratio is at least, where only its mean is known."""
    row = {}
    for name, value in entry.items():
        name = re.sub(r"\W+", "_", str(name).strip().lower())
        number = _number(value)
        if number is not None:
            row[OURS.get(name, name)] = number
    if not row.keys() - {"iteration"}:
        return {}
    if not abs(row.get("iteration", math.nan)) < 2**53:
        row["iteration"] = float(place)
    ratio = row.get("mean_ratio", 1.0)
    known = [abs(row.get("mean_log_ratio", 0.0)), abs(math.log(ratio)) if 0 < ratio < math.inf else 0.0]
    return {"max_abs_log_ratio": max(known), **row}


def _number(value: Any) -> float | None:
    """A number, or text that is one (nan and inf included)."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    try:
        return float(value)
    except (ValueError, OverflowError):
        return None
