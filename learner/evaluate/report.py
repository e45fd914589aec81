"""What an evaluation tells and keeps: a table on screen, table.md, evaluation.json, evaluation.png and an MLflow run."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from learner.evaluate.rows import AnyRow, Metric
from learner.run.pictures import intervals_png
from learner.run.progress import Progress
from learner.run.tracking import Tracker
from rollout.io.files import replace_file, write_json


class SideBySide:
    """Writes everything anew after each row, so that an evaluation that is stopped leaves the rows it finished.

    A family's own says what the methods below `close` do. `real`: whether the first row is of real data, and no model's.
    """

    real = False

    def __init__(self, config: Any, folder: Path, progress: Progress, tracker: Tracker, notes: list[str], skipped: Sequence[str] = ()):
        """notes: what a reader of the table has to know; skipped: what was left out, a line each, for evaluation.json."""
        self.config, self.folder, self.progress, self.tracker, self.notes, self.skipped = config, folder, progress, tracker, notes, skipped
        self.rows: list[AnyRow] = []

    def add(self, row: AnyRow) -> None:
        self.rows.append(row)
        self._write("running")
        for name, found in row.summary().items():
            self.tracker.log(0, {f"{place(row.name)}/{name}": found["mean"], f"{place(row.name)}/{name}_ci95": found["ci95"] or 0.0})

    def close(self, status: str) -> None:
        """The end, however it came: "finished", "failed" or "killed"."""
        try:
            self._write(status)
            if self.rows:
                rows = [(row.name, row.summary()) for row in self.rows]
                intervals_png(self.folder / "evaluation.png", rows, self.metrics(), self.real)
                for line in [*self.table(), "", *self.notes]:
                    self.progress.note(line)
            self.progress.note(f"evaluation {status}: results in {self.folder}")
        finally:
            self.tracker.finish(status, sorted(filter(Path.is_file, self.folder.iterdir())))

    def metrics(self) -> dict[str, Metric]:
        """Those that the picture shows, in its order."""
        raise NotImplementedError

    def head(self) -> dict[str, Any]:
        """What evaluation.json begins with: how much was measured."""
        raise NotImplementedError

    def table(self) -> list[str]:
        """Lines of Markdown."""
        raise NotImplementedError

    def files(self) -> dict[str, bytes]:
        """What else is kept of the rows, by the file's name."""
        return {}

    def _write(self, status: str) -> None:
        rows = [{"name": row.name, "adapter": row.source, "adapter_sha256": row.sha256, **row.content()} for row in self.rows]
        skipped = {"skipped": self.skipped} if self.skipped else {}
        content = {"status": status, **self.head(), "notes": self.notes, **skipped, "rows": rows, "settings": self.config.to_dict()}
        write_json(self.folder / "evaluation.json", content)
        text = "\n".join([*self.table(), "", *(f"* {note}" for note in self.notes)]) + "\n"
        (self.folder / "table.md").write_text(text, encoding="utf-8")
        for name, found in self.files().items():
            replace_file(self.folder / name, found)


def place(name: str) -> str:
    """A row's name as a store of metrics, and a file, can have it."""
    return re.sub(r"[^\w\-. ]", "_", name)


def aligned(cells: Sequence[Sequence[str]]) -> list[str]:
    """Lines of one table of Markdown, to be read as they are. cells: a line each, the titles first."""
    widths = [max(len(line[column]) for line in cells) for column in range(len(cells[0]))]
    padded = [" | ".join(cell.ljust(width) for cell, width in zip(line, widths)) for line in cells]
    rule = " | ".join("-" * max(3, width) for width in widths)
    return [f"| {line} |" for line in [padded[0], rule, *padded[1:]]]


def cell(found: dict | str | None, digits: int, sign: str = "") -> str:
    """A mean with its half-width; words as they are. sign: "+" for a difference."""
    if not isinstance(found, dict):
        return found or "-"
    half = "" if found["ci95"] is None else f" ± {found['ci95']:.{digits}f}"
    return f"{found['mean']:{sign}.{digits}f}{half}"
