"""What the actors of a run are at, by its present.json: how much is in, who is slow, and who is stuck."""

import json
import math
from pathlib import Path
from typing import NamedTuple

from learner.run.folder import PRESENT

SLOW, STUCK = 3, 10  # times as long as something takes
LEAST_SLOW_S, LEAST_STUCK_S = 2.0, 60.0
OLD_S = 5.0  # the driver tells it every second, but while it is at something of its own
IN = {
    "score": "groups of the rollout are sampled", "examine": "groups of an evaluation are sampled", "gradient": "gradients are in",
}  # fmt: skip


class Work(NamedTuple):
    """`tone`: running, slow or stuck; `words`: the same for a person; `quiet`: seconds since an actor last answered."""

    tone: str
    words: str
    quiet: float


def work_of(run: Path, now: float, deadline: str) -> Work | None:
    """deadline: after which an actor that hangs is replaced. None where nothing is told, or what is told is not of now."""
    try:
        told = json.loads((run / PRESENT).read_text(encoding="utf-8", errors="replace"))
        if not 0 <= now - float(told["at"]) <= OLD_S:
            return None
        done, pieces = int(told["done"]), int(told["of"])
        actors = [(str(each["actor"]), float(each["seconds"]), float(each["usual"] or math.inf)) for each in told["actors"]]
        doing, quiet = IN.get(told["doing"]), float(told["quiet"])
    except (OSError, ValueError, KeyError, TypeError, OverflowError, RecursionError):
        return None
    stuck = [each for each in actors if each[1] > max(STUCK * each[2], LEAST_STUCK_S)]
    slow = [each for each in actors if each[1] > max(SLOW * each[2], LEAST_SLOW_S) and each not in stuck]
    words = [f"{done} of {pieces} {doing}."] if doing and pieces else []
    for name, found, what in (("stuck", stuck, f": one that hangs is replaced after {deadline}"), ("slow", slow, "")):
        each = ", ".join(f"{actor} for {spoken(seconds)} at what takes {spoken(usual)}" for actor, seconds, usual in found)
        words += [f"{name.capitalize()}: {each}{what}."] if found else []
    return Work("stuck" if stuck else "slow" if slow else "running", " ".join(words), quiet)


def spoken(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"
