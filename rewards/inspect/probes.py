"""What is done to motions to see whether a reward can teach: the same batch in other words, order, padding, and frozen."""

import dataclasses
from collections.abc import Callable

import numpy as np

from rewards.motion.motions import Motions
from rollout.motion.features import frozen

PADDING = 7  # frames beyond the longest motion
GARBAGE = 50.0  # in every feature of them: far from any real motion
CUT = 3 / 4  # of a motion's frames that are left where lengths are to differ
SHORTEST = 4  # frames that every evaluator can read

Score = Callable[[Motions], np.ndarray]  # float32 [N, C], of C components


def under_other_prompts(motions: Motions) -> Motions | None:
    """Every motion under the prompt of the nearest following motion that has another one; None when all have the same."""
    if len(set(motions.prompts)) < 2:
        return None
    places = range(len(motions))
    other = [next(j for j in (*places[i + 1 :], *places[:i]) if motions.prompts[j] != motions.prompts[i]) for i in places]
    tokens = motions.tokens and [motions.tokens[j] for j in other]
    return dataclasses.replace(motions, prompts=[motions.prompts[j] for j in other], tokens=tokens)


def held_still(motions: Motions) -> Motions:
    """Every motion held in the pose of its middle frame."""

    def held(features: np.ndarray) -> np.ndarray:
        return np.stack([frozen(motion, length // 2) for motion, length in zip(features, motions.lengths)])

    return dataclasses.replace(motions, features=held(motions.features), produced=held(motions.produced))


def of_mixed_lengths(motions: Motions) -> Motions:
    """Every second motion cut to three quarters: an error of order may show only where lengths differ."""
    cut = np.where(np.arange(len(motions)) % 2, np.maximum((motions.lengths * CUT).astype(int), SHORTEST), motions.lengths)
    return dataclasses.replace(motions, lengths=np.minimum(cut, motions.lengths))


def members(groups: np.ndarray) -> list[np.ndarray]:
    """The places of each group's motions."""
    return [np.flatnonzero(groups == group) for group in np.unique(groups)]


def scored_in(parts: list[np.ndarray], score: Score, motions: Motions) -> np.ndarray:
    """Scores in the order of the motions, each of `parts` (their places) scored by itself."""
    found = np.concatenate([score(motions.rows(part)) for part in parts])
    return found[np.argsort(np.concatenate(parts))]


def with_other_padding(motions: Motions) -> Motions:
    """More frames past every length, and garbage in all of them."""

    def pad(features: np.ndarray, lengths: np.ndarray) -> np.ndarray:
        longer = np.pad(features, ((0, 0), (0, PADDING), (0, 0)))
        longer[np.arange(longer.shape[1]) >= lengths[:, None]] = GARBAGE
        return longer

    produced = pad(motions.produced, motions.lengths + 1)
    return dataclasses.replace(motions, features=pad(motions.features, motions.lengths), produced=produced)
