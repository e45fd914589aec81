"""Whether the dims of a motion that no joint follows say what its skeleton does."""

import numpy as np

from rollout.io.errors import InputError
from rollout.motion.skeleton import FEATURES

# Dims beyond the first 67, which alone determine the skeleton: rotations, velocities, foot contacts. The number is their
# standard deviation, one a block as in HumanML3D's Std: over real val and test crops, mean over the block's dims.
BLOCKS = ((slice(67, 193), 0.226), (slice(193, 259), 0.0288), (slice(259, 263), 0.428))


def feature_inconsistency(produced: np.ndarray, rederived: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """RMS difference between produced features and those re-derived from their own joints, in feature standard deviations.

    produced: raw features [N, T+1, 263]; rederived: [N, T, 263] and their lengths int [N]. Returns float32 [N],
    over the 196 dims that no joint follows and all frames that both have; NaN for a motion that is not finite. It is not 0
    for a crop of real motion: facing is smoothed along the clip, and a crop ends sooner. InputError for KIT's features.
    """
    if produced.shape[-1] != FEATURES:
        raise InputError(f"feature_consistency: found {produced.shape[-1]} features a frame, expected {FEATURES}")
    gap = produced[:, :-1].astype(np.float64) - rederived
    squares = sum(((gap[..., dims] / std) ** 2).sum(axis=2) for dims, std in BLOCKS)  # [N, T]
    width = sum(dims.stop - dims.start for dims, _ in BLOCKS)
    valid = np.arange(gap.shape[1]) < np.asarray(lengths)[:, None]
    mean = np.where(valid, squares, 0).sum(axis=1) / (width * np.asarray(lengths))
    return np.where(np.isfinite(mean), np.sqrt(mean), np.nan).astype(np.float32)
