"""The samplers: work is handed to whichever is idle, one that dies or hangs is replaced, and the others go on meanwhile.

Everything the driver waits for goes through `turn`, so that samplers are moved on while it waits for something else. Several pools
may share them, each with an adapter of its own: a sampler takes no work before it has acknowledged the adapter that it is for.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

import ray
from ray.actor import ActorHandle

from cluster.calls import LOST, Whereabouts, cause_of, epitaph, get
from cluster.spans import Spans
from learner.gradient import SyncError
from rollout.adapter import Adapter
from rollout.io.command import stop_if_asked
from rollout.io.errors import RunFailed
from rollout.io.settings import Count

START_DEADLINE_S = 300.0
ATTEMPTS = 3  # of one sampler in a row, or at one piece of work, before it is given up


class Step(Enum):
    PENDING = "waiting for room in the cluster"
    STARTING = "building its policy"
    EMPTY = "without the current adapter"
    LOADING = "loading the current adapter"
    IDLE = "ready for work"
    BUSY = "at work"


DOING = {Step.STARTING: "load", Step.LOADING: "take adapter"}


@dataclass(frozen=True, eq=False)
class Published:
    """An adapter in the object store. pool: whose it is, by identity; what is done under it is told to its `spans`."""

    adapter: Adapter
    ref: ray.ObjectRef
    pool: Any


@dataclass
class Sampler:
    """One place for a sampler; the actor in it changes when it is replaced. `call`: what it has been asked, since `since`."""

    actor: ActorHandle
    step: Step = Step.PENDING
    call: ray.ObjectRef | None = None
    since: float = 0.0
    whereabouts: Whereabouts | None = None
    piece: tuple["Job", int] | None = None
    given: Published | None = None  # what it loads or holds
    losses: int = 0  # in a row, without a piece of work done in between
    witnessed: int = 0  # the adapter version that a gradient of it was last recomputed for

    def ask(self, step: Step, call: ray.ObjectRef | None) -> None:
        self.step, self.call, self.since = step, call, time.monotonic()


class Job:
    """Pieces of work 0 .. pieces-1 under what was published: `send(actor, i)` starts one, `take(i, ref, value, done)` is given each
    as it arrives, with how many have. what: it is, in a word. sizes: of the pieces, 1 each where none are
    given. homes: by piece, the actor that has what it needs already. `waited`:
    seconds that nothing else was done meanwhile."""

    def __init__(
        self, published: Published, pieces: int, send: Callable, take: Callable, what: str = "work", homes: Sequence[ActorHandle] = (),
        sizes: Sequence[int] = (),
    ):  # fmt: skip
        self.waiting, self.left, self.pieces, self.send, self.take, self.homes = list(range(pieces)), pieces, pieces, send, take, homes
        self.published, self.what, self.sizes = published, what, sizes or [1] * pieces
        self.lost: Counter[int] = Counter()
        self.waited = 0.0

    def next(self, actor: ActorHandle) -> int:
        """The first of what waits that is at home with `actor`; else the first of all."""
        own = [piece for piece in self.waiting if self.homes and self.homes[piece] is actor]
        piece = (own or self.waiting)[0]
        self.waiting.remove(piece)
        return piece


class Samplers:
    """A place for each sampler that there may be. Those that the cluster has no room for wait in their places until a node comes; one
    that is lost with its node waits again."""

    def __init__(
        self, start: Callable[[], ActorHandle], build: Callable[[ActorHandle], ray.ObjectRef], count: Count,
        deadline_s: float, tell: Callable[[str], None], spans: Spans | None = None, turned: Callable[[], None] = lambda: None,
    ):  # fmt: skip
        """start: a new actor; build: has it build its policy; count: fewer than its `low` do not begin; deadline_s: for any one
        answer; tell: is given a line about every loss, and another number; spans: what was answered is added there; turned: called at
        every turn."""
        self._turned = turned
        self._start, self.build, self.count, self.deadline_s, self._tell = start, build, count, deadline_s, tell
        self.floor = 1 if count.fixed else count.low  # fewer end the run
        self._spans, self._told = spans or Spans(), count.high
        self._newest: Published | None = None
        self._jobs: list[Job] = []  # that are not done; one of a pool
        self._done: Job | None = None  # the last of the others
        self.all = [Sampler(start()) for _ in range(count.high)]
        for sampler in self.all:
            sampler.ask(Step.PENDING, sampler.actor.whereabouts.remote())

    def await_all(self) -> None:
        """Until every sampler that has found room has its policy and an adapter. RunFailed when too few have."""
        end, under_way = time.monotonic() + START_DEADLINE_S, (Step.STARTING, Step.LOADING)
        while self._placed() < min(self.count.low, len(self.all)) or any(sampler.step in under_way for sampler in self.all):
            if time.monotonic() > end:
                offer = ray.cluster_resources()
                raise RunFailed(f"the samplers did not start within {START_DEADLINE_S:.0f} s; the cluster offers {offer}")
            self.turn()

    def rebuild(self, build: Callable[[ActorHandle], ray.ObjectRef]) -> None:
        """Every sampler builds another policy; it gets no work before the next `load`."""
        for job in [*self._jobs]:
            self.finish(job.published.pool)
        self.build, self._newest = build, None
        for sampler in self.all:
            if sampler.step is not Step.PENDING:
                sampler.ask(Step.STARTING, build(sampler.actor))
        self.await_all()

    def load(self, adapter: Adapter, pool: Any) -> Published:
        """One `ray.put`; every sampler loads it and acknowledges the digest of what it then holds.

        What the pool has in flight is finished first: a sampler never changes weights inside a rollout. Samplers that are being
        replaced, or at work for another pool, load it before they work for this one. Raises SyncError when a sampler holds
        anything else afterwards.
        """
        self.finish(pool)
        self._newest = published = Published(adapter, ray.put(adapter), pool)
        self._hand_out()
        working = (Step.IDLE, Step.BUSY)
        while any(s.step is Step.LOADING for s in self.all) or (ready := sum(s.step in working for s in self.all)) < self.floor:
            self.turn()
        if ready != self._told:
            self._told = ready
            self._tell(f"samplers: {ready} of {self.count}")
        return published

    def begin(self, job: Job) -> None:
        """Queues `job`, once the one before of its pool is finished. Raises SyncError before any adapter is loaded."""
        if job.published is None:
            raise SyncError("samplers that were given no adapter were asked to sample")
        self.finish(job.published.pool)
        if job.left:  # an evaluation that goes on may have nothing left
            self._jobs.append(job)
        self._hand_out()

    def finish(self, pool: Any) -> None:
        """Until what the pool began is done, which goes before what others did."""
        started = time.perf_counter()
        job = next((job for job in self._jobs if job.published.pool is pool), None)
        self._jobs.sort(key=lambda other: other is not job)
        while job in self._jobs:
            self.turn()
        if job is not None:
            job.waited += time.perf_counter() - started

    def turn(self, others: Iterable[ray.ObjectRef] = (), deadline: float = float("inf")) -> None:
        """Waits for an answer of any sampler or one of `others`, or a deadline (of `time.monotonic`), and moves the samplers on.
        Returns at least every second."""
        stop_if_asked()
        asked = {sampler.call: sampler for sampler in self.all if sampler.call is not None}
        until = min([deadline, time.monotonic() + 1.0, *(self._due(sampler) for sampler in asked.values())])
        ready, _ = ray.wait([*asked, *others], num_returns=1, timeout=max(0.0, until - time.monotonic()))
        for ref in ready:
            if ref in asked:
                self._answered(asked[ref], ref)
        now = time.monotonic()
        for sampler in list(self.all):
            if sampler.call is not None and self._due(sampler) <= now and not ray.wait([sampler.call], timeout=0)[0]:
                if sampler.step is Step.PENDING:
                    offer = ray.cluster_resources()
                    raise RunFailed(f"cluster.samplers: fewer than {self.floor} for {START_DEADLINE_S:.0f} s; the cluster offers {offer}")
                hung = f"gave no answer within cluster.sampler_deadline, {self.deadline_s:g} s ({sampler.step.value})"
                self._lose(sampler, hung + epitaph(sampler.whereabouts))
        self._hand_out()
        self._turned()

    def at_work(self) -> list[tuple[str, str, float, int]]:
        """Who was asked something, what, since when (`time.monotonic`), and of what size. Who waits for room is at nothing."""
        return [
            (f"sampler {i}", self._what(sampler), sampler.since, self._size(sampler))
            for i, sampler in enumerate(self.all) if sampler.call is not None and sampler.step is not Step.PENDING
        ]  # fmt: skip

    @property
    def progress(self) -> tuple[str, int, int]:
        """Of the job that goes first, or went last: what it is, how many of its pieces are done, and of how many."""
        job = next(iter(self._jobs), self._done)
        return (job.what, job.pieces - job.left, job.pieces) if job else ("", 0, 0)

    def _what(self, sampler: Sampler) -> str:
        return sampler.piece[0].what if sampler.step is Step.BUSY else DOING.get(sampler.step, "start")

    def _size(self, sampler: Sampler) -> int:
        return sampler.piece[0].sizes[sampler.piece[1]] if sampler.step is Step.BUSY else 1

    def _due(self, sampler: Sampler) -> float:
        if sampler.step is not Step.PENDING:
            return sampler.since + self.deadline_s
        # A node may join at any time: wait for it as long as enough others are there, and from the last loss on.
        lost = max(other.since for other in self.all if other.step is Step.PENDING)
        return float("inf") if self._placed() >= self.floor else lost + START_DEADLINE_S

    def _placed(self) -> int:
        """Samplers that do not wait for room."""
        return sum(sampler.step is not Step.PENDING for sampler in self.all)

    def _answered(self, sampler: Sampler, ref: ray.ObjectRef) -> None:
        try:
            value = get(ref)
            if sampler.step is Step.LOADING:
                self._verify(value, sampler.given.adapter)
        except LOST as death:
            self._lose(sampler, cause_of(death, sampler.whereabouts))
            return
        except Exception:  # it could not do what it was asked, and nor could another one
            sampler.ask(Step.EMPTY, None)
            sampler.piece = None
            self._jobs.clear()
            raise
        if sampler.step is not Step.PENDING:
            spans = self._spans if sampler.step is Step.STARTING else sampler.given.pool.spans
            spans.add(f"sampler {self.all.index(sampler)}", self._what(sampler), sampler.since, self._size(sampler))
        if sampler.step is Step.PENDING:
            sampler.whereabouts = value
            sampler.ask(Step.STARTING, self.build(sampler.actor))
        elif sampler.step is Step.STARTING:
            sampler.ask(Step.EMPTY, None)
        elif sampler.step is Step.LOADING:
            sampler.ask(Step.IDLE, None)
        else:
            (job, piece), sampler.piece, sampler.losses = sampler.piece, None, 0
            sampler.ask(Step.IDLE, None)
            if job in self._jobs:
                job.left -= 1
                if not job.left:
                    self._jobs.remove(job)
                    self._done = job
                job.take(piece, ref, value, job.pieces - job.left)

    def _load_into(self, sampler: Sampler, published: Published) -> None:
        sampler.given = published
        sampler.ask(Step.LOADING, sampler.actor.load_adapter.remote(published.ref))

    def _verify(self, held: tuple[int, str], given: Adapter) -> None:
        version, sha256 = given.version, given.sha256
        if held == (version, sha256):
            return
        published = f"after adapter version {version} ({sha256[:12]}) was published"
        if not isinstance(held, tuple):
            raise SyncError(f"a sampler acknowledged nothing but {held!r} {published}")
        what = "a stale version" if held[0] != version else "other weights"
        raise SyncError(f"a sampler holds {what}, {held[0]} ({held[1][:12]}), {published}")

    def _hand_out(self) -> None:
        """The first work that waits to whoever has nothing to do and holds its adapter; who holds another one loads it. Where none
        waits, the adapter that was published last."""
        for sampler in self.all:
            if sampler.step not in (Step.IDLE, Step.EMPTY):
                continue
            job = next((job for job in self._jobs if job.waiting), None)
            wanted = job.published if job else self._newest
            if wanted is not None and (sampler.step is Step.EMPTY or sampler.given is not wanted):
                self._load_into(sampler, wanted)
            elif job:
                piece = job.next(sampler.actor)
                sampler.piece = (job, piece)
                sampler.ask(Step.BUSY, job.send(sampler.actor, piece))

    def _lose(self, sampler: Sampler, cause: str) -> None:
        """Another actor takes the place of one that is lost. RunFailed when that has become hopeless."""
        ray.kill(sampler.actor)  # it may only have been unreachable or stopped, and would keep its CPUs
        again = ""
        if sampler.piece is not None:
            (job, piece), sampler.piece = sampler.piece, None
            job.waiting.insert(0, piece)
            job.lost[piece] += 1
            again = ", its work is done again"
            if job.lost[piece] == ATTEMPTS and len(self.all) > 1:
                self._jobs.clear()  # none is left to die of it
                raise RunFailed(f"a sampler was lost {ATTEMPTS} times over the same work (piece {piece}), the last one {cause}")
        sampler.losses += 1
        if sampler.losses == ATTEMPTS:
            self.all.remove(sampler)
            if len(self.all) < self.floor:
                raise RunFailed(f"samplers keep dying, {ATTEMPTS} times in a row without any work done: the last one {cause}")
            self._tell(f"warning: a sampler is given up after {ATTEMPTS} losses in a row; {len(self.all)} are left; it {cause}")
            return
        self._tell(f"a sampler {cause}: it is replaced{again}")
        sampler.actor, sampler.whereabouts = self._start(), None
        sampler.ask(Step.PENDING, sampler.actor.whereabouts.remote())
