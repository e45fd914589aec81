"""Held-out judgement while a run trains: its numbers by evaluation, and the word when reward and judge part."""

import numpy as np

from learner.divergence import Divergence
from learner.evaluation import Examination, quality


class HeldOut:
    """The evaluations of one run on the same prompts and noise, in order; the first is of the base model.

    entries: by evaluation, `iterations` and every metric, as `observe` returns them.
    """

    def __init__(self, patience: int, real: tuple[np.ndarray | None, np.ndarray | None]):
        """real: mean and covariance of real motion in the judge's embedding, for FID; (None, None) when not known."""
        self.real, self.divergence = real, Divergence(patience)
        self.entries: list[dict[str, float]] = []

    def observe(self, iterations: int, results: list[Examination]) -> tuple[dict[str, float], str | None]:
        """Metrics by name, each `heldout_...`: reward and its components (raw), judge, FID, diversity, physics, and how many
        evaluations in a row parted; NaN samples are left out of means. And a warning, when that has just become too many."""
        reward_PG, judge_PG = (np.stack([getattr(e, name) for e in results]) for name in ("reward", "judge"))
        components = {name: np.stack([e.components[name] for e in results]) for name in results[0].components}
        verdict = self.divergence.observe(iterations, reward_PG, judge_PG)
        found = {
            "reward": _mean(reward_PG), "judge": _mean(judge_PG), **quality(results, *self.real),
            **{f"component_{name}": _mean(values_PG) for name, values_PG in components.items()}, "parted": verdict.streak,
        }  # fmt: skip
        metrics = {f"heldout_{name}": float(value) for name, value in found.items() if value is not None}
        self.entries.append({"iterations": iterations, **metrics})
        return metrics, verdict.words() if verdict.streak == self.divergence.patience else None


def _mean(values: np.ndarray) -> float:
    finite = values[np.isfinite(values)]
    return float(finite.mean()) if len(finite) else float("nan")
