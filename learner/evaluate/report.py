"""What an evaluation tells and keeps: a table on screen, table.md, evaluation.json, evaluation.png and an MLflow run."""

import re
from dataclasses import dataclass
from pathlib import Path

from learner.evaluate.measures import METRICS, T2M_METRICS
from learner.evaluate.settings import POOL, EvaluateConfig
from learner.run.pictures import intervals_png
from learner.run.progress import Progress
from learner.run.tracking import Tracker
from rewards.motion.metrics import TOO_FEW, mean_and_interval
from rollout.io.files import write_json


@dataclass(frozen=True)
class Row:
    """One line of the table. `source`: where the adapter lies, None without one; `values`: those of every replication by metric,
    none where there were too few motions."""

    name: str
    source: str | None
    sha256: str | None
    values: dict[str, list[float]]

    def summary(self) -> dict[str, dict]:
        """Mean and 95 % half-width over replications (null for a single one), and the values, by metric."""
        found = {}
        for name in METRICS:
            if values := self.values.get(name):
                mean, half = mean_and_interval(values)
                found[name] = {"mean": float(mean), "ci95": float(half) if len(values) > 1 else None, "values": values}
        return found

    def told(self) -> dict[str, dict | str]:
        """The summary, and in words what there were too few motions for."""
        return {**self.summary(), **{name: TOO_FEW for name, values in self.values.items() if not values}}


class EvaluationReport:
    """Writes everything anew after each row, so that an evaluation that is stopped leaves the rows it finished."""

    def __init__(self, config: EvaluateConfig, folder: Path, progress: Progress, tracker: Tracker, notes: list[str]):
        self.config, self.folder, self.progress, self.tracker, self.notes = config, folder, progress, tracker, notes
        self.rows: list[Row] = []

    def add(self, row: Row) -> None:
        self.rows.append(row)
        self._write("running")
        place = re.sub(r"[^\w\-. ]", "_", row.name)
        for name, found in row.summary().items():
            self.tracker.log(0, {f"{place}/{name}": found["mean"], f"{place}/{name}_ci95": found["ci95"] or 0.0})

    def close(self, status: str) -> None:
        """The end, however it came: "finished", "failed" or "killed"."""
        try:
            self._write(status)
            if self.rows:
                tables = table(self.rows)
                intervals_png(self.folder / "evaluation.png", [(row.name, row.summary()) for row in self.rows], METRICS)
                for line in [*tables, "", *self.notes]:
                    self.progress.note(line)
            self.progress.note(f"evaluation {status}: results in {self.folder}")
        finally:
            self.tracker.finish(status, sorted(self.folder.iterdir()))

    def _write(self, status: str) -> None:
        rows = [
            {"name": row.name, "adapter": row.source, "adapter_sha256": row.sha256, "metrics": row.told()} for row in self.rows
        ]
        settings, config = self.config.to_dict(), self.config
        content = {
            "status": status, "seed": config.seed, "replications": config.rounds, "samples": config.pools * POOL,
            "multimodality_replications": config.multimodal_rounds, "notes": self.notes, "rows": rows, "settings": settings,
        }  # fmt: skip
        write_json(self.folder / "evaluation.json", content)
        text = "\n".join([*table(self.rows), "", *(f"* {note}" for note in self.notes)]) + "\n"
        (self.folder / "table.md").write_text(text, encoding="utf-8")


def table(rows: list[Row]) -> list[str]:
    """Markdown lines, aligned to be read as they are: the T2M evaluator's metrics, then TMR and physics."""
    lines: list[str] = []
    for names in (T2M_METRICS, [name for name in METRICS if name not in T2M_METRICS]):
        cells = [["", *(f"{METRICS[name].label} {METRICS[name].better}" for name in names)]]
        for row in rows:
            found = row.told()
            cells.append([row.name, *(_cell(found.get(name), METRICS[name].digits) for name in names)])
        widths = [max(len(line[column]) for line in cells) for column in range(len(cells[0]))]
        padded = [" | ".join(cell.ljust(width) for cell, width in zip(line, widths)) for line in cells]
        rule = " | ".join("-" * max(3, width) for width in widths)
        lines += [f"| {line} |" for line in [padded[0], rule, *padded[1:]]] + [""]
    return lines[:-1]


def _cell(found: dict | str | None, digits: int) -> str:
    if not isinstance(found, dict):
        return found or "-"
    half = "" if found["ci95"] is None else f" ± {found['ci95']:.{digits}f}"
    return f"{found['mean']:.{digits}f}{half}"
