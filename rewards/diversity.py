"""Diversity inside a group: how different a motion is from the others that were made for its prompt."""

import itertools

import numpy as np

from rewards.reward import Evaluator, Motions


class Diversity:
    """Mean distance of a motion to the other motions of its group; average pairwise distance (Yuan and Kitani, 2020) by sample.

    Without an evaluator the distance of two motions is that of their joints, mean over joints and the frames that both
    have, in metres: motions start at the origin and face +z, so it is pose, path and timing that differ. With one it is
    the Euclidean distance of their embeddings; an evaluator that judges the run should not be given here.

    It says nothing of the prompt and has no upper end: a motion that flies away is the most diverse of all. Give it a
    small weight beside a reward for the prompt. The one component that depends on its neighbours, by its definition;
    those of other groups do not count, nor do motions that are not finite, which are NaN themselves. A motion without
    another in its group is NaN. Normalising in the group keeps who differs and drops how much the group spreads.
    """

    def __init__(self, evaluator: Evaluator | None = None):
        self.evaluator = evaluator

    def __call__(self, motions: Motions) -> np.ndarray:
        """float32 [N]; metres, or embedding units."""
        result = np.full(len(motions), np.nan, np.float32)
        for group in np.unique(motions.groups):
            rows = np.flatnonzero(motions.groups == group)
            result[rows] = self._within(motions.rows(rows))
        return result

    def _within(self, motions: Motions) -> np.ndarray:
        """The same for motions that are all of one group."""
        distance = self._embedded(motions) if self.evaluator else self._joints(motions)
        np.fill_diagonal(distance, np.nan)
        others = np.isfinite(distance)
        # Sorted: the order of the neighbours must not matter to the last bit.
        total = np.sort(np.where(others, distance, 0), axis=1).sum(axis=1)
        counted = others.sum(axis=1)
        return np.where(counted > 0, total / np.maximum(counted, 1), np.nan)

    def _embedded(self, motions: Motions) -> np.ndarray:
        embedding = self.evaluator.embed_motion(motions.features, motions.lengths).astype(np.float64)
        return np.linalg.norm(embedding[:, None] - embedding[None], axis=2)

    def _joints(self, motions: Motions) -> np.ndarray:
        whole = [joints[:length].astype(np.float64) for joints, length in zip(motions.joints, motions.lengths)]
        finite = np.array([np.isfinite(joints).all() for joints in whole])
        distance = np.full((len(whole), len(whole)), np.nan)
        for i, j in itertools.combinations(np.flatnonzero(finite), 2):
            both = min(len(whole[i]), len(whole[j]))
            distance[i, j] = distance[j, i] = np.linalg.norm(whole[i][:both] - whole[j][:both], axis=-1).mean()
        return distance
