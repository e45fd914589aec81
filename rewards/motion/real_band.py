"""Physical rewards against real motion: nothing inside the range that real motion covers, a penalty outside of it.

The score is minus the distance of a measure (`rewards/motion/physics.py`) from the band [low, high], over `scale`:

    -(max(low - x, 0) + max(x - high, 0)) / scale

`low` and `high` are the 5 % and 95 % quantiles of crops of real motion (`rewards/assets/real_physics.json`), `scale` the
width between them, so -1 is as far outside as the band is wide. Being better than real earns nothing and standing still,
where all measures are 0, earns no more than moving well does: often less.

Normalising in the group gives the full say to groups whose samples all but one lie inside the band, where the raw value
says little. Raw, with a weight, the penalty speaks as loud as the fault is. Alone these rewards teach no prompt.
"""

import functools
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np

from rewards.motion import physics
from rewards.motion.consistency import feature_inconsistency
from rewards.motion.motions import Motions
from rewards.options import number
from rollout.io.errors import InputError
from rollout.motion.features import joints_in_metres
from rollout.motion.skeleton import HUMANML3D, MotionFormat

STATISTICS = Path(__file__).parent.parent / "assets" / "real_physics.json"
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


@functools.cache
def real_statistics() -> dict:
    """What ships of real motion: {"frames", "crops", "source", "measures": by name {"unit", "mean", "quantiles": {"0.05": ...}}}.
    Written by `python -m learner.pretrain --parts physics`."""
    return json.loads(STATISTICS.read_text())


def real_measures(kind: MotionFormat) -> dict[str, dict]:
    """Those of `real_statistics` that motions of `kind` may be held against: none of KIT-ML's. Speeds and jerk depend on its 12.5 frames
    a second, contacts on how high its feet are, consistency on how its features vary, and no motion of it was there to be measured."""
    return real_statistics()["measures"] if kind is HUMANML3D else {}


class RealBand:
    """Base of the physical rewards; see the head of the file.

    low, high, scale: in the unit of the measure; None = from real motion. InputError for a band that is empty.
    """

    name: str
    unit: str
    measure: Callable[[Motions], np.ndarray]  # float32 [N] in `unit`; NaN for a motion that is not finite
    least_scale = 0.0  # where all real motion has one value
    borrowed: bool  # whether anything of it is real motion's, which is HumanML3D's

    def __init__(self, low: float | None = None, high: float | None = None, scale: float | None = None):
        quantiles = real_statistics()["measures"][self.name]["quantiles"]
        self.borrowed = None in (low, high, scale)
        self.low = number("low", quantiles["0.05"] if low is None else low)
        self.high = number("high", quantiles["0.95"] if high is None else high)
        if self.low > self.high:
            raise InputError(f"low: found {self.low:g}, expected at most high, {self.high:g} {self.unit}")
        width = max(quantiles["0.95"] - quantiles["0.05"], self.least_scale)
        self.scale = number("scale", width if scale is None else scale, above=0)

    def __call__(self, motions: Motions) -> np.ndarray:
        """float32 [N], at most 0; NaN for a motion that is not finite."""
        x = self.measure(motions)
        return (0 - np.maximum(self.low - x, 0) - np.maximum(x - self.high, 0)) / self.scale


def _of_skeleton(measure: Callable) -> staticmethod:
    """A measure of the joints that are scored: re-derived, their lowest point on the floor."""
    return staticmethod(lambda motions: measure(motions.joints, motions.lengths))


def _of_floor(measure: Callable) -> staticmethod:
    """A measure of where the model itself puts the floor: re-deriving sets every motion on it, and hides the fault."""

    def of(motions: Motions) -> np.ndarray:
        if motions.produced is None:
            return measure(motions.joints, motions.lengths)
        return measure(joints_in_metres(motions.produced), motions.lengths + 1)

    return staticmethod(of)


class FootSkate(RealBand):
    """`foot_skate`: horizontal speed of standing toes, m/s; see `physics.foot_skate`."""

    name, unit, measure = "foot_skate", "m/s", _of_skeleton(physics.foot_skate)


class GroundPenetration(RealBand):
    """`ground_penetration`: mean depth of the lowest joint below the floor, m. Real motion has 0; the scale is 1 cm."""

    name, unit, measure, least_scale = "ground_penetration", "m", _of_floor(physics.ground_penetration), 0.01


class Floating(RealBand):
    """`floating`: mean height of the lowest joint above the floor, m. Real jumps and toes that lift have some."""

    name, unit, measure = "floating", "m", _of_floor(physics.floating)


class Jerk(RealBand):
    """`jerk`: mean size of the third derivative of position, m/s^3; see `physics.jerk`."""

    name, unit, measure = "jerk", "m/s^3", _of_skeleton(physics.jerk)


class Smoothness(RealBand):
    """`smoothness`: mean size of acceleration, m/s^2; see `physics.smoothness`."""

    name, unit, measure = "smoothness", "m/s^2", _of_skeleton(physics.smoothness)


class RootDrift(RealBand):
    """`root_drift`: way of the root while both feet stand, m/s; see `physics.root_drift`."""

    name, unit, measure = "root_drift", "m/s", _of_skeleton(physics.root_drift)


class FeatureConsistency(RealBand):
    """`feature_consistency`: RMS gap between produced and re-derived features that no joint follows, in feature standard
    deviations; see `rewards/motion/consistency.py`. InputError for motions that do not say what the model produced.

    Features cannot agree too well, so the band begins at 0. It ends at the median of real crops: their upper quantiles
    come from headings that turn by 180 degrees, where the features as published jump. The scale is one deviation.
    """

    name, unit = "feature_consistency", "std"

    def __init__(self, high: float | None = None, scale: float | None = None):
        median = real_statistics()["measures"][self.name]["quantiles"]["0.5"]
        super().__init__(0.0, median if high is None else high, 1.0 if scale is None else scale)
        self.borrowed = high is None

    @staticmethod
    def measure(motions: Motions) -> np.ndarray:
        if motions.produced is None:
            raise InputError("feature_consistency: motions without the features that the model produced")
        return feature_inconsistency(motions.produced, motions.features, motions.lengths)


PHYSICAL = (FootSkate, GroundPenetration, Floating, Jerk, Smoothness, RootDrift, FeatureConsistency)
