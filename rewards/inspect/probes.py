"""What is done to motions to see whether a reward can teach: the same batch in other words, order, padding, and frozen."""

import dataclasses
from collections.abc import Callable

import numpy as np

from rewards.motion.motions import Motions

PADDING = 7  # frames beyond the longest motion
GARBAGE = 50.0  # in every feature of them: far from any real motion
CUT = 3 / 4  # of a motion's frames that are left where lengths are to differ
SHORTEST = 4  # frames that every evaluator can read

Score = Callable[[Motions], np.ndarray]  # float32 [N, C], of C components


def under_other_prompts(motions: Motions) -> Motions | None:
    """Every motion under the prompt of the nearest following motion that has another one; None when all have the same."""
    if len(set(motions.prompts)) < 2:
        return None
    count = len(motions)
    around = [[j % count for j in range(i + 1, i + count)] for i in range(count)]
    other = [next(j for j in after if motions.prompts[j] != motions.prompts[i]) for i, after in enumerate(around)]
    tokens = motions.tokens and [motions.tokens[j] for j in other]
    return dataclasses.replace(motions, prompts=[motions.prompts[j] for j in other], tokens=tokens)


def frozen(motions: Motions) -> Motions:
    """Every motion held in the pose of its middle frame."""
    middle = motions.lengths // 2

    def hold(features: np.ndarray) -> np.ndarray:
        still = np.repeat(features[np.arange(len(features)), middle][:, None], features.shape[1], axis=1)
        still[..., 0:3], still[..., 193:259], still[..., 259:] = 0, 0, 1
        return still

    produced = None if motions.produced is None else hold(motions.produced)
    return dataclasses.replace(motions, features=hold(motions.features), produced=produced)


def of_mixed_lengths(motions: Motions) -> Motions:
    """Every second motion cut to three quarters: an error of order may show only where lengths differ."""
    cut = np.where(np.arange(len(motions)) % 2, np.maximum((motions.lengths * CUT).astype(int), SHORTEST), motions.lengths)
    return dataclasses.replace(motions, lengths=np.minimum(cut, motions.lengths))


def in_another_order(score: Score, motions: Motions, seed: int = 0) -> np.ndarray:
    """Scores of the shuffled batch, put back in the order of the motions."""
    order = np.random.default_rng(seed).permutation(len(motions))
    return score(motions.rows(order))[np.argsort(order)]


def group_by_group(score: Score, motions: Motions) -> np.ndarray:
    """Scores of each group scored by itself."""
    return _in_parts(score, motions, [np.flatnonzero(motions.groups == group) for group in np.unique(motions.groups)])


def one_by_one(score: Score, motions: Motions) -> np.ndarray:
    """Scores of each motion scored by itself."""
    return _in_parts(score, motions, [np.array([i]) for i in range(len(motions))])


def with_other_padding(motions: Motions) -> Motions:
    """More frames past every length, and garbage in all of them."""

    def pad(features: np.ndarray, lengths: np.ndarray) -> np.ndarray:
        longer = np.pad(features, ((0, 0), (0, PADDING), (0, 0)))
        longer[np.arange(longer.shape[1]) >= lengths[:, None]] = GARBAGE
        return longer

    produced = None if motions.produced is None else pad(motions.produced, motions.lengths + 1)
    return dataclasses.replace(motions, features=pad(motions.features, motions.lengths), produced=produced)


def _in_parts(score: Score, motions: Motions, parts: list[np.ndarray]) -> np.ndarray:
    found = np.concatenate([score(motions.rows(part)) for part in parts])
    return found[np.argsort(np.concatenate(parts))]
