"""A reward made to mind the floor: a penalty for feet that slide more than those of real people."""

import numpy as np

from rewards.physics import foot_skate
from rewards.reward import Motions, Reward
from rollout.motion.features import features_to_joints

REAL_FOOT_SKATE = 0.035  # m/s, mean over the first 40 frames of real val and test clips, joints as recorded


class FootSkatePenalty:
    """`reward` minus `weight` (in the reward's unit per m/s) times the foot skate beyond that of real motion.

    Nothing is gained below the real value, so standing still earns no more than walking well. Components: those of the
    reward, and `foot_skate` in m/s.
    """

    def __init__(self, reward: Reward, weight: float):
        self.reward, self.weight, self.name = reward, weight, reward.name

    def embed_text(self, prompts: list[str], tokens: list[tuple[str, ...]] | None = None) -> np.ndarray:
        """The reward's own embeddings of the prompts."""
        return self.reward.embed_text(prompts, tokens)

    def __call__(self, motions: Motions) -> dict[str, np.ndarray]:
        components = self.reward(motions)
        skate = foot_skate(features_to_joints(motions.features), motions.lengths)
        total = components["total"] - self.weight * np.maximum(skate - REAL_FOOT_SKATE, 0)
        return components | {"foot_skate": skate, "total": total.astype(np.float32)}
