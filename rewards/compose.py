"""Many components to one reward: normalised in their group, weighted, summed; in one place and in request order."""

from collections.abc import Sequence

import numpy as np

from rewards.components import Component
from rewards.normalise import AdaptivePercentile, normalise
from rewards.scoring import Scores
from rollout.io.errors import RunFailed


class Composer:
    """Turns the scores of groups into the rewards that are trained on. Its only state is the histories of `percentile`."""

    def __init__(self, components: dict[str, Component]):
        self.components = components
        self.adaptive = {name: AdaptivePercentile() for name, c in components.items() if c.normalise == "percentile"}

    def total(self, scores: Sequence[Scores]) -> list[np.ndarray]:
        """float32 [G] of each group: the sum of weight x normalised value. NaN where any component failed.

        An optional component, such as a judge behind a network, that failed on a sample which the others scored is dropped for
        that group: all its samples are compared without it, and its history learns nothing. NaN where none is left.

        Groups come in request order: the histories grow in it. A failed sample counts in no component's normalisation.
        Raises RunFailed when every sample of them failed.
        """
        totals = [self._total(each.values) for each in scores]
        if totals and not any(np.isfinite(total).any() for total in totals):
            raise RunFailed(f"reward: every sample failed, the first one: {scores[0].failures[0]}")
        return totals

    def state(self) -> dict:
        """What a checkpoint keeps, by component."""
        return {name: adaptive.state() for name, adaptive in self.adaptive.items()}

    def load_state(self, state: dict) -> None:
        for name, adaptive in self.adaptive.items():
            adaptive.load_state(state[name])

    def _total(self, values: dict[str, np.ndarray]) -> np.ndarray:
        finite = {name: np.isfinite(value) for name, value in values.items()}
        samples = np.ones(len(next(iter(finite.values()))), bool)
        scored_G = np.logical_and.reduce([samples, *(finite[name] for name, c in self.components.items() if not c.optional)])
        kept = {name: c for name, c in self.components.items() if not c.optional or finite[name][scored_G].all()}
        total_G = np.where(scored_G & bool(kept), 0.0, np.nan)
        for name, component in kept.items():
            values_G = np.where(scored_G, values[name], np.nan)
            adaptive = self.adaptive.get(name)
            total_G += component.weight * (adaptive(values_G) if adaptive else normalise(component.normalise, values_G))
        return total_G.astype(np.float32)


def raw_total(components: dict[str, Component], values: dict[str, np.ndarray]) -> np.ndarray:
    """The sum of weight x raw value, float32 [N]: a yardstick that means the same in every group and at every time."""
    parts = [component.weight * values[name].astype(np.float64) for name, component in components.items()]
    return np.sum(parts, axis=0).astype(np.float32)


def component_metrics(scores: Sequence[Scores]) -> dict[str, float]:
    """Mean and std of every component's raw values over the samples of all groups, and how many of them it failed on; NaN
    for a component that failed on all."""
    metrics = {}
    for name in scores[0].values:
        values = np.concatenate([each.values[name] for each in scores]).astype(np.float64)
        scored = values[np.isfinite(values)]
        metrics[f"component_{name}_mean"] = float(scored.mean()) if len(scored) else float("nan")
        metrics[f"component_{name}_std"] = float(scored.std()) if len(scored) else float("nan")
        metrics[f"component_{name}_failed"] = float(len(values) - len(scored))
    return metrics
