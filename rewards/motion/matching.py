"""Matching: how near a motion lies to its own prompt in an evaluator's space, as a reward.

With a similarity of "euclidean" and d the distance of the two embeddings (embedding units), `mapping` makes of d, as the
original GRPO code for MDM does:

* linear       1 - min(d / max_distance, 1), in [0, 1]; flat, and so without anything to learn, from max_distance on
* exponential  exp(-d / scale), in (0, 1]; flat in practice beyond 5 scale
* sigmoid      1 / (1 + exp(d / scale)), in (0, 1/2]: 1/2 for a perfect match, as in the original
* negative     -d: never flat

The original also stretches the exponential to 0..1 over each batch, which makes a score depend on its neighbours. Here
that is `normalise: minmax`, which a component of any kind can have.

Inside a group these are nearly one reward: while distances stay near `scale`, advantages correlate with those of -d by
1.000 (linear), .99 (exponential and sigmoid at scale 2) and .976 (exponential at scale 1). Far beyond it, or beyond
`max_distance`, a group is saturated: its motions score the same, and nothing is learned from it.
"""

import logging

import numpy as np

from rewards.motion.space import Evaluator, OfEmbeddings, cosine
from rewards.options import choice, number

MAPPINGS = {"linear": "max_distance", "exponential": "scale", "sigmoid": "scale", "negative": None}
MAX_DISTANCE, SCALE = 10.0, 2.0  # embedding units, of the original
log = logging.getLogger(__name__)


def mapped(d: np.ndarray, mapping: str, max_distance: float = MAX_DISTANCE, scale: float = SCALE) -> np.ndarray:
    """Rewards of distances d >= 0 by the formula of `mapping` in the head of this file; NaN stays NaN."""
    if mapping == "linear":
        return 1 - np.minimum(d / max_distance, 1)
    if mapping == "exponential":
        return np.exp(-d / scale)
    # exp(-d) over 1 + exp(-d), and not 1 over 1 + exp(d): it goes to 0 without overflowing.
    return -d if mapping == "negative" else np.exp(-d / scale) / (1 + np.exp(-d / scale))


class Matching(OfEmbeddings):
    """`tmr.matching`: nearness of a motion's and its prompt's embedding.

    similarity cosine: (1 + cos) / 2, in [0, 1], which no mapping touches (as in the original); euclidean: the formulas in
    the head of this file, with `max_distance` and `scale` in embedding units. What the choice does not read is reported
    when it is given. InputError for a value that cannot be.
    """

    def __init__(
        self,
        evaluator: Evaluator,
        similarity: str = "cosine",
        mapping: str | None = None,
        max_distance: float | None = None,
        scale: float | None = None,
    ):
        self.evaluator = evaluator
        self.similarity = choice("similarity", similarity, ("cosine", "euclidean"))
        self.mapping = choice("mapping", "linear" if mapping is None else mapping, MAPPINGS)
        self.max_distance = number("max_distance", MAX_DISTANCE if max_distance is None else max_distance, above=0)
        self.scale = number("scale", SCALE if scale is None else scale, above=0)
        read = {"mapping", MAPPINGS[self.mapping]} if self.similarity == "euclidean" else set()
        for name, given in {"mapping": mapping, "max_distance": max_distance, "scale": scale}.items():
            if given is not None and name not in read:
                setting = f"mapping {self.mapping}" if "mapping" in read else "similarity cosine"
                log.warning("%s matching: %s is not read with %s", evaluator.name, name, setting)

    def of(self, text: np.ndarray, motion: np.ndarray) -> np.ndarray:
        if self.similarity == "cosine":
            return ((1 + cosine(text, motion)) / 2).astype(np.float32)
        d = np.linalg.norm(text.astype(np.float64) - motion, axis=1)
        return mapped(d, self.mapping, self.max_distance, self.scale).astype(np.float32)


class T2MMatching(Matching):
    """`t2m.matching`: the same in the T2M evaluator's space, which was trained on Euclidean distances."""

    def __init__(
        self, evaluator: Evaluator, mapping: str | None = None, max_distance: float | None = None, scale: float | None = None
    ):
        super().__init__(evaluator, "euclidean", mapping, max_distance, scale)
