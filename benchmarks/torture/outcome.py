"""Whether two runs left the same: adapter, optimizer, metrics, rollouts, to the last bit; only the clock may differ."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from learner.run.checkpoint import Checkpoints
from rollout.motion.record import read_rollout

TOLD = ("status", "iterations", "adapter_sha256", "heldout", "trained", "max_log_prob_gap")


def metrics(folder: Path) -> list[dict]:
    """Rows of metrics.jsonl without what the clock says."""
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in row.items() if not name.startswith("seconds_")} for row in rows]


def rollouts(folder: Path) -> list[list[dict]]:
    """The rows of every rollout, by iteration."""
    return [read_rollout(path) for path in sorted((folder / "rollouts").glob("*.parquet"))]


def adapter(folder: Path) -> str:
    """Digest of the adapter at the end, short."""
    return json.loads((folder / "summary.json").read_text())["adapter_sha256"][:12]


def differences(run: Path, other: Path) -> str:
    """What of `run` is not as in `other`; empty when they are the same."""
    return ", ".join(dict.fromkeys(_differences(run, other)))


def _differences(run: Path, other: Path) -> Iterator[str]:
    summary, expected = (json.loads((folder / "summary.json").read_text()) for folder in (run, other))
    yield from (f"summary: {name}" for name in TOLD if summary.get(name) != expected.get(name))
    if metrics(run) != metrics(other):
        yield "metrics"
    for name in ("adapter_model.safetensors", "adapter_config.json"):
        if (run / "adapter" / name).read_bytes() != (other / "adapter" / name).read_bytes():
            yield f"adapter/{name}"
    kept, theirs = (Checkpoints(folder / "checkpoints", 1).latest() for folder in (run, other))
    if kept.arrays.keys() != theirs.arrays.keys() or kept.facts["learner"] != theirs.facts["learner"]:
        yield "checkpoint"
    yield from (f"checkpoint: {name}" for name, value in kept.arrays.items() if not np.array_equal(value, theirs.arrays.get(name)))
    if [path.name for path in sorted((run / "rollouts").iterdir())] != [path.name for path in sorted((other / "rollouts").iterdir())]:
        yield "files of rollouts"
    for rows, others in zip(rollouts(run), rollouts(other)):
        for row, its in zip(rows, others, strict=True):
            yield from (f"rollout: {name}" for name in row if not np.array_equal(row[name], its[name]))
