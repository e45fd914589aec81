"""All that the page of a run says, as plain JSON."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import stdtrit

from learner.config.files import read_yaml
from learner.diagnose.read import Record, read_record
from learner.report.family import shown_of
from learner.report.live import require_run
from learner.report.meanings import meaning_of
from learner.report.provenance import provenance, standing
from learner.report.samples import Samples
from learner.report.verdict import verdict
from learner.run.spans import by_iteration, spans_of
from rollout.io.errors import InputError

ROOM = 3_500_000  # characters that samples may take on a page, of all its runs together


def content_of(paths: list[Path], summary: Mapping[str, Any] | None = None, room: int = ROOM) -> dict[str, Any]:
    """Of one run or several. summary: of a run whose own is not written yet, {} while it trains; None: as the folders have it.
    room: see `ROOM`.

    Raises InputError for a path that holds no run folder.
    """
    for path in paths:
        require_run(path)
    runs = [_run(path, room // len(paths), summary) for path in paths]
    return {"runs": runs, "across": _across(runs) if len(runs) > 1 else None}


def _run(path: Path, room: int, summary: Mapping[str, Any] | None) -> dict[str, Any]:
    record, going_on = read_record(path.resolve()), summary == {}
    if summary is not None:
        record.summary = dict(summary)
    family = record.config.family if record.config else _family(record.path)
    shown = shown_of(family)
    prompts, texts = (shown.prompts(record.config, standing(record)), shown.texts(record.config)) if shown else (None, None)
    samples = Samples(shown, prompts, room, texts)
    evaluations, iterations = samples.evaluations(record.path / "evaluations"), samples.iterations(record.path / "rollouts")
    spans, measured = spans_of(record.path, record.rows)
    record.defects += samples.defects
    if record.rows and record.summary.get("status") == "finished":  # else the weights that were examined may be of before
        record.rows[-1] = _examined(record, "after") | record.rows[-1]
    names = [name for name in dict.fromkeys(name for row in record.rows for name in row) if name != "iteration"]
    return {
        "name": record.path.name, "seed": record.config.seed if record.config else None, "family": family, "final": bool(_heldout(record)),
        "shown": {"kind": shown.kind, **shown.facts(record.config, samples.example)} if shown else None,
        "verdict": verdict(record, going_on),
        "iterations": [int(row["iteration"]) + 1 for row in record.rows],
        "metrics": {name: {"values": [_finite(row.get(name)) for row in record.rows], **meaning_of(name)._asdict()} for name in names},
        "before": _before(record), "evaluations": evaluations, "rollouts": iterations,
        "outputs": samples.outputs, "actions": samples.actions, "pictures": samples.pictures, "provenance": provenance(record),
        "spans": {"measured": measured, "list": [list(span) for span in spans], "iterations": by_iteration(spans)},
    }  # fmt: skip


def _family(path: Path) -> str:
    """That of a run whose settings this version cannot read, "" where it is not known."""
    try:
        return str(read_yaml(path / "config.yaml").get("family", ""))
    except InputError:
        return ""


def _heldout(record: Record) -> dict[str, Any]:
    """What was examined before and after training; {} until the end."""
    found = record.summary.get("heldout")
    return found if isinstance(found, dict) else {}


def _before(record: Record) -> dict[str, float]:
    """Held-out metrics of the base model, which no iteration has."""
    if not _heldout(record) and record.checkpoint:
        return _checked_before(record.checkpoint)
    return _examined(record, "before")


def _examined(record: Record, when: str) -> dict[str, float]:
    """What held-out prompts gave `before` or `after` training, by the names of metrics."""
    found, heldout = {}, _heldout(record)
    parts = heldout.get("components") if isinstance(heldout.get("components"), dict) else {}
    for name, entry in {**heldout, **{f"component_{part}": entry for part, entry in parts.items()}}.items():
        value = entry.get(when) if isinstance(entry, dict) else None
        value = _finite(value.get("mean") if isinstance(value, dict) else value)
        if value is not None:
            found[f"heldout_{name}"] = value
    return found


def _checked_before(checkpoint: Path) -> dict[str, float]:
    """The same of a run without an end, as its checkpoint keeps it."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(checkpoint, "np") as file:
            heldout = json.loads(file.metadata()["run"])["facts"]["report"]["heldout"]
            values = file.get_tensor("report/0/metrics").tolist() if heldout["iterations"][0] == 0 else []
        return {str(name): value for name, value in zip(heldout["metrics"][0], map(_finite, values)) if value is not None}
    except (SafetensorError, OSError, ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError):
        return {}


def _finite(value: Any) -> float | None:
    return float(value) if isinstance(value, (int, float)) and np.isfinite(value) else None


def _across(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Over several runs, as of several seeds, mean and 95 % half-width (Student's t): `gains` by the label of their tiles, and by name
    `curves` of the training reward and of what all measure on held-out prompts, at the iterations for which all have a number. Of
    runs that have begun: one without an iteration takes away nothing from the others' curves."""
    gains: dict[str, list[float]] = {}
    for run in runs:
        for tile in [*run["verdict"]["tiles"], *run["verdict"]["beside"]]:
            gains.setdefault(tile["label"], []).append(tile["gain"])
    begun = [run for run in runs if run["iterations"]]
    names = [name for name in (begun[0]["metrics"] if begun else ()) if name == "mean_reward" or name.startswith("heldout_")]
    curves = {}
    for name in names if len(begun) > 1 else ():
        known = [_points(run, name) for run in begun]
        if common := sorted(set.intersection(*map(set, known))):
            of = [_interval([values[iteration] for values in known]) for iteration in common]
            curves[name] = {"runs": len(begun), "iterations": common, **{part: [each[part] for each in of] for part in ("mean", "half")}}
    return {"gains": {name: {"runs": len(values), **_interval(values)} for name, values in gains.items()}, "curves": curves}


def _points(run: dict[str, Any], name: str) -> dict[int, float]:
    """A metric by iteration where it has a value; 0: of the base model."""
    values = run["metrics"].get(name, {"values": []})["values"]
    found = {0: run["before"].get(name), **dict(zip(run["iterations"], values))}
    return {iteration: value for iteration, value in found.items() if value is not None}


def _interval(values: list[float]) -> dict[str, float | None]:
    half = float(stdtrit(len(values) - 1, 0.975) * np.std(values, ddof=1) / len(values) ** 0.5) if len(values) > 1 else None
    return {"mean": float(np.mean(values)), "half": half}
