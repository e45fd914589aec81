"""What a row of the table is, of any family: a model, and what was measured of it."""

from typing import Any, NamedTuple, Protocol


class Metric(NamedTuple):
    """How a metric is shown. `better`: "↑" more, "↓" less, "→" nearer to real data."""

    label: str
    better: str
    digits: int


class AnyRow(Protocol):
    """`source`: where the adapter lies, None without one; `sha256`: of the weights that were loaded."""

    name: str
    source: str | None
    sha256: str | None

    def summary(self) -> dict[str, dict]:
        """{"mean", "ci95" (null where there is none), ...} by metric, of those that have a number."""

    def content(self) -> dict[str, Any]:
        """What evaluation.json says of it."""
