"""The update of a run on its actors: samplers take the gradients of what they made, the learner sums them, steps, and witnesses.

Gradients are summed in request order, so the result depends neither on how many samplers there are nor on who did what.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import ray
from ray.actor import ActorHandle

from cluster.samplers import Job, Step
from learner.gradient import Lesson, Partial
from rollout.adapter import Adapter

if TYPE_CHECKING:
    from cluster.training_pool import ScoredRollout, TrainingPool

WITNESSED = 8  # samplers of which the learner recomputes a part, in every optimizer step: about what it has time for meanwhile


class Updating:
    """See `learner.update.Taught`: one update on a rollout's groups, from its first gradient to its last step."""

    def __init__(self, pool: TrainingPool, rollout: ScoredRollout):
        self.pool, self.made, self.makers = pool, rollout.made, rollout.makers
        self.seed, self.objective, self.learning_rate = pool.config.seed, pool.objective, pool.learned.facts["settings"]["learning_rate"]

    @property
    def adapter(self) -> Adapter:
        return self.pool.adapter()

    @property
    def anchor(self) -> Adapter | None:
        return self.pool.learned.anchor()

    @property
    def recent(self) -> Mapping[int, str]:
        return {int(version): sha256 for version, sha256 in self.pool.learned.facts["recent"].items()}

    def gradients(self, lessons: Mapping[int, Lesson]) -> list[Partial]:
        """By the samplers, which hold `adapter`."""
        if self.pool.published.adapter.sha256 != self.adapter.sha256:  # after an earlier step of this update
            self.pool.publish(self.adapter)
        self._lessons = list(lessons.items())
        self._take_gradients()
        return self._partials

    def step(self, partials: Sequence[Partial], first: bool) -> dict[str, float]:
        """By the learner, once it has seen what it is to witness."""

        def send(actor: ActorHandle) -> ray.ObjectRef:
            gaps = [self._witness(actor, piece) for piece in self._checked]
            return actor.step.remote(self.seed, first, [partial.sha256 for partial in self._partials], len(gaps), *gaps, *self._buffers)

        started = time.monotonic()
        found = self.pool.learner.update(self.seed, send, self._take_gradients)
        self.pool.spans.add("learner", "step", started)
        return found

    def _take_gradients(self) -> None:
        """Also again, when a node took some with it."""
        count, samplers = len(self._lessons), self.pool.samplers
        self._partials, self._buffers, takers = [None] * count, [None] * count, [None] * count
        self._checked, self._asked = [], {}
        unseen = sorted(samplers.all, key=lambda sampler: (sampler.step is Step.PENDING, sampler.witnessed))[:WITNESSED]

        def send(actor: ActorHandle, piece: int) -> ray.ObjectRef:
            index, lesson = self._lessons[piece]
            partial, self._buffers[piece] = actor.gradient.remote(lesson, self.made[index])
            takers[piece] = actor
            return partial

        def take(piece: int, ref: ray.ObjectRef, partial: Partial, done: int) -> None:
            self._partials[piece], lesson = partial, self._lessons[piece][1]
            taker = next((sampler for sampler in unseen if sampler.actor is takers[piece]), None)
            if taker is not None:
                unseen.remove(taker)
                taker.witnessed = self.adapter.version + 1
            if taker is not None or (lesson.behind and lesson.first):  # what older weights made no sampler can check
                self._checked.append(piece)
                self._witness(self.pool.learner.actor, piece)

        samplers.begin(Job(self.pool.published, count, send, take, "gradient", [self.makers[index] for index, _ in self._lessons]))
        samplers.finish(self.pool)

    def _witness(self, actor: ActorHandle, piece: int) -> ray.ObjectRef:
        """The gap that the learner finds, asked for once of each actor that is the learner."""
        if (actor, piece) not in self._asked:
            (index, lesson), partial = self._lessons[piece], self._partials[piece]
            part = (self.adapter.version + index) % len(partial.sketches)
            self._asked[actor, piece] = actor.witness.remote(self.seed, lesson, self.made[index], partial, part)
        return self._asked[actor, piece]
