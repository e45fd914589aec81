"""The monitor: reads every iteration's metrics and says, in plain sentences, what goes wrong, why, and what is to be done.

What it finds depends on metrics alone, so a repeated run, or a resumed one, finds the same. Only throughput depends on
time, and that can do no more than warn.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from learner.config.settings import Health, Objective, Optimizer
from learner.watch.rules import RULES, History, Rule, Standing, throughput_rule


class Action(Enum):
    """What a finding asks of the run, the mildest first.

    ROLL_BACK ends the run at its last good checkpoint: runs repeat exactly, so going on from there with the same settings
    would lead to the same place.
    """

    WARN = "warn"
    ADAPT = "adapt"
    STOP = "stop"
    ROLL_BACK = "roll_back"


@dataclass(frozen=True)
class Finding:
    """What was seen at an iteration, its likely cause and a remedy, in words. `level`: 1 and up, worse.

    change: for ADAPT, the new values, not factors, of any of learning_rate, kl_penalty and both clips; else empty.
    """

    name: str
    iteration: int
    level: int
    action: Action
    sentence: str
    cause: str
    remedy: str
    change: dict[str, float] = field(default_factory=dict)

    def words(self) -> str:
        """One line for the person whose run it is."""
        done = {
            Action.WARN: "",
            Action.ADAPT: f"; from here on {', '.join(f'{name} {value:g}' for name, value in self.change.items())}",
            Action.STOP: "; the run stops here",
            Action.ROLL_BACK: "; the run stops and goes back to its last good checkpoint",
        }[self.action]
        return f"{self.name} at iteration {self.iteration + 1}: {self.sentence}. Likely cause: {self.cause}. Remedy: {self.remedy}{done}"


# Of these there is nothing to choose: the learner itself refuses both, and a run that is read afterwards may have had neither.
ALWAYS: dict[str, tuple[Action, ...]] = {"log_prob_gap": (Action.STOP,), "non_finite": (Action.STOP,)}
# By finding and level, where it is not WARN. The last of a tuple holds for all higher levels.
PRESETS: dict[str, dict[str, tuple[Action, ...]]] = {
    "default": {},
    "original_ladder": {"log_ratio": (Action.ADAPT, Action.ADAPT, Action.ROLL_BACK)},
}
RUNGS = 2


def ladder(rung: int, objective: Objective, optimizer: Optimizer) -> dict[str, float]:
    """The settings on rung 1 or 2, from those the run began with.

    The original went to learning rates of 1e-6 and 5e-7; from the 1e-5 that is usual for all weights, those are a tenth and
    a twentieth. Its KL penalty was 0.1, which is the least here on either rung; a penalty that is there already doubles.
    """
    change = {"learning_rate": optimizer.learning_rate * (0.1, 0.05)[rung - 1], "kl_penalty": max(2 * objective.kl_penalty, 0.1)}
    if rung == 1:
        return change
    clips = {name: getattr(objective, name) for name in ("clip_epsilon", "clip_epsilon_high")}
    return change | {name: clip / 2 for name, clip in clips.items() if clip is not None}


class Monitor:
    """Watches one run. `rung`: how far down the ladder it has adapted; never up again by itself."""

    def __init__(self, settings: Health, objective: Objective, optimizer: Optimizer):
        """objective, optimizer: those the run began with, from which the ladder's values follow."""
        self.objective, self.optimizer = objective, optimizer
        rules = (*RULES, throughput_rule())
        self.actions = {rule.name: _actions(settings, rule.name) for rule in rules}
        self._rules = [rule for rule in rules if self.actions[rule.name]]
        self.rung = 0
        self._history = History()
        self._standing = Standing()

    def observe(self, iteration: int, metrics: Mapping[str, float]) -> list[Finding]:
        """What begins, or gets worse, with this iteration (counted from 0); see `Standing`."""
        lowest = min(self.rung + 1, RUNGS)  # one rung an iteration, whatever is found
        found = [finding for rule in self._rules if (finding := self._look(rule, iteration, metrics, lowest))]
        self._history.add(metrics)
        return found

    def _look(self, rule: Rule, iteration: int, metrics: Mapping[str, float], lowest: int) -> Finding | None:
        number = rule.measure(metrics, self._history)
        level = rule.level(number)
        before = self._standing.take(rule.name, level)
        if not level:
            return None
        action, change = self._action(rule.name, level), {}
        if action is Action.ADAPT and self.rung < min(level, lowest):
            self.rung += 1
            change = ladder(self.rung, self.objective, self.optimizer)
        elif level <= before:
            return None
        elif action is Action.ADAPT:
            action = Action.WARN  # the ladder is this far down already
        return Finding(rule.name, iteration, level, action, rule.sentence(number, metrics), rule.cause, rule.remedy, change)

    def _action(self, name: str, level: int) -> Action:
        actions = self.actions[name]
        return actions[min(level, len(actions)) - 1]

    @property
    def good(self) -> bool:
        """Whether a checkpoint of now is one to go back to: nothing is open that asks for more than a warning."""
        return all(self._action(name, level) is Action.WARN for name, (level, _) in self._standing.open.items())

    @property
    def change(self) -> dict[str, float]:
        """The settings in force by adaptation: {} on rung 0."""
        return ladder(self.rung, self.objective, self.optimizer) if self.rung else {}

    def state(self) -> dict[str, Any]:
        """Plain JSON for a checkpoint. Throughput is left out: a time is not the same twice, a checkpoint is."""
        opened = {name: list(entry) for name, entry in self._standing.open.items() if name != "throughput"}
        return {"rung": self.rung, "open": opened, "recent": dict(self._history.recent), "first": dict(self._history.first)}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Goes on where `state()` was taken, under these settings; throughput is learnt anew."""
        self.rung = state["rung"]
        self._standing.open = {name: list(entry) for name, entry in state["open"].items() if self.actions.get(name)}
        self._history = History(dict(state["recent"]), dict(state["first"]))


def _actions(settings: Health, name: str) -> tuple[Action, ...]:
    """What the settings ask for, by level; () = it is not looked for."""
    if name in ALWAYS:
        return ALWAYS[name]
    if chosen := getattr(settings, name):
        return () if chosen == "ignore" else (Action(chosen),)
    return () if settings.preset == "none" else PRESETS[settings.preset].get(name, (Action.WARN,))
