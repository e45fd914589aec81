"""Ways of doing the same thing, in turns: on a machine whose speed changes only what is measured beside each other compares."""

import statistics
import time
from collections.abc import Callable, Mapping


def medians(ways: Mapping[str, Callable[[], object]], rounds: int, clock: Callable[[], float] = time.perf_counter) -> dict[str, float]:
    """Seconds of each, the median of `rounds` in turns after one that warms up."""
    found: dict[str, list[float]] = {name: [] for name in ways}
    for round_ in range(rounds + 1):
        for name, way in ways.items():
            started = clock()
            way()
            if round_:
                found[name].append(clock() - started)
    return {name: statistics.median(values) for name, values in found.items()}
