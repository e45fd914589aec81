"""Advice from where a run's time and disk go: what it waits for or wastes, why, and which setting that takes.

Health decides about a run; this only tells. Each advisory is a small function over the last iterations, which gives words once it holds.
"""

import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from statistics import median
from typing import Any, NamedTuple

from learner.watch.health import Action, Finding
from learner.watch.rules import MEMORY, STAGES, WINDOW, Row, Standing

ADVICE = "advice: "  # how a line of the log begins that is one
FAR = 5  # times its median: health's throughput speaks from 3 on, but of three iterations; of a single one more is chance
NOTICED = 0.5  # of a usual iteration that a far stage must add, or nobody waits for it
STARVED = 0.8  # of an iteration: a half to two thirds is usual (the demo's is .57); beyond this, twice the samplers nearly halve it
SLOW = 5  # times as slow as the others: what captions of other lengths explain is less than 3
GROUPS = 3  # of a sampler, before its median says anything
EMPTY = 0.1  # of the groups; from a half on health speaks
WAITED = 0.25  # of an iteration: a second reward actor brings half of it back, an eighth of the run
RESERVE = 200e6  # bytes that are written beside the rollouts until the end: page, pictures, adapter, the newest checkpoints


class Spent(NamedTuple):
    """One iteration: its metrics, `spans` of what every actor did, iterations `left`; bytes `free` on the disk of its folder, and that it
    `grew` by there."""

    row: Row
    spans: Sequence[Any] = ()
    left: int = 0
    free: float = math.inf
    grew: float = 0.0


class Said(NamedTuple):
    name: str
    sentence: str
    cause: str
    remedy: str


Recent = Sequence[Spent]  # the last MEMORY iterations and the present one, which is last


def spent_of(rows: Sequence[Row], spans: Sequence[Any]) -> list[Spent]:
    """The iterations of a run that is read afterwards, whose disk is no longer what it was. spans: each with its `iteration`."""
    by_iteration = defaultdict(list)
    for span in spans:
        by_iteration[span.iteration].append(span)
    return [Spent(row, by_iteration[int(row["iteration"])]) for row in rows]


def _share(recent: Recent, stage: str) -> float:
    """Of the last WINDOW iterations, all their stages together; 0 before there are so many, and where no time was measured."""
    rows = [spent.row for spent in recent[-WINDOW:]]
    whole = sum(row.get(name, 0.0) for row in rows for name in STAGES)
    return sum(row.get(stage, 0.0) for row in rows) / whole if len(rows) == WINDOW and whole > 0 else 0.0


def far_stage(recent: Recent) -> Said | None:
    """A single stage far beyond its median."""
    before, now = [spent.row for spent in recent[:-1]], recent[-1].row
    if len(before) < WINDOW:
        return None
    usual = {stage: median(row.get(stage, 0.0) for row in before) for stage in STAGES}
    far = {stage: now.get(stage, 0.0) for stage in STAGES if now.get(stage, 0.0) - usual[stage] >= NOTICED * sum(usual.values())}
    for stage, seconds in far.items():
        if 0 < FAR * usual[stage] <= seconds:
            what = stage.removeprefix("seconds_")
            deadline = "cluster.reward_deadline" if what == "reward" else "cluster.sampler_deadline"
            return Said(
                f"far_{what}", f"the {what} took {seconds:.3g} s, {seconds / usual[stage]:.3g} times its median",
                "an actor hung or was replaced (log.txt says so), or something else took the machine",
                f"a smaller {deadline} bounds how long one that hangs is waited for",
            )  # fmt: skip
    return None


def starved_learner(recent: Recent) -> Said | None:
    share = _share(recent, "seconds_rollout")
    return None if share < STARVED else Said(
        "starved_learner", f"the learner waits for samples {share:.0%} of an iteration", "there are too few samplers for what is sampled",
        "more cluster.samplers, where there are cores or GPUs for them; else a smaller rollout.group_size",
    )  # fmt: skip


def slow_sampler(recent: Recent) -> Said | None:
    """One that takes several times as long for a group as the others."""
    seconds = defaultdict(list)
    for span in (span for spent in recent[-WINDOW:] for span in spent.spans if span.what == "sample"):
        seconds[span.actor].append(span.end - span.start)
    usual = {actor: median(each) for actor, each in seconds.items() if len(each) >= GROUPS}
    slowest = max(usual, key=usual.get, default=None)
    others = [each for actor, each in usual.items() if actor != slowest]
    if not others or not 0 < SLOW * median(others) <= usual[slowest]:
        return None
    return Said(
        "slow_sampler",
        f"{slowest} takes {usual[slowest]:.3g} s for a group, {usual[slowest] / median(others):.3g} times as long as the others",
        "its node is busy, swaps or throttles, or its GPU is shared",
        "ray status and top show its node; leave that out, or ask for more cluster.sampler_cpus or cluster.gpus_per_actor",
    )  # fmt: skip


def no_lesson(recent: Recent) -> Said | None:
    """Groups whose rewards are all equal, too few of them for health to speak of."""
    shares = [spent.row.get("zero_std_fraction", 0.0) for spent in recent[-WINDOW:]]
    share = sum(shares) / WINDOW
    return None if len(shares) < WINDOW or not EMPTY <= share < 0.5 else Said(
        "no_lesson", f"{share:.0%} of the groups have one reward for all their samples: they are sampled and teach nothing",
        "their prompts are too easy or too hard, or the reward is too coarse",
        "a larger rollout.group_size, other rollout.prompts, or a reward component that tells such samples apart",
    )  # fmt: skip


def slow_reward(recent: Recent) -> Said | None:
    share = _share(recent, "seconds_reward")
    return None if share < WAITED else Said(
        "slow_reward", f"{share:.0%} of an iteration is waited for rewards alone, once all is sampled",
        "the reward actors score more slowly than samplers sample",
        "more cluster.reward_actors; behind a network cluster.max_staleness 1, which samples meanwhile",
    )  # fmt: skip


def full_disk(recent: Recent) -> Said | None:
    """Before the end of the run, at the present rate."""
    now = recent[-1]
    wanted = now.left * now.grew + RESERVE
    return None if now.free >= wanted else Said(
        "full_disk", f"{now.left} iterations more will write {wanted / 1e9:.2g} GB, and the disk has {now.free / 1e9:.2g} GB",
        "rollouts keep every sample", "rollout.keep best_worst or none, given with --resume; room on the disk; or a run_dir elsewhere",
    )  # fmt: skip


ADVISORIES: tuple[Callable[[Recent], Said | None], ...] = (far_stage, starved_learner, slow_sampler, no_lesson, slow_reward, full_disk)


class Advisories:
    """Of one run. `told`: all so far, in words."""

    def __init__(self):
        self.told: list[str] = []
        self._recent: list[Spent] = []
        self._standing = Standing()

    def replay(self, spent: Sequence[Spent]) -> list[str]:
        """What there is to tell of iterations that are over."""
        for each in spent:
            self.observe(int(each.row["iteration"]), each)
        return self.told

    def observe(self, iteration: int, spent: Spent) -> list[Finding]:
        """What begins to hold with this iteration, counted from 0; see `Standing`."""
        self._recent = [*self._recent, spent][-MEMORY - 1 :]
        said = {each.name: each for advisory in ADVISORIES if (each := advisory(self._recent))}
        began = [each for each in said.values() if not self._standing.take(each.name, 1)]
        for name in self._standing.open.keys() - said:
            self._standing.take(name, 0)
        found = [Finding(each.name, iteration, 1, Action.WARN, each.sentence, each.cause, each.remedy) for each in began]
        self.told += [finding.words() for finding in found]
        return found
