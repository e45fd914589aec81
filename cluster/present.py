"""What every actor is at just now, told at most once a second while the driver waits: who looks can tell a slow step from a hung one."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cluster.remote_learner import RemoteLearner
    from cluster.samplers import Samplers
    from cluster.scorers import Scorers
    from cluster.spans import Spans

EVERY_S = 1.0


class Present:
    """`doing`: what the samplers' work is for, in a word."""

    def __init__(self, spans: Spans, tell: Callable[[Mapping[str, Any]], None]):
        self.doing = ""
        self._spans, self._tell, self._next = spans, tell, 0.0

    def take(self, samplers: Samplers, scorers: Scorers, learner: RemoteLearner) -> None:
        """Tells `at`, in seconds since 1970, what is `doing`, how much of it is `done` of how much, for how long all were `quiet`, and of
        all `actors` that were asked something what that is, for how many seconds, and what it usually takes."""
        if time.monotonic() < self._next:
            return
        self._next = time.monotonic() + EVERY_S
        job, done, pieces = samplers.progress
        at_work = [*samplers.at_work(), *scorers.at_work(), *learner.at_work()]
        now = time.monotonic()  # after all of them, or one that was seen just then were at it for less than nothing
        actors = [
            {"actor": actor, "what": what, "seconds": round(now - since, 2), "usual": self._spans.usual(what, *size)}
            for actor, what, since, *size in at_work
        ]  # fmt: skip
        doing = self.doing if job == "sample" else job
        self._tell({"at": time.time(), "doing": doing, "done": done, "of": pieces, "quiet": self._spans.quiet, "actors": actors})
