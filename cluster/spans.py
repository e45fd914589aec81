"""Where the time went: what every actor did from when to when, as the driver sees it, from a call to its answer."""

import time
from collections import defaultdict, deque
from statistics import median
from typing import NamedTuple

KEPT = 100_000  # of those that nobody takes; the oldest go
USUAL = 32  # of a kind, the latest, say how long one takes


class Timing(NamedTuple):
    """Seconds since 1970."""

    actor: str
    what: str
    start: float
    end: float


class Spans:
    """Those since they were last taken."""

    def __init__(self):
        self._found: deque[Timing] = deque(maxlen=KEPT)
        self._heard = time.monotonic()
        self._seconds: dict[str, deque[float]] = defaultdict(lambda: deque(maxlen=USUAL))

    def add(self, actor: str, what: str, since: float) -> None:
        """`actor` has just answered what it was asked at `since`, of `time.monotonic`."""
        now, seconds = time.time(), time.monotonic() - since
        self._found.append(Timing(actor, what, now - seconds, now))
        self._seconds[what].append(seconds)
        self._heard = time.monotonic()

    @property
    def quiet(self) -> float:
        """Seconds since anybody last answered."""
        return time.monotonic() - self._heard

    def usual(self, what: str) -> float | None:
        """Seconds that this takes; None before it was done once."""
        return median(self._seconds[what]) if self._seconds[what] else None

    def take(self) -> list[Timing]:
        found = list(self._found)
        self._found.clear()
        return found
