"""Rewards of one group to advantages (GRPO, Shao et al. 2024, eq. 3, with the safeguards of the project's spec)."""

import numpy as np

from rollout.io.errors import InputError


def group_advantages(rewards_G: np.ndarray, eps: float, clip: float) -> np.ndarray | None:
    """(r - mean) / (std + eps) inside the group, clipped to +-`clip`: fp32 [G] with mean 0.

    A NaN reward marks a failed sample: it gets advantage 0 and counts in neither mean nor std. Returns None when the
    group cannot teach: fewer than two scored samples, or a std below `eps` (its differences are rounding, not signal).
    Raises InputError for a group of one, which has no baseline.
    """
    if len(rewards_G) < 2:
        raise InputError(f"group_size: found {len(rewards_G)}, expected at least 2 (a group of one has no baseline)")
    rewards_G = np.asarray(rewards_G, np.float64)
    scored_G = np.isfinite(rewards_G)
    if scored_G.sum() < 2 or rewards_G[scored_G].std() < eps:
        return None
    centred_G = np.where(scored_G, rewards_G - rewards_G[scored_G].mean(), 0.0)
    return np.clip(centred_G / (rewards_G[scored_G].std() + eps), -clip, clip).astype(np.float32)


def extremes(advantages_G: np.ndarray, count: int) -> np.ndarray:
    """Indices [count], ascending, of the best and of the worst samples, half of each: what is between them teaches least for the time
    of a recompute (arXiv 2604.06916). Of equals the first come first."""
    order = np.argsort(advantages_G, kind="stable")
    return np.sort(np.concatenate([order[: count // 2], order[len(order) - count // 2 :]]))
