"""What a family brings to the page: how its samples are packed for a browser, and what was shown to its model. Found by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from rollout.family import find

SHOWN = {"motion": "learner.report.motion:MOTION", "language": "learner.report.language:LANGUAGE"}


Texts = Callable[[Mapping[str, Any]], list[str] | None]


class Shown(Protocol):
    """kind: how the page shows a sample, "motion" or "text". column: that of the record which holds it. beside: those that `texts`
    reads."""

    kind: str
    column: str
    beside: tuple[str, ...]

    def pack(self, value: Any, row: Mapping[str, Any]) -> bytes:
        """A sample as page/outputs.js reads it, before compression. ValueError for what the record's column cannot hold."""

    def facts(self, config: Any, example: tuple[Any, Mapping[str, Any]] | None) -> dict[str, Any]:
        """What the page knows beside the samples, such as a band of real data. config: a run's settings, None where they cannot be
        read. example: what `pack` took of one sample, None where there is none."""

    def prompts(self, config: Any, standing: Mapping[str, str]) -> Prompts | None:
        """What was shown with the prompts; None where they are words alone, or are no longer those of the run. standing: the
        digest of everything it stood on, by name, as its checkpoint has it."""


    def texts(self, config: Any) -> Texts | None:
        """Of a row of the record the texts of its actions, as of tokens; None where they have none or these are not known."""


class Prompts(Protocol):
    """What stands beside the prompts of a run: of the group of a seed, whose prompt is `text`. None where it cannot be told."""

    def picture(self, seed: tuple[int, ...], text: str) -> str | None:
        """What was shown, as a data URL."""

    def truth(self, seed: tuple[int, ...], text: str) -> str | None:
        """The right answer."""


def shown_of(name: str) -> Shown | None:
    """None for a family that brings nothing: its page has all numbers and no samples."""
    return find(SHOWN, name) if name in SHOWN else None
