"""What is done to the raw values of a component inside a group before they are weighted and summed.

`values_G` holds the values of one group, any length; NaN marks a failed sample: it stays NaN and counts in nothing. A
group whose finite values are equal (to float32's resolution) has nothing to say: all its values become one constant, so
that no normaliser makes a signal of rounding.

Advantages are z-scored in the group once more, after the sum. A component alone therefore gets the same advantages raw,
with `std`, `minmax` or `percentile`, and nearly the same with `rank` (correlation .955); what a normaliser decides is the
say of a component beside others. `raw` keeps the unit, so that a component speaks where it differs much; the others give
every component the same say in every group, also where its differences are tiny.
"""

from collections import deque

import numpy as np

from rewards.options import choice, count, number
from rollout.io.errors import InputError

ROUNDING = 1e-6  # of the largest value: smaller differences are float32's
KINDS = ("raw", "std", "rank", "minmax")


def normalise(kind: str, values_G: np.ndarray) -> np.ndarray:
    """float32 [G] by `kind`; `percentile` has a memory and is `AdaptivePercentile`.

    raw     as they are
    std     (x - mean) / standard deviation (ddof 0): mean 0, deviation 1; 0 for a group without spread
    rank    (r - 1) / (n - 1), r the rank 1..n, ties share the mean of theirs: 0 the worst, 1 the best; 1/2 without spread
    minmax  (x - min) / (max - min), 0 the worst, 1 the best; 1/2 without spread

    Raises InputError for another kind.
    """
    choice("normalise", kind, KINDS)
    values_G = np.asarray(values_G, np.float64)
    finite_G = np.isfinite(values_G)
    result_G = np.full(values_G.shape, np.nan)
    if finite_G.any():
        result_G[finite_G] = _of_finite(kind, values_G[finite_G])
    return result_G.astype(np.float32)


def _of_finite(kind: str, known: np.ndarray) -> np.ndarray | float:
    if kind == "raw":
        return known
    if np.ptp(known) <= ROUNDING * np.abs(known).max():
        return 0.0 if kind == "std" else 0.5
    if kind == "std":
        return (known - known.mean()) / known.std()
    if kind == "minmax":
        return (known - known.min()) / np.ptp(known)
    below, ties = (known[None] < known[:, None]).sum(axis=1), (known[None] == known[:, None]).sum(axis=1) - 1
    return (below + ties / 2) / (len(known) - 1)


class AdaptivePercentile:
    """Values over the `percentile`-th percentile of the sizes |x| of the last `history` finite values, these included.

    One scale for all groups, which follows the run: the unit goes, zero and the sign stay, and a component keeps
    speaking where it differs much. Divides by 1 as long as the percentile is 0. The result depends on the order in which
    groups come; the state belongs in a checkpoint.
    """

    def __init__(self, history: int = 1024, percentile: float = 95):
        self.percentile = number("percentile", percentile, above=0)
        if self.percentile > 100:
            raise InputError(f"percentile: found {percentile!r}, expected at most 100")
        self.sizes = deque(maxlen=count("history", history))

    def __call__(self, values_G: np.ndarray) -> np.ndarray:
        """float32 [G]; NaN stays NaN and is not remembered."""
        values_G = np.where(np.isfinite(values_G), np.asarray(values_G, np.float64), np.nan)
        self.sizes.extend(np.abs(values_G[np.isfinite(values_G)]).tolist())
        scale = np.percentile(self.sizes, self.percentile) if self.sizes else 0
        return (values_G / (scale or 1)).astype(np.float32)

    def state(self) -> dict:
        """What a checkpoint keeps: {"sizes": floats, the oldest first}; JSON can hold it."""
        return {"sizes": list(self.sizes)}

    def load_state(self, state: dict) -> None:
        """Goes on where `state()` was taken; with a shorter history, from its newest values."""
        self.sizes.clear()
        self.sizes.extend(state["sizes"])
