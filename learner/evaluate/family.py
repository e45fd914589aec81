"""What a family brings to its evaluation: the settings, what is read and checked first, and the rows of the table.

Found by name and imported on use; what all families share stands beside this file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Protocol

from rollout.family import find
from rollout.io.settings import Section

if TYPE_CHECKING:
    from learner.evaluate.parts import Parts
    from learner.evaluate.report import SideBySide
    from learner.evaluate.rows import AnyRow
    from learner.run.progress import Progress

SETTINGS = {name: f"learner.evaluate.{name}.settings:EvaluateConfig" for name in ("motion", "language")}
PROTOCOLS = {name: f"learner.evaluate.{name}.evaluation:PROTOCOL" for name in SETTINGS}


class EvaluationProtocol(Protocol):
    """Without state. `config` is an evaluation's settings, checked.

    unit: what progress counts. report: what tells and keeps the rows. read: gives back what was read of a batch, of its `arrays()`.
    """

    unit: str
    report: type[SideBySide]
    read: Callable[[dict], Any]

    def units(self, config: Any) -> int:
        """How many of them there are."""

    def plan(self, config: Any, progress: Progress) -> Any:
        """All that is read and checked before anything starts; has `models`, of which samplers load the first at their start, `notes`, what
        a reader of the table has to know, `skipped`, what was left out, a line each, and `standing`, by name the digest of what it stands on.

        Raises InputError for the first thing that does not fit."""

    def reader(self, plan: Any) -> Callable[[str], Callable]:
        """What builds, on a device, that which reads outputs in an actor of its own; can be pickled."""

    def rows(self, plan: Any, pool: Any, parts: Parts, progress: Progress) -> Iterator[AnyRow]:
        """Each as soon as it is finished. pool: samplers and the reader, a `cluster.evaluation_pool.EvaluationPool`; parts: what they
        did before."""


def settings_of(name: str) -> type[Section]:
    """Raises InputError for a family that there is not. Cheap to import."""
    return find(SETTINGS, name)


def protocol_of(name: str) -> EvaluationProtocol:
    return find(PROTOCOLS, name)
