"""What something usually takes, by which slow and hung are told apart."""

import time

import pytest

from cluster.present import Present
from cluster.spans import Spans
from learner.report.present import LEAST_STUCK_S, SLOW, STUCK


class AtWork:
    """A sampler that has been at a group of so many samples for so long."""

    progress = ("sample", 0, 12)

    def __init__(self, size: int, seconds: float):
        self.size, self.seconds = size, seconds

    def at_work(self):
        return [("sampler 0", "sample", time.monotonic() - self.seconds, self.size)]


class Idle:
    def at_work(self):
        return []


def usual(spans: Spans, size: int, seconds: float = 0.0) -> float:
    told = []
    Present(spans, told.append).take(AtWork(size, seconds), Idle(), Idle())
    ((actor,),) = [each["actors"] for each in told]
    return actor["usual"]


@pytest.fixture
def evaluated():
    """After an evaluation in groups of 4 samples, 0.8 s each."""
    spans = Spans()
    for _ in range(40):
        spans.add("sampler 0", "sample", time.monotonic() - 0.8, 4)
    return spans


def test_a_larger_group_is_not_slow_by_what_smaller_ones_took_and_a_hung_one_still_stands_out(evaluated):
    assert usual(evaluated, 4) == pytest.approx(0.8, rel=0.2)
    first = usual(evaluated, 16)
    assert 3.3 < SLOW * first < max(STUCK * first, LEAST_STUCK_S) < 120
    assert usual(evaluated, 2) == pytest.approx(0.8, rel=0.2)  # what is done once takes its time however small it is


def test_what_was_done_in_that_size_says_what_it_takes_whatever_came_since(evaluated):
    evaluated.add("sampler 0", "sample", time.monotonic() - 2.0, 16)
    for _ in range(40):
        evaluated.add("sampler 0", "sample", time.monotonic() - 0.8, 4)
    assert usual(evaluated, 16) == pytest.approx(2.0, rel=0.2)
    assert Spans().usual("sample", 16) is None
