"""Motions as rewards receive them."""

import dataclasses
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from rollout.io.errors import InputError
from rollout.motion.features import joints_in_metres, rederived_motions
from rollout.motion.skeleton import EITHER, FORMATS
from rollout.policy import Group

MIN_FRAMES = 5  # of a model's motion: T2M reads whole fours of frames, after the one that re-derived velocities cost


@dataclass(frozen=True)
class Motions:
    """Decoded motions, as a reward receives them. What lies past a motion's length never counts.

    features: float32 [N, T, F], raw (de-normalised) motion features, F = 263 or KIT's 251; of a model's motions, those
        re-derived from the skeleton, see `as_motions`
    lengths:  int [N], valid frames of each motion, 1..T
    prompts:  N strings, the prompt each motion was made for
    tokens:   None, or the `word/POS` strings of each prompt, () for one without
    produced: None, or float32 [N, T+1, F]: the raw features as the model made them, one frame longer than `features`
    groups:   int [N], which group each motion is of; given as None, all are of group 0

    Raises InputError when they do not fit together.
    """

    features: np.ndarray
    lengths: np.ndarray
    prompts: list[str]
    tokens: list[tuple[str, ...]] | None = None
    produced: np.ndarray | None = None
    groups: np.ndarray | None = None

    def __post_init__(self):
        shape = np.shape(self.features)
        if len(shape) != 3 or shape[2] not in FORMATS:
            raise InputError(f"motions: features have shape {shape}, expected [N, T, {EITHER}]")
        if self.groups is None:
            object.__setattr__(self, "groups", np.zeros(shape[0], np.int64))
        if np.shape(self.groups) != (shape[0],):
            raise InputError(f"motions: {shape[0]} motions, groups of shape {np.shape(self.groups)}")
        if self.produced is not None and np.shape(self.produced) != (shape[0], shape[1] + 1, shape[2]):
            raise InputError(
                f"motions: features of shape {shape}, produced of shape {np.shape(self.produced)}, expected one frame more"
            )
        if self.tokens is not None and len(self.tokens) != shape[0]:
            raise InputError(f"motions: {shape[0]} motions, tokens of {len(self.tokens)} prompts")
        if len(self.prompts) != shape[0] or np.shape(self.lengths) != (shape[0],):
            raise InputError(
                f"motions: {shape[0]} motions, {len(self.prompts)} prompts, lengths of shape {np.shape(self.lengths)}"
            )
        if shape[0] and not (np.min(self.lengths) >= 1 and np.max(self.lengths) <= shape[1]):
            raise InputError(f"motions: lengths {np.min(self.lengths)}..{np.max(self.lengths)}, expected 1..{shape[1]}")

    def __len__(self) -> int:
        return len(self.lengths)

    @cached_property
    def joints(self) -> np.ndarray:
        """float32 [N, T, 22, 3] (KIT [N, T, 21, 3]): positions in metres, y up, recovered from `features`."""
        return joints_in_metres(self.features)

    def rows(self, index) -> "Motions":
        """Copies of the motions of `index` (integers), in its order."""
        index = list(index)

        def pick(value):
            return [value[i] for i in index] if isinstance(value, list) else None if value is None else value[index]

        return Motions(**{field.name: pick(getattr(self, field.name)) for field in dataclasses.fields(self)})


def as_motions(*groups: Group) -> Motions:
    """Groups as rewards read them, one after the other; see `rederived_motions`."""
    frames = max(group.outputs.shape[1] for group in groups)
    produced = np.concatenate([np.pad(g.outputs, ((0, 0), (0, frames - g.outputs.shape[1]), (0, 0))) for g in groups])
    prompts = [group.prompt for group in groups for _ in range(len(group))]
    return Motions(
        *rederived_motions(produced, np.concatenate([group.lengths for group in groups])), [prompt.text for prompt in prompts],
        [prompt.tokens for prompt in prompts], produced, np.repeat(np.arange(len(groups)), [len(group) for group in groups]),
    )  # fmt: skip
