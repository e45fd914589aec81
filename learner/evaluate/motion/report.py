"""The table of the official protocol: real motion, the base model and adapters, by metrics over replications."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from learner.evaluate.motion.measures import METRICS, T2M_METRICS
from learner.evaluate.motion.settings import POOL
from learner.evaluate.report import SideBySide, aligned, cell
from learner.evaluate.rows import Metric
from rewards.motion.metrics import TOO_FEW, mean_and_interval


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


class EvaluationReport(SideBySide):
    """See `SideBySide`."""

    real = True

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
