"""Whether the reward has parted from the judge: what tells a policy that learns motion from one that learns its reward."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import stdtrit

LEVEL = 0.05  # of one comparison, two-sided


@dataclass(frozen=True)
class PairedDifference:
    """Mean of a paired difference over held-out prompts and the half-width of its interval (NaN: too few to tell)."""

    mean: float
    half: float

    @property
    def rose(self) -> bool:
        return self.mean - self.half > 0

    @property
    def fell(self) -> bool:
        return self.mean + self.half < 0


@dataclass(frozen=True)
class Verdict:
    """One evaluation beside the one, after `since` iterations, at which the judge liked the motions best.

    streak: how many evaluations in a row found the reward risen and the judge fallen
    diverged: whether that are as many as were waited for, or more
    """

    iterations: int
    since: int
    reward: PairedDifference
    judge: PairedDifference
    streak: int
    diverged: bool

    def words(self) -> str:
        """One line for the person whose run it is."""
        reward, judge = (f"{change.mean:+.3g}±{change.half:.2g}" for change in (self.reward, self.judge))
        return (
            f"reward and judge part: after {self.iterations} iterations the held-out reward is {reward} and the judge {judge} "
            f"against iteration {self.since}, for {self.streak} evaluations in a row: the model may be learning the reward "
            "instead of the motion"
        )


class Divergence:
    """Watches evaluations on the same held-out prompts and noise, each [P, G] by reward and by judge.

    An evaluation parts when, against the earlier one that the judge liked best, the reward has risen and the judge has
    fallen: both paired by prompt and noise, both by more than their interval. `patience` such evaluations in a row are a
    divergence; one that does not part ends the row. A rise and fall together from the first evaluation on is thus seen,
    and so is the judge that rises first and falls when the reward is overdone (Gao et al., Scaling laws for reward model
    overoptimization, 2023).

    Intervals are over prompt means (Student's t, P - 1 degrees of freedom), at a level of 0.05 divided by how many
    evaluations the best one was chosen among: the luckiest of many would otherwise make all others look fallen.
    Samples that are NaN in either evaluation are left out; with fewer than two prompts nothing parts.
    """

    def __init__(self, patience: int):
        self.patience, self.streak = patience, 0
        self.seen: list[tuple[int, np.ndarray, np.ndarray]] = []

    def observe(self, iterations: int, reward_PG: np.ndarray, judge_PG: np.ndarray) -> Verdict:
        """The evaluation after so many iterations; the first one of a run is usually that of the base model, after 0."""
        earlier = self.seen or [(iterations, reward_PG, judge_PG)]
        # On the samples that all earlier evaluations have, lest one looks best for what it lacks.
        common = np.isfinite([judge for _, _, judge in earlier]).all(axis=0)
        best = max(earlier, key=lambda entry: entry[2][common].mean() if common.any() else 0)
        reward, judge = (paired_change(now - then, len(earlier)) for now, then in ((reward_PG, best[1]), (judge_PG, best[2])))
        self.streak = self.streak + 1 if reward.rose and judge.fell else 0
        self.seen.append((iterations, np.asarray(reward_PG), np.asarray(judge_PG)))
        return Verdict(iterations, best[0], reward, judge, self.streak, self.streak >= self.patience)

    def state(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Everything seen, for a checkpoint: arrays `<i>/reward` and `<i>/judge` [P, G] of evaluation i, and plain JSON."""
        arrays = {f"{i}/{name}": values for i, (_, *both) in enumerate(self.seen) for name, values in zip(("reward", "judge"), both)}
        return arrays, {"streak": self.streak, "iterations": [iterations for iterations, _, _ in self.seen]}

    def load_state(self, arrays: Mapping[str, np.ndarray], facts: Mapping[str, Any]) -> None:
        """Judges from here on as the one did that `state()` was taken of. `arrays` may hold others besides."""
        self.streak = facts["streak"]
        self.seen = [(iterations, arrays[f"{i}/reward"], arrays[f"{i}/judge"]) for i, iterations in enumerate(facts["iterations"])]


def paired_change(difference_PG: np.ndarray, chosen_among: int = 1) -> PairedDifference:
    """Mean and interval over prompt means of [P, G] differences; NaN samples are left out, and prompts that have no other."""
    finite = np.isfinite(difference_PG)
    kept_PG = np.where(finite, difference_PG, np.nan)[finite.any(axis=1)]
    if len(kept_PG) < 2:
        return PairedDifference(np.nan, np.nan)
    means = np.nanmean(kept_PG, axis=1, dtype=np.float64)
    quantile = stdtrit(len(means) - 1, 1 - LEVEL / chosen_among / 2)
    return PairedDifference(float(means.mean()), float(quantile * means.std(ddof=1) / np.sqrt(len(means))))
