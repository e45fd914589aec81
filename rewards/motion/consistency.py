"""Whether the dims of a motion that no joint follows say what its skeleton does."""

import numpy as np

from rollout.motion.skeleton import FORMATS, HUMANML3D, MotionFormat

# Standard deviations of the dims beyond those that determine the skeleton, one a block as in HumanML3D's Std: over real val and test
# crops, mean over the block's dims. Rotations, velocities (m a frame, at 20 frames a second), foot contacts.
ROTATIONS, VELOCITIES, CONTACTS = 0.226, 0.0288, 0.428


def feature_inconsistency(produced: np.ndarray, rederived: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """RMS difference between produced features and those re-derived from their own joints, in feature standard deviations.

    produced: raw features [N, T+1, F]; rederived: [N, T, F] and their lengths int [N]. Returns float32 [N],
    over the 196 dims (KIT 187) that no joint follows and all frames that both have; NaN for a motion that is not finite. It is not 0
    for a crop of real motion: facing is smoothed along the clip, and a crop ends sooner.
    """
    blocks = _blocks(FORMATS[produced.shape[-1]])
    gap = produced[:, :-1].astype(np.float64) - rederived
    squares = sum(((gap[..., dims] / std) ** 2).sum(axis=2) for dims, std in blocks)  # [N, T]
    width = sum(dims.stop - dims.start for dims, _ in blocks)
    valid = np.arange(gap.shape[1]) < np.asarray(lengths)[:, None]
    mean = np.where(valid, squares, 0).sum(axis=1) / (width * np.asarray(lengths))
    return np.where(np.isfinite(mean), np.sqrt(mean), np.nan).astype(np.float32)


def _blocks(kind: MotionFormat) -> tuple[tuple[slice, float], ...]:
    """Dims and their standard deviation in the data's unit: the velocities of people, at the data's rate."""
    velocities = VELOCITIES * (HUMANML3D.fps / kind.fps) / kind.metres
    return (kind.rotations, ROTATIONS), (kind.velocities, velocities), (kind.feet, CONTACTS)
