"""What a run is advised from where its time and disk go: each thing when it begins to hold, with the setting to change."""

import math

import pytest

from cluster.spans import Timing
from learner.config.settings import Config, settings
from learner.watch.advisories import ADVISORIES, GROUPS, RESERVE, WINDOW, Advisories, Spent, spent_of
from learner.watch.rules import CALM
from tests.learner.watch.test_health import healthy

SETTINGS = set(settings(Config))


def spans(*seconds):
    """A group of each sampler, which takes so long."""
    return [Timing(f"sampler {i}", "sample", 100.0, 100.0 + each) for i, each in enumerate(seconds)] * GROUPS


def usual(i, spans=(), **changed):
    return Spent(healthy(i, **{"seconds_rollout": 2.0, "seconds_reward": 0.1, "seconds_update": 1.5, **changed}), spans)


def advised(iterations):
    """(iteration, finding) of all that is told."""
    advisories = Advisories()
    return [(i, finding) for i, spent in enumerate(iterations) for finding in advisories.observe(i, spent)]


def test_a_healthy_run_is_advised_nothing():
    assert advised(usual(i, spans(1.0, 1.5, 2.9), seconds_rollout=2.0 + i % 3) for i in range(60)) == []


@pytest.mark.parametrize(
    "name, changed, words, setting",
    [
        ("far_rollout", {"seconds_rollout": 10.0}, "the rollout took 10 s, 5 times its median", "cluster.sampler_deadline"),
        ("far_reward", {"seconds_reward": 4.0}, "the reward took 4 s, 40 times its median", "cluster.reward_deadline"),
        ("starved_learner", {"seconds_rollout": 8.0}, "waits for samples 81% of an iteration", "cluster.samplers"),
        ("slow_reward", {"seconds_reward": 2.0}, "26% of an iteration is waited for rewards", "cluster.reward_actors"),
        ("no_lesson", {"zero_std_fraction": 0.2}, "12% of the groups have one reward", "rollout.group_size"),
        ("slow_sampler", {"spans": spans(1.0, 6.0, 1.2)}, "sampler 1 takes 6 s for a group, 5.45 times as long", "cluster.sampler_cpus"),
    ],
)  # fmt: skip
def test_each_thing_is_told_once_with_the_setting_to_change(name, changed, words, setting):
    found = advised([*(usual(i, spans(1.0, 1.0, 1.2)) for i in range(12)), *(usual(i, **changed) for i in range(12, 24))])
    (i, finding), *others = [(i, finding) for i, finding in found if finding.name == name]
    assert 12 <= i < 12 + WINDOW and others == []
    text = finding.words()
    assert words in text and setting in finding.remedy and setting in SETTINGS and "\n" not in text
    assert text.startswith(f"{name} at iteration {i + 1}: ") and finding.cause in text and finding.remedy in text


def test_what_comes_back_after_a_while_is_told_again():
    slow, calm = [usual(0, spans(1.0, 9.0))] * WINDOW, [usual(0, spans(1.0, 1.0))] * (WINDOW + CALM)
    assert [i for i, _ in advised([*slow, *calm, *slow])] == [0, 17]


def test_a_short_stage_may_be_far_from_its_median():
    """Nobody waits for it."""
    assert advised([*(usual(i) for i in range(12)), usual(12, seconds_reward=1.0)]) == []


def test_one_sampler_alone_is_slower_than_nobody():
    assert advised([usual(0, spans(9.0))] * 9) == []


def test_groups_that_health_speaks_of_are_left_to_it():
    assert advised([usual(i, zero_std_fraction=0.6) for i in range(9)]) == []


@pytest.mark.parametrize("free, told", [(RESERVE + 101e6, []), (RESERVE + 99e6, [3])])
def test_a_disk_that_will_be_full_before_the_end_is_told_at_once(free, told):
    found = advised(usual(i)._replace(left=100, free=free if i >= 3 else math.inf, grew=1e6) for i in range(9))
    assert [i for i, _ in found] == told
    for _, finding in found:
        assert "100 iterations more will write 0.3 GB, and the disk has 0.3 GB" in finding.sentence and "rollout.keep" in finding.remedy


@pytest.mark.parametrize("row", [{}, {"seconds_rollout": math.nan}, {"zero_std_fraction": math.inf, "seconds_reward": -1.0}])
def test_metrics_of_any_kind_raise_nothing(row):
    assert len(ADVISORIES) == 6 and advised([Spent(row)] * 30) == []


def test_a_run_that_is_read_afterwards_says_the_same():
    spent = [usual(i, spans(1.0, 6.0 if i > 8 else 1.0)) for i in range(12)]
    rows = [{"iteration": float(i), **each.row} for i, each in enumerate(spent)]
    recorded = [Recorded(*span, i) for i, each in enumerate(spent) for span in each.spans]
    told = [finding.words() for _, finding in advised(spent)]
    assert Advisories().replay(spent_of(rows, recorded)) == told and len(told) == 1


class Recorded:
    """As a line of spans.jsonl is read."""

    def __init__(self, actor, what, start, end, iteration):
        self.actor, self.what, self.start, self.end, self.iteration = actor, what, start, end, iteration
