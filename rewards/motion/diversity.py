"""Diversity inside a group: how different a motion is from the others that were made for its prompt."""

import itertools

import numpy as np

from rewards.motion.motions import Motions
from rewards.motion.space import Evaluator


class Diversity:
    """`diversity`: mean distance of a motion to the others of its group, m; float32 [N].

    The distance of two motions is that of their joints, mean over joints and the frames that both have. Motions start at
    the origin and face +z, so it is pose, path and timing that differ. By sample what is known as average pairwise
    distance (Yuan and Kitani, ECCV 2020).

    It says nothing of the prompt and has no upper end: a motion that flies away is the most diverse of all. Give it a
    small weight beside a reward for the prompt. It is the one component that depends on its neighbours, by its
    definition. Motions of other groups do not count, nor do motions that are not finite: those are NaN, and so is a
    motion without another in its group. Normalising in the group keeps who differs and drops how far a group spreads.
    """

    def __call__(self, motions: Motions) -> np.ndarray:
        """float32 [N]."""
        result = np.full(len(motions), np.nan, np.float32)
        for group in np.unique(motions.groups):
            rows = np.flatnonzero(motions.groups == group)
            result[rows] = _mean_to_others(self._distances(motions.rows(rows)))
        return result

    def _distances(self, motions: Motions) -> np.ndarray:
        """[N, N]; NaN to and from a motion that is not finite."""
        whole = [joints[:length].astype(np.float64) for joints, length in zip(motions.joints, motions.lengths)]
        finite = np.array([np.isfinite(joints).all() for joints in whole])
        distances = np.full((len(whole), len(whole)), np.nan)
        for i, j in itertools.combinations(np.flatnonzero(finite), 2):
            both = min(len(whole[i]), len(whole[j]))
            distances[i, j] = distances[j, i] = np.linalg.norm(whole[i][:both] - whole[j][:both], axis=-1).mean()
        return distances


class EmbeddingDiversity(Diversity):
    """`tmr.diversity`, `t2m.diversity`: the same with the Euclidean distance of two motions in an evaluator's space.

    Like every component of an evaluator it trains on it: the other one should judge.
    """

    def __init__(self, evaluator: Evaluator):
        self.evaluator = evaluator

    def _distances(self, motions: Motions) -> np.ndarray:
        embedding = self.evaluator.embed_motion(motions.features, motions.lengths).astype(np.float64)
        return np.linalg.norm(embedding[:, None] - embedding[None], axis=2)


def _mean_to_others(distances: np.ndarray) -> np.ndarray:
    """Mean over the finite entries of each row of [N, N], its own aside; NaN where there are none."""
    counted = np.isfinite(distances) & ~np.eye(len(distances), dtype=bool)
    total = np.where(counted, distances, 0).sum(axis=1)
    return np.where(counted.any(axis=1), total / np.maximum(counted.sum(axis=1), 1), np.nan)
