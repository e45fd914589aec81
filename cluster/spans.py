"""Where the time went: what every actor did from when to when, as the driver sees it, from a call to its answer."""

import time
from collections import defaultdict, deque
from statistics import median
from typing import NamedTuple

KEPT = 100_000  # of those that nobody takes; the oldest go
BESIDE = "for another seed"
USUAL = 32  # of a kind, the latest, say how long one takes
LATE = ("score", "examine")  # whose answers are read many at once, so that all but the longest look short


class Timing(NamedTuple):
    """Seconds since 1970."""

    actor: str
    what: str
    start: float
    end: float


class Spans:
    """Those of one run since they were last taken. What the actors did for the runs beside it is in it too, as `BESIDE`: they were busy."""

    def __init__(self, runs: list["Spans"] | None = None):
        self._runs = [] if runs is None else runs
        self._runs.append(self)
        self._found: deque[Timing] = deque(maxlen=KEPT)
        self._heard = time.monotonic()
        self._seconds: dict[str, dict[int, deque[float]]] = defaultdict(lambda: defaultdict(lambda: deque(maxlen=USUAL)))  # by size

    def add(self, actor: str, what: str, since: float, size: int = 1) -> None:
        """`actor` has just answered what it was asked at `since`, of `time.monotonic`; size: of that, such as samples."""
        now, seconds = time.time(), time.monotonic() - since
        for spans in self._runs:
            spans._found.append(Timing(actor, what if spans is self else BESIDE, now - seconds, now))
            spans._heard = time.monotonic()
        self._seconds[what][size].append(seconds)

    def beside(self) -> "Spans":
        """Those of another run on the same actors."""
        return Spans(self._runs)

    @property
    def quiet(self) -> float:
        """Seconds since anybody last answered."""
        return time.monotonic() - self._heard

    def usual(self, what: str, size: int = 1) -> float | None:
        """Seconds that this takes; None before it was done once. Where it was done in other sizes alone, such as the small groups of an
        evaluation, at most in proportion: a group of training is not slow for being larger."""
        known = self._seconds[what]
        alike = known.get(size) or [each * max(1, size / other) for other, found in known.items() for each in found]
        return (max if what in LATE else median)(alike) if alike else None

    def take(self) -> list[Timing]:
        found = list(self._found)
        self._found.clear()
        return found
