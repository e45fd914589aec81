"""What every reward is: decoded motions and their prompts in, named scores out.

A new reward is a class with `name` and `__call__` in a file of its own beside this one; `rewards/tmr.py` and
`rewards/t2m.py` are learned ones, `rewards/physics.py` measures the motion itself.
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from rollout.errors import InputError


@dataclass(frozen=True)
class Motions:
    """Decoded motions, as a reward receives them.

    features: float32 [N, T, F], raw (de-normalised) motion features, F = 263 or KIT's 251; what lies past a motion's
        length never counts
    lengths:  int [N], valid frames of each motion, 1..T
    prompts:  N strings, the prompt each motion was made for
    tokens:   None, or the `word/POS` strings of each prompt, () for one without

    Raises InputError when they do not fit together.
    """

    features: np.ndarray
    lengths: np.ndarray
    prompts: list[str]
    tokens: list[tuple[str, ...]] | None = None

    def __post_init__(self):
        shape = np.shape(self.features)
        if len(shape) != 3 or shape[2] not in (263, 251):
            raise InputError(f"motions: features have shape {shape}, expected [N, T, 263] (KIT: 251)")
        if self.tokens is not None and len(self.tokens) != shape[0]:
            raise InputError(f"motions: {shape[0]} motions, tokens of {len(self.tokens)} prompts")
        if len(self.prompts) != shape[0] or np.shape(self.lengths) != (shape[0],):
            raise InputError(
                f"motions: {shape[0]} motions, {len(self.prompts)} prompts, lengths of shape {np.shape(self.lengths)}"
            )
        if shape[0] and not (np.min(self.lengths) >= 1 and np.max(self.lengths) <= shape[1]):
            raise InputError(f"motions: lengths {np.min(self.lengths)}..{np.max(self.lengths)}, expected 1..{shape[1]}")


class Reward(Protocol):
    """Scores motions. Higher is better; a sample's score depends on that sample alone, never on its neighbours."""

    name: str

    def __call__(self, motions: Motions) -> dict[str, np.ndarray]:
        """Components by name, each float32 [N]; the key "total" is what the learner maximises."""
        ...
