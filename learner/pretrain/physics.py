"""What the physical rewards and `rewards.inspect` compare with: measures of real held-out motion, so that none has to ship."""

import json
from pathlib import Path

import numpy as np

from rewards.motion.motions import Motions
from rewards.motion.real_band import PHYSICAL, QUANTILES
from rollout.io.errors import InputError
from rollout.motion.dataset import Clip
from rollout.motion.features import rederived

CROPS = 4  # of each clip


def write_real_physics(root: Path, clips: list[Clip], features: list[np.ndarray], frames: int, source: str) -> None:
    """rewards/assets/real_physics.json under `root`, in the form that `rewards.motion.real_band.real_statistics` reads.

    From crops of `frames` frames of every val and test clip that has as many, read as a model's motions are: the crop is
    what was "produced", its features are re-derived. Clips on uneven ground should be left out by the caller. InputError
    when no clip is long enough.
    """
    rng = np.random.default_rng(0)
    held = [motion for clip, motion in zip(clips, features) if clip.split != "train" and len(motion) >= frames]
    if not held:
        raise InputError(f"no val or test clip has {frames} frames")
    crops = [motion[start : start + frames] for motion in held for start in rng.integers(len(motion) - frames + 1, size=CROPS)]
    produced = np.stack(crops)
    features = np.stack([rederived(crop) for crop in crops])
    motions = Motions(features, np.full(len(crops), frames - 1), [""] * len(crops), produced=produced)
    statistics = {"source": source, "frames": frames, "crops": len(crops), "measures": {}}
    for reward in PHYSICAL:
        values = reward.measure(motions)
        quantiles = {f"{q:g}": _rounded(np.quantile(values, q)) for q in QUANTILES}
        statistics["measures"][reward.name] = {"unit": reward.unit, "mean": _rounded(values.mean()), "quantiles": quantiles}
    (root / "rewards" / "assets" / "real_physics.json").write_text(json.dumps(statistics, indent=1) + "\n")


def _rounded(value: float) -> float:
    return float(f"{value:.4g}")
