"""The reward actors: groups are spread over them as they arrive, and an actor that dies or hangs is replaced.

Which groups are scored together is fixed by their order among the requests, never by when they arrive, so the scores are
the same to the last bit however many actors there are.
"""

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import ray
from ray.actor import ActorHandle

from cluster.calls import LOST, Whereabouts, cause_of, epitaph, get
from cluster.spans import Spans
from rollout.io.command import stop_if_asked
from rollout.io.errors import RunFailed

ATTEMPTS = 3  # at the same groups, before a run gives up


@dataclass(frozen=True)
class Call:
    """A block of a scoring's groups, at the actor in that place; `since` it was asked."""

    scoring: "Scoring"
    block: int
    place: int
    since: float


class Scorers:
    """Reward actors, and how to get another one. Whoever waits for a scoring moves on all that are under way."""

    def __init__(
        self, actors: list[ActorHandle], another: Callable[[], ActorHandle], batch: int, deadline_s: float, tell: Callable[[str], None],
        turn: Callable = lambda refs, until: ray.wait(refs, num_returns=1, timeout=max(0.0, until - time.monotonic())),
    ):  # fmt: skip
        """another: a new actor, started; batch: groups in one call; deadline_s: how long all may go without an answer; tell: is
        given a line about every loss; turn: what goes on while one of some answers is waited for, until a time (`Samplers.turn`)."""
        self._turn, self._free = turn, {}  # since when the actor in a place has had nothing else to do
        self._at: dict[int, tuple[ray.ObjectRef, float]] = {}  # by place, what it was last found at, and since when
        self.actors, self.another, self.batch, self.deadline_s, self.tell = actors, another, batch, deadline_s, tell
        self.whereabouts = [actor.whereabouts.remote() for actor in actors]
        self.running: dict[ray.ObjectRef, Call] = {}  # of all scorings, in the order of submission
        self.heard = 0.0  # when an answer came, or somebody began to wait for one

    def begin(self, method: str, groups: int, spans: Spans | None = None) -> "Scoring":
        """Work on so many groups by `method` of the actors; what was answered is added to spans."""
        return Scoring(self, method, groups, spans or Spans())

    def submit(self, scoring: "Scoring", block: int) -> None:
        place = block % len(self.actors)
        ref = getattr(self.actors[place], scoring.method).remote(*(scoring.added[i] for i in scoring.blocks[block]))
        self.running[ref] = Call(scoring, block, place, time.monotonic())

    def turn(self) -> None:
        """Waits for an answer, at most a second. Raises the exception of an actor, and RunFailed when actors keep dying or hanging
        over the same groups."""
        stop_if_asked()
        until = time.monotonic() + min(1.0, self.deadline_s)
        self._turn(list(self.running), until)
        ready, _ = ray.wait(list(self.running), num_returns=1, timeout=0)
        if not ready:
            if time.monotonic() - self.heard >= self.deadline_s:
                for place in {call.place for call in self.running.values()}:
                    hung = f"gave no answer within cluster.reward_deadline, {self.deadline_s:g} s"
                    self._replace(place, hung + epitaph(self._whereabouts(place)))
                self.heard = time.monotonic()
            return
        call, self.heard = self.running[ready[0]], time.monotonic()
        try:
            call.scoring.done[call.block] = get(ready[0])
            began = max(call.since, self._free.get(call.place, 0.0))
            call.scoring.spans.add(f"reward {call.place}", call.scoring.method, began)
            self._free[call.place] = self.heard
        except LOST as death:
            self._replace(call.place, cause_of(death, self._whereabouts(call.place)))
        finally:
            self.running.pop(ready[0], None)

    def at_work(self) -> list[tuple[str, str, float]]:
        """Which actor scores, what, and since when (`time.monotonic`), as near as it is asked for: answers are read once all is sampled,
        and until then an actor is at the first that it has not given."""
        waiting = ray.wait(list(self.running), num_returns=len(self.running), timeout=0)[1] if self.running else []
        first = {self.running[ref].place: ref for ref in reversed(waiting)}
        known = {ref: since for ref, since in self._at.values()}
        self._at = {place: (ref, known.get(ref, time.monotonic())) for place, ref in sorted(first.items())}
        return [(f"reward {place}", self.running[ref].scoring.method, since) for place, (ref, since) in self._at.items()]

    def _whereabouts(self, place: int) -> Whereabouts | None:
        try:
            return get(self.whereabouts[place], 0)
        except (*LOST, TimeoutError):  # it never got that far
            return None

    def _replace(self, place: int, what: str) -> None:
        """A fresh actor does again all that the old one left; the first of it is what the old one was lost over."""
        left = {ref: call for ref, call in self.running.items() if call.place == place}
        first = next(iter(left.values()))
        lost, groups = first.scoring.lost, first.scoring.blocks[first.block]
        lost[first.block] += 1
        if lost[first.block] == ATTEMPTS:
            over = f"over the same motions (request {groups[0]})"
            raise RunFailed(f"reward: its actor was lost {ATTEMPTS} times {over}: the last one {what}")
        self.tell(f"a reward actor {what}: it is replaced, its work is done again")
        ray.kill(self.actors[place])
        self.actors[place] = self.another()
        self.whereabouts[place] = self.actors[place].whereabouts.remote()
        for ref, call in left.items():
            del self.running[ref]
            self.submit(call.scoring, call.block)


class Scoring:
    """One result for each of a number of groups; calls start as soon as their groups are added."""

    def __init__(self, scorers: Scorers, method: str, groups: int, spans: Spans):
        self.scorers, self.method, self.spans = scorers, method, spans
        self.blocks = [range(first, min(first + scorers.batch, groups)) for first in range(0, groups, scorers.batch)]
        self.added: dict[int, ray.ObjectRef] = {}
        self.done: dict[int, list] = {}  # by block
        self.lost: Counter[int] = Counter()

    def add(self, index: int, group: ray.ObjectRef) -> None:
        self.added[index] = group
        block = index // self.scorers.batch
        if all(i in self.added for i in self.blocks[block]):
            self.scorers.submit(self, block)

    def results(self) -> list:
        """By group, in request order, once all were added. Raises as `Scorers.turn`."""
        self.scorers.heard = time.monotonic()
        while len(self.done) < len(self.blocks):
            self.scorers.turn()
        return [result for block in range(len(self.blocks)) for result in self.done[block]]
