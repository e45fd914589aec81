"""Held-out judgement while a run trains: its numbers by evaluation, and the word when reward and judge part."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from learner.watch.divergence import Divergence
from learner.watch.examination import interval, judged_by
from rewards.family import Examination


class HeldOut:
    """The evaluations of one run on the same prompts and noise, in order; the first is of the base model.

    entries: by evaluation, `iterations` and every metric, as `observe` returns them.
    """

    def __init__(self, patience: int, quality: Callable[[list[Examination]], dict[str, float | str | None]]):
        """quality: what the family says of all outputs of an evaluation together, by name."""
        self.quality, self.divergence = quality, Divergence(patience)
        self.entries: list[dict[str, float]] = []

    def observe(self, iterations: int, results: list[Examination]) -> tuple[dict[str, float], str | None]:
        """Metrics by name, each `heldout_...`: reward and its components (raw), judge, what the family measures, and how many
        evaluations in a row parted; NaN samples are left out of means. And a warning, when that has just become too many.
        Without a judge nothing parts."""
        values = {name: np.stack([getattr(e, name) for e in results]) for name in judged_by(results)}
        verdict = self.divergence.observe(iterations, values["reward"], values.get("judge", values["reward"]))
        values |= {f"component_{name}": np.stack([e.components[name] for e in results]) for name in results[0].components}
        found = {
            **{name: interval(values_PG, False)["mean"] for name, values_PG in values.items()}, **self.quality(results), "parted": verdict.streak,
        }  # fmt: skip
        metrics = {f"heldout_{name}": float(value) for name, value in found.items() if isinstance(value, (int, float))}
        self.entries.append({"iterations": iterations, **metrics})
        return metrics, verdict.words() if verdict.streak == self.divergence.patience else None

    def state(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """For a checkpoint: arrays of the divergence, `<i>/metrics` of evaluation i (which may be NaN), and plain JSON."""
        arrays, facts = self.divergence.state()
        named = [{name: value for name, value in entry.items() if name != "iterations"} for entry in self.entries]
        arrays |= {f"{i}/metrics": np.array(list(entry.values()), np.float64) for i, entry in enumerate(named)}
        return arrays, {**facts, "metrics": [list(entry) for entry in named]}

    def load_state(self, arrays: Mapping[str, np.ndarray], facts: Mapping[str, Any]) -> None:
        """Goes on where `state()` was taken."""
        self.divergence.load_state(arrays, facts)
        self.entries = [
            {"iterations": iterations, **dict(zip(names, arrays[f"{i}/metrics"].tolist()))}
            for i, (iterations, names) in enumerate(zip(facts["iterations"], facts["metrics"]))
        ]
