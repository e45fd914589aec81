"""One iteration's update: what scored groups teach, taken as gradients and made into steps, wherever these are computed."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from learner.advantage import extremes, group_advantages
from learner.config.settings import Objective
from learner.gradient import Lesson, Partial, SyncError
from learner.objective import shares
from learner.tally import IDLE, ScoredGroup, reward_metrics, update_metrics
from rollout.adapter import Adapter
from rollout.policy import Group


@dataclass(frozen=True)
class Update:
    """What one iteration's update leaves: metrics by name, rewards and advantages per group [P][G], the new adapter, and of the groups
    that taught, by their index, what was recomputed in the last step (`Tally.actions`)."""

    metrics: dict[str, float]
    rewards: list[np.ndarray]
    advantages: list[np.ndarray]
    adapter: Adapter
    recomputed: Mapping[int, dict[str, np.ndarray]] = field(default_factory=dict)


class Taught(Protocol):
    """Whoever is taught: a `Learner` in this process, or actors.

    adapter: its newest. anchor: what a KL is to, None the base model.
    recent: digests by version of those that groups may come from. objective and learning_rate: as they are
    now.
    """

    adapter: Adapter
    anchor: Adapter | None
    recent: Mapping[int, str]
    objective: Objective
    learning_rate: float

    def gradients(self, lessons: Mapping[int, Lesson]) -> list[Partial]:
        """One for each lesson, in the order given; by index of its group."""

    def step(self, partials: Sequence[Partial], first: bool) -> dict[str, float]:
        """An optimizer step on the sum of their gradients, in that order; none where there are none. Either way `adapter` is the
        next one. first: of its update. Returns grad_norm, and log_prob_gap where groups of older versions were recomputed."""


def update(scored: Sequence[ScoredGroup], taught: Taught, trained_samples: int | None = None) -> Update:
    """Advantages, objective, `updates_per_rollout` optimizer steps.

    trained_samples: of a group, its best and its worst, half of each; None = all. What they are compared with is the mean of all.

    Samples that are not finite fail alone. Raises SyncError, before any weight changes, for a group sampled under weights that are
    none of `taught.recent`, and when the log-probs recomputed are not the sampled ones.
    """
    objective, before = taught.objective, taught.adapter
    scored = [entry.settled() for entry in scored]
    behind = [staleness(entry.group, taught) for entry in scored]
    advantages = [group_advantages(entry.rewards, objective.advantage_eps, objective.advantage_clip) for entry in scored]
    lessons = _lessons([entry.group for entry in scored], advantages, behind, objective, before.sha256, trained_samples, taught.anchor)
    metrics = reward_metrics(scored, advantages) | IDLE | {"adapter_version": before.version, "staleness": max(behind)}
    gap, tolerance, recomputed = 0.0, 0.0, {}
    for step in range(objective.updates_per_rollout if lessons else 1):
        partials = taught.gradients(lessons)
        found = taught.step(partials, first=step == 0)
        gap = max([gap, found.pop("log_prob_gap", 0.0), *(partial.gap for partial in partials)])
        tolerance = max([tolerance, *(partial.tolerance for partial in partials)])
        metrics |= (update_metrics([partial.tally for partial in partials]) if partials else {}) | found
        recomputed = {i: _of_all(scored[i].group, lesson, partial) for (i, lesson), partial in zip(lessons.items(), partials)}
        lessons = {i: _next(lesson, partial, taught.adapter) for (i, lesson), partial in zip(lessons.items(), partials)}
    if tolerance:
        metrics["log_prob_tolerance"] = tolerance
    metrics |= {"log_prob_gap": gap, "learning_rate": taught.learning_rate, "clip_epsilon": objective.clip_epsilon}
    filled = [np.zeros(len(entry.group), np.float32) if a is None else a for a, entry in zip(advantages, scored)]
    numbers, rewards = {name: float(value) for name, value in metrics.items()}, [entry.rewards for entry in scored]
    return Update(numbers, rewards, filled, taught.adapter, recomputed)


def _lessons(
    groups: list[Group], advantages: list, behind: list[int], objective: Objective, adapter_sha256: str, trained_samples: int | None,
    anchor: Adapter | None,
) -> dict[int, Lesson]:
    """Of the groups that can teach, by their index. With no KL to it in the loss the reference is only watched, on one action of a
    sample."""
    rows = [None if advantage is None or trained_samples is None else extremes(advantage, trained_samples) for advantage in advantages]
    counted = [group.counted if own is None else group.counted[own] for group, own in zip(groups, rows)]
    teaching = [i for i in range(len(groups)) if advantages[i] is not None and counted[i].any()]
    parts = shares([counted[i] for i in teaching], objective) if teaching else []
    lessons = {}
    for i, share in zip(teaching, parts):
        actions = groups[i].log_probs.shape[1]
        watched = frozenset(range(actions) if objective.kl_penalty > 0 and anchor is None else [i % actions])
        advantage = advantages[i] if rows[i] is None else advantages[i][rows[i]]
        lessons[i] = Lesson(advantage, objective, share, len(teaching), watched, behind[i], True, adapter_sha256, rows[i], anchor=anchor)
    return lessons


def _of_all(group: Group, lesson: Lesson, partial: Partial) -> dict[str, np.ndarray]:
    """What was recomputed, of every sample of the group: NaN where it was not trained on."""
    if lesson.rows is None:
        return partial.tally.actions
    found = {name: np.full(group.log_probs.shape, np.nan, np.float32) for name in partial.tally.actions}
    for name, values in partial.tally.actions.items():
        found[name][lesson.rows] = values
    return found


def _next(lesson: Lesson, partial: Partial, adapter: Adapter) -> Lesson:
    """The same group again, after a step."""
    return dataclasses.replace(lesson, first=False, adapter_sha256=adapter.sha256, own=partial.own)


def staleness(group: Group, taught: Taught) -> int:
    """How many versions behind `taught.adapter` the group was sampled. SyncError for weights that are not the learner's."""
    behind, known = taught.adapter.version - group.adapter_version, taught.recent
    if known.get(group.adapter_version) == group.adapter_sha256:
        return behind
    found = f"a group was sampled under adapter version {group.adapter_version} ({group.adapter_sha256[:12]})"
    if group.adapter_version in known:
        why = f"whose weights are {known[group.adapter_version][:12]}: another run's, or damaged on their way"
    elif behind > 0:
        why = f"{behind} behind the learner's {taught.adapter.version}; at most {len(known) - 1} may be trained on (cluster.max_staleness)"
    else:
        why = f"which the learner, at version {taught.adapter.version}, never made"
    raise SyncError(f"{found}, {why}")
