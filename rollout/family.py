"""What a family of models brings: its settings, its prompts, its policy, and how what it makes is recorded and drawn.

A family is found by name, and what it brings to each room is imported when it is asked for. Only what is listed here and in
`rewards/family.py` may differ between families; the loop, the learner and the cluster know none.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from rollout.io.errors import InputError
from rollout.io.settings import Section

if TYPE_CHECKING:
    from rollout.policy import Group, Policy, Preparer
    from rollout.record import Column

FAMILIES = {"motion": "rollout.motion.family:MOTION", "language": "rollout.language.family:LANGUAGE"}


class Judged(NamedTuple):
    """What an evaluation found of one sample: the reward, its components' raw values, and what else the family measures, by name."""

    reward: float
    components: Mapping[str, float]
    measured: Mapping[str, Any]


class Change(NamedTuple):
    """One sample of a prompt under the base model and under the tuned one, same noise."""

    before: Group
    after: Group
    sample: int
    judged_before: Judged
    judged_after: Judged


class Family(Protocol):
    """Cheap to import, and without state. `config` is a run's settings, checked.

    sections: those of the settings that are its own, by name. A family may also have `defaults`, by dotted key, of settings in the
    sections that are shared, `forward = True` where `build` knows a policy of forward objectives (`config.objective.forward`), and
    `made`, the word for its samples, and `recorded(groups)`, what the data has for the prompt of each as a group of one sample, or None.
    """

    name: str
    sections: dict[str, type[Section]]

    def columns(self) -> Sequence[Column]:
        """Of a rollout's record, beside those of every family."""

    def preparer(self, config: Any) -> Preparer:
        """Reads and encodes prompts; needs no weights. Raises InputError for a model that cannot be trained."""

    def build(self, config: Any) -> Callable[[str], Policy]:
        """What builds the policy on a device ("cpu", "cuda"), the same in every process; can be pickled."""

    def files(self, config: Any) -> dict[str, Path]:
        """Every file that the policy is built from, by a name for people."""

    def shipped(self, name: str, config: Any = None) -> Path:
        """The file of "training" or "heldout" prompts that ships with the project, for the model of `config` or the family's first."""

    def describe(self, config: Any, policy: Policy) -> str:
        """The model in one line, for a dry run."""

    def draw(self, folder: Path, changes: list[Change]) -> None:
        """Writes pictures of base beside tuned into `folder`."""


def family(name: str) -> Family:
    """Raises InputError that names the families there are."""
    return find(FAMILIES, name)


def find(places: Mapping[str, str], name: str) -> Any:
    """What stands at the "module:NAME" that `places` has for a family."""
    if name not in places:
        raise InputError(f"family: found {name!r}, expected one of {', '.join(places)}")
    module, _, attribute = places[name].partition(":")
    return getattr(importlib.import_module(module), attribute)
