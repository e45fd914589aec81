"""The table of the official protocol: real motion, the base model and adapters, by metrics over replications."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from learner.evaluate.models import BASE
from learner.evaluate.motion.measures import METRICS, T2M_METRICS
from learner.evaluate.motion.settings import POOL
from learner.evaluate.report import SideBySide, aligned, cell
from learner.evaluate.rows import Metric
from rewards.motion.metrics import TOO_FEW, mean_and_interval

FEATURES = "mm_dist"  # judges all 263 features, as the model made them
SEEN = {"joints_score": "the joints", "essential_score": "the 67 features that determine them"}  # judge what a person sees


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

    def content(self) -> dict[str, Any]:
        return {"metrics": self.told()}


def best_of(count: int) -> str:
    """The name of the row that chooses among motions of the base model."""
    return f"{BASE} best of {count}"


class EvaluationReport(SideBySide):
    """See `SideBySide`. The notes end with what rows say of each other."""

    real = True

    def add(self, row: Row) -> None:
        base = next((each for each in self.rows if each.name == BASE), None)
        if base and row.source and "fid" in row.values:  # on the split that the others are of
            best = next((each for each in self.rows if each.name == best_of(self.config.best_of)), None)
            self.notes += beside(base, best, row)
        super().add(row)

    def metrics(self) -> dict[str, Metric]:
        return METRICS

    def head(self) -> dict[str, Any]:
        config = self.config
        return {
            "seed": config.seed, "replications": config.rounds, "samples": config.pools * POOL,
            "multimodality_replications": config.multimodal_rounds,
        }  # fmt: skip

    def table(self) -> list[str]:
        return table(self.rows)


def table(rows: Sequence[Row]) -> list[str]:
    """Markdown lines, aligned to be read as they are: the T2M evaluator's metrics, then TMR and physics."""
    lines: list[str] = []
    for names in (T2M_METRICS, [name for name in METRICS if name not in T2M_METRICS]):
        cells = [["", *(f"{METRICS[name].label} {METRICS[name].better}" for name in names)]]
        for row in rows:
            found = row.told()
            cells.append([row.name, *(cell(found.get(name), METRICS[name].digits) for name in names)])
        lines += [*aligned(cells), ""]
    return lines[:-1]


def beside(base: Row, best: Row | None, tuned: Row) -> list[str]:
    """Whether an adapter moves better or only says so, and whether it beats choosing among motions of the base model; lines, by
    differences of the same replications, 95 %. It only says so where none of two that read the skeleton in different ways sees it."""
    lines = []
    features, seen = paired(base, tuned, FEATURES), {words: paired(base, tuned, name) for name, words in SEEN.items()}
    told = [f"{words} ({change.words()})" for words, change in seen.items() if change]
    if features and features.better and told and not any(change.better for change in seen.values() if change):
        lines.append(
            f"{tuned.name}: the score of all 263 features rose (MM-Dist {features.words()}), not that of {' nor that of '.join(told)}: "
            "what improved may be features that no joint follows"
        )
    if best:
        found = {METRICS[name].label: change for name in (FEATURES, *SEEN) if (change := paired(best, tuned, name))}
        if told := [f"{label} {change.words()}, {change.verdict}" for label, change in found.items()]:
            lines.append(f"{tuned.name} beside {best.name}: {'; '.join(told)}")
    return lines


@dataclass(frozen=True)
class RowDifference:
    """A paired difference of two rows in one metric and its half-width. sign: of what is better."""

    mean: float
    half: float
    sign: int
    digits: int

    @property
    def better(self) -> bool:
        return self.sign * self.mean > self.half

    @property
    def verdict(self) -> str:
        return "better" if self.better else "worse" if -self.sign * self.mean > self.half else "no clear difference"

    def words(self) -> str:
        return f"{self.mean:+.{self.digits}f} ± {self.half:.{self.digits}f}"


def paired(before: Row, after: Row, metric: str) -> RowDifference | None:
    """None where a row lacks the metric, or has it of one replication alone."""
    old, new = (row.values.get(metric) or [] for row in (before, after))
    if len(old) != len(new) or len(old) < 2:
        return None
    mean, half = mean_and_interval(np.subtract(new, old))
    return RowDifference(float(mean), float(half), -1 if METRICS[metric].better == "↓" else 1, METRICS[metric].digits)
