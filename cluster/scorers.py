"""The reward actors: groups are spread over them as they arrive, and an actor that dies or hangs is replaced.

Which groups are scored together is fixed by their order among the requests, never by when they arrive, so the scores are
the same to the last bit however many actors there are.
"""

import time
from collections import Counter
from collections.abc import Callable

import ray
from ray.actor import ActorHandle

from cluster.calls import LOST, cause_of, get
from rollout.io.command import stop_if_asked
from rollout.io.errors import RunFailed

ATTEMPTS = 3  # at the same groups, before a run gives up


class Scorers:
    """Reward actors, and how to get another one."""

    def __init__(
        self, actors: list[ActorHandle], another: Callable[[], ActorHandle], batch: int, deadline_s: float, tell: Callable[[str], None]
    ):
        """another: a new actor, started; batch: groups in one call; deadline_s: how long all may go without an answer; tell: is
        given a line about every loss."""
        self.actors, self.another, self.batch, self.deadline_s, self.tell = actors, another, batch, deadline_s, tell

    def begin(self, method: str, groups: int) -> "Scoring":
        """Work on so many groups by `method` of the actors."""
        return Scoring(self, method, groups)


class Scoring:
    """One result for each of a number of groups; calls start as soon as their groups are added."""

    def __init__(self, scorers: Scorers, method: str, groups: int):
        self.scorers, self.method = scorers, method
        self.blocks = [range(first, min(first + scorers.batch, groups)) for first in range(0, groups, scorers.batch)]
        self.added: dict[int, ray.ObjectRef] = {}
        self.running: dict[ray.ObjectRef, int] = {}  # call to block, in the order of submission
        self.lost: Counter[int] = Counter()

    def add(self, index: int, group: ray.ObjectRef) -> None:
        self.added[index] = group
        block = index // self.scorers.batch
        if all(i in self.added for i in self.blocks[block]):
            self._submit(block)

    def results(self) -> list:
        """By group, in request order, once all were added. Raises the exception of an actor, and RunFailed when actors keep
        dying or hanging over the same groups."""
        done, heard = {}, time.monotonic()
        while self.running:
            stop_if_asked()
            ready, _ = ray.wait(list(self.running), num_returns=1, timeout=min(1.0, self.scorers.deadline_s))
            if not ready:
                if time.monotonic() - heard < self.scorers.deadline_s:
                    continue
                heard = time.monotonic()
                for actor in {self._actor(block) for block in self.running.values()}:
                    self._replace(actor, f"gave no answer within cluster.reward_deadline, {self.scorers.deadline_s:g} s")
                continue
            block, heard = self.running[ready[0]], time.monotonic()
            try:
                done[block] = get(ready[0])
            except LOST as death:
                self._replace(self._actor(block), cause_of(death, None))
            else:
                del self.running[ready[0]]
        return [result for block in range(len(self.blocks)) for result in done[block]]

    def _submit(self, block: int) -> None:
        call = getattr(self.scorers.actors[self._actor(block)], self.method)
        self.running[call.remote(*(self.added[i] for i in self.blocks[block]))] = block

    def _actor(self, block: int) -> int:
        return block % len(self.scorers.actors)

    def _replace(self, actor: int, what: str) -> None:
        """A fresh actor does again all that the old one left; the first of it is what the old one was lost over."""
        left = {ref: block for ref, block in self.running.items() if self._actor(block) == actor}
        first = next(iter(left.values()))
        self.lost[first] += 1
        if self.lost[first] == ATTEMPTS:
            over = f"over the same motions (request {self.blocks[first][0]})"
            raise RunFailed(f"reward: its actor was lost {ATTEMPTS} times {over}: the last one {what}")
        self.scorers.tell(f"a reward actor {what}: it is replaced, its work is done again")
        ray.kill(self.scorers.actors[actor])
        self.scorers.actors[actor] = self.scorers.another()
        for ref, block in left.items():
            del self.running[ref]
            self._submit(block)
