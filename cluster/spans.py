"""Where the time went: what every actor did from when to when, as the driver sees it, from a call to its answer."""

import time
from collections import deque
from typing import NamedTuple

KEPT = 100_000  # of those that nobody takes; the oldest go


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

    def add(self, actor: str, what: str, since: float) -> None:
        """`actor` has just answered what it was asked at `since`, of `time.monotonic`."""
        now = time.time()
        self._found.append(Timing(actor, what, now - (time.monotonic() - since), now))

    def take(self) -> list[Timing]:
        found = list(self._found)
        self._found.clear()
        return found
