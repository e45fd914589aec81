"""What a family brings to scoring: its settings, and how its groups are read and judged. Found by name and imported on use."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from rewards.component_flags import Shorthands
from rollout.family import find
from rollout.io.settings import Section

if TYPE_CHECKING:
    from rewards.reward import Subjects
    from rewards.scoring import Scorer
    from rollout.policy import Group, Prompt

FAMILIES = {"motion": "rewards.motion.family:MOTION", "language": "rewards.language.family:LANGUAGE"}
SECTIONS = {"motion": "rewards.motion.settings:SECTIONS", "language": "rewards.language.settings:SECTIONS"}
SHORTHANDS = {"motion": "rewards.motion.shorthands:MotionShorthands"}


@dataclass(frozen=True)
class Examination:
    """One group as evaluation reads it, all [G]: reward, and judge where the family has one.

    components: raw values by name, and `reward` their weighted sum, without normalisation in a group: so it means the
    same before and after training. NaN for a sample that failed. `extras` [G, ...] by name: what the family's `quality` is
    made of.
    """

    reward: np.ndarray
    components: dict[str, np.ndarray]
    judge: np.ndarray | None
    extras: dict[str, np.ndarray]


class Rewards(Protocol):
    """All methods are of a class without state. `config` is a run's settings, checked."""

    def subjects(self, *groups: Group) -> Subjects:
        """Groups as the family's rewards read them, one after the other."""

    def load(self, config: Any, device: str, shared: Any) -> tuple[Scorer, Any]:
        """The components of the reward, and what judges, which never trains: `examine` is given it. Raises InputError for what cannot be
        loaded."""

    def check(self, config: Any, prompts: list[Prompt]) -> Any:
        """What the driver works out once and hands to every actor (`shared`).

        Raises InputError when a component of the reward or the judge cannot be loaded or cannot score these prompts."""

    def standing(self, config: Any, prompts: list[Prompt], shared: Any) -> dict[str, list[str]]:
        """All that scores and judges beside the components: by a name for people, what it is and the sha256 of its content, what
        it makes of `prompts` included."""

    def examine(self, groups: Sequence[Group], scorer: Scorer, judges: Any) -> list[Examination]:
        """Each group by every component of the reward, by the judge, and by what else the family measures."""

    def quality(self, config: Any, results: list[Examination]) -> dict[str, float | str | None]:
        """What is said of all outputs of an evaluation together, by name; where there is no number, why, or None."""

    def measured(self, results: list[Examination]) -> dict[str, np.ndarray]:
        """[P,G] of every name of `quality` that is a mean over outputs: what a gain is paired by. judge_*: what a further judge says."""


def rewards_of(name: str) -> Rewards:
    """Those of the family of that name. Raises InputError for one that there is not."""
    return find(FAMILIES, name)


def sections(name: str) -> dict[str, type[Section]]:
    """The family's sections of what scores and judges its runs. Cheap to import."""
    return find(SECTIONS, name)


def shorthands(name: str) -> type[Shorthands]:
    """The family's flags that stand for components, if any. Cheap to import."""
    return find(SHORTHANDS, name) if name in SHORTHANDS else Shorthands
