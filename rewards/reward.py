"""What every reward component is: what was made and its prompts in, one number a sample out."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np


class Subjects(Protocol):
    """N samples of one or more groups as a family's rewards read them, such as `rewards.motion.motions.Motions`.

    prompts: N strings. groups: int [N], which group each is of.
    """

    prompts: list[str]
    groups: np.ndarray

    def __len__(self) -> int: ...

    def rows(self, index: Iterable[int]) -> "Subjects":
        """Copies of those of `index`, in its order."""


class Reward(Protocol):
    """A reward component: scores samples, higher is better.

    A sample's score depends on that sample alone, never on its neighbours; only a component about the group itself
    (diversity) reads `groups`. Components are pure: the same samples get the same scores.
    """

    def __call__(self, subjects: Subjects) -> np.ndarray:
        """float32 [N]; NaN = this sample cannot be scored."""


@dataclass
class Told:
    """Scores, float32 [N], NaN where a sample cannot be scored, and why: what a component may give in place of an array."""

    values: np.ndarray
    reasons: dict[int, str] = field(default_factory=dict)

    def __array__(self, dtype=None, copy=None) -> np.ndarray:
        return np.asarray(self.values, dtype)
