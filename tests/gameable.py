"""Rewards that a model can raise without moving any better, as a user might write them: what held-out judgement is for."""

import numpy as np

HANDS = (20, 21)


class LowHands:
    """Minus the mean height of the hands, m: highest for a body that sinks or folds."""

    def __call__(self, motions):
        return np.array([-joints[:length, HANDS, 1].mean() for joints, length in zip(motions.joints, motions.lengths)], np.float32)


class RawSmoothness:
    """Minus the mean acceleration, m/s^2, with no look at real motion: highest for a body that stands still."""

    def __call__(self, motions):
        found = []
        for joints, length in zip(motions.joints, motions.lengths):
            found.append(-np.linalg.norm(np.diff(joints[:length], n=2, axis=0), axis=-1).mean() * 20**2)
        return np.array(found, np.float32)
