"""What decides about a run while it trains: health by its metrics, held-out judgement by its evaluations."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from learner.config.settings import Config
from learner.watch.health import Action, Monitor
from learner.watch.heldout import HeldOut
from rewards.family import Examination


class Watcher:
    """`change`: of the learner's settings, that the last iteration's findings ask for. `ending`: STOP or ROLL_BACK, once a
    warning ended the run. `warnings`: all so far, each also given to `tell`."""

    def __init__(self, config: Config, quality: Callable[[list[Examination]], dict[str, float | None]], tell: Callable[[str], None]):
        self.on_divergence, self._tell = config.evaluate.on_divergence, tell
        self.monitor = Monitor(config.health, config.objective, config.optimizer)
        self.heldout = HeldOut(config.evaluate.patience, quality)
        self.change: dict[str, float] = {}
        self.ending: Action | None = None
        self.warnings: list[str] = []

    def judged(self, iterations: int, results: list[Examination]) -> dict[str, float]:
        """Held-out prompts examined after so many iterations: their metrics. A warning when reward and judge part."""
        metrics, warning = self.heldout.observe(iterations, results)
        if warning:
            stops = self.on_divergence == "stop"
            self._warn(f"{warning}{'; stopped there (evaluate.on_divergence)' if stops else ''}")
            self.ending = Action.STOP if stops else self.ending
        return metrics

    def iteration(self, iteration: int, metrics: Mapping[str, float]) -> None:
        """The metrics of an iteration, counted from 0."""
        self.change = {}
        for finding in self.monitor.observe(iteration, metrics):
            self._warn(finding.words())
            self.change |= finding.change
            if finding.action in (Action.STOP, Action.ROLL_BACK) and self.ending is not Action.ROLL_BACK:
                self.ending = finding.action

    @property
    def healthy(self) -> bool:
        """Whether the run may be rolled back to where it is."""
        return self.monitor.good

    def _warn(self, text: str) -> None:
        self.warnings.append(text)
        self._tell(text)

    def state(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """For a checkpoint: arrays by name, and plain JSON."""
        arrays, heldout = self.heldout.state()
        return arrays, {"heldout": heldout, "health": self.monitor.state(), "warnings": self.warnings}

    def load_state(self, arrays: Mapping[str, np.ndarray], facts: Mapping[str, Any]) -> None:
        """Goes on where `state()` was taken."""
        self.heldout.load_state(arrays, facts["heldout"])
        self.monitor.load_state(facts["health"])
        self.warnings = list(facts["warnings"])
