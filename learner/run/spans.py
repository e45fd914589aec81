"""Where the time went: what every actor did from when to when.

`spans.jsonl` of a run folder has a line for each: {"iteration": 3, "actor": "sampler 0", "what": "sample", "start": 1e9, "end": 1e9 + 2},
in seconds since 1970. A run without one has at least what its driver waited for, one stage after the other.
"""

import json
import math
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

SPANS = "spans.jsonl"
# By stage of the driver, who is waited for.
STAGES = {"rollout": "samplers", "reward": "reward actor", "update": "samplers, learner", "publish": "driver", "evaluate": "evaluation"}
MOST = 20_000  # spans on a page; of a longer run the last


class Span(NamedTuple):
    """Seconds since the first of them began."""

    actor: str
    what: str
    iteration: int
    start: float
    end: float


def spans_of(folder: Path, rows: list[dict[str, float]]) -> tuple[list[Span], bool]:
    """The spans of a run, and whether they were measured as such; `rows`: its metrics. A line that is none is left out."""
    measured = []
    if (folder / SPANS).is_file():
        for line in (folder / SPANS).read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                entry = json.loads(line)
                span = Span(str(entry["actor"]), str(entry["what"]), int(entry["iteration"]), float(entry["start"]), float(entry["end"]))
            except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
                continue
            if math.isfinite(span.start) and span.start <= span.end < math.inf:
                measured.append(span)
    first = min((span.start for span in measured), default=0.0)
    measured = [span._replace(start=span.start - first, end=span.end - first) for span in measured]
    return (measured[-MOST:], True) if measured else (_of_metrics(rows)[-MOST:], False)


def _of_metrics(rows: list[dict[str, float]]) -> list[Span]:
    found, now = [], 0.0
    for row in rows:
        for what, actor in STAGES.items():
            seconds = row.get(f"seconds_{what}", 0.0)
            if 0 < seconds < math.inf:
                found.append(Span(actor, what, int(row["iteration"]), now, now + seconds))
                now += seconds
    return found


def by_iteration(spans: list[Span]) -> list[dict[str, Any]]:
    """Of each iteration its `seconds`, the `idle` share of every actor, and the `critical` path: going back from the end, always what
    ended last before it."""
    iterations: dict[int, list[Span]] = defaultdict(list)
    for span in spans:
        iterations[span.iteration].append(span)
    actors = list(dict.fromkeys(span.actor for span in spans))
    found = []
    for iteration, inside in sorted(iterations.items()):
        start, end = min(span.start for span in inside), max(span.end for span in inside)
        idle = idle_of(inside)
        path, at = [], end
        while before := [span for span in inside if span.end <= at + 1e-9 and span not in path]:
            path.append(max(before, key=lambda span: (span.end, -span.start)))
            at = path[-1].start
        critical = [{"actor": span.actor, "what": span.what, "seconds": round(span.end - span.start, 4)} for span in reversed(path)]
        shares = {actor: idle.get(actor, 1.0) for actor in actors}
        found.append({"iteration": iteration, "seconds": end - start, "idle": shares, "critical": critical})
    return found


def idle_of(spans: Sequence[Any]) -> dict[str, float]:
    """By actor, the share of the time from the first span to the end of the last in which it did nothing."""
    own = defaultdict(list)
    for span in spans:
        own[span.actor].append(span)
    length = max(max((span.end for span in spans), default=0.0) - min((span.start for span in spans), default=0.0), 1e-9)
    return {actor: round(1 - _covered(each) / length, 4) for actor, each in own.items()}


def _covered(spans: list[Span]) -> float:
    """Seconds in which at least one of them goes on."""
    seconds, until = 0.0, -math.inf
    for span in sorted(spans, key=lambda span: span.start):
        seconds += max(0.0, span.end - max(span.start, until))
        until = max(until, span.end)
    return seconds


def trace(spans: list[Span]) -> dict[str, Any]:
    """For Perfetto and chrome://tracing: their JSON, microseconds."""
    actors = {actor: place for place, actor in enumerate(dict.fromkeys(span.actor for span in spans), 1)}
    names = [{"ph": "M", "pid": 1, "tid": place, "name": "thread_name", "args": {"name": actor}} for actor, place in actors.items()]
    events = [
        {"ph": "X", "pid": 1, "tid": actors[span.actor], "name": span.what, "ts": span.start * 1e6, "dur": (span.end - span.start) * 1e6,
         "args": {"iteration": span.iteration}} for span in spans
    ]  # fmt: skip
    return {"traceEvents": names + events, "displayTimeUnit": "ms"}
