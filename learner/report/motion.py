"""Motions for a browser: joints in steps of two millimetres, as page/outputs.js unpacks them."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from rewards.motion.real_band import real_measures
from rollout.motion.features import joints_in_metres
from rollout.motion.packing import unpack
from rollout.motion.skeleton import FORMATS, HUMANML3D

STEP = 2e-3  # metres
FARTHEST = 30.0  # metres from the start; what is beyond, or no number, is drawn there


class ShownMotion:
    """See `learner.report.family.Shown`."""

    kind = "motion"
    column = "motion"
    beside = ()

    def pack(self, value: bytes, row: Mapping[str, Any]) -> bytes:
        """`value` as the record keeps it. int16 changes from frame to frame, [3 J, T] of joint and axis, whose sign is the lowest
        bit; the low bytes, then the high ones, so that most of these are 0."""
        return packed(joints_in_metres(unpack(value, row["length"])))

    def facts(self, config: Any, example: tuple[bytes, Mapping[str, Any]] | None) -> dict[str, Any]:
        """The skeleton, and where real motion of its format lies: 5 % and 95 % quantiles and mean of each physical measure, if known."""
        kind = FORMATS[unpack(example[0], example[1]["length"]).shape[1]] if example else HUMANML3D
        band = {
            name: {"low": of["quantiles"]["0.05"], "high": of["quantiles"]["0.95"], "mean": of["mean"]}
            for name, of in real_measures(kind).items()
        }  # fmt: skip
        feet = list(zip(kind.ankles, kind.toes))
        skeleton = {"names": kind.names, "parents": kind.parents, "chains": kind.chains, "feet": feet}
        return {"fps": kind.fps, "step": STEP, **skeleton, "format": kind.name, "real": band}

    def prompts(self, config: Any, standing: Mapping[str, str]) -> None:
        return None

    def texts(self, config: Any) -> None:
        return None


def packed(joints: np.ndarray) -> bytes:
    """`joints` [T, J, 3] in metres; all but the pelvis are told from there."""
    joints = np.concatenate([joints[:, :1], joints[:, 1:] - joints[:, :1]], axis=1)
    steps = np.rint(np.clip(np.nan_to_num(joints), -FARTHEST, FARTHEST) / STEP).astype("<i2").reshape(len(joints), -1).T
    changes = np.diff(steps, axis=1, prepend=np.zeros((len(steps), 1), "<i2"))
    signed = np.ascontiguousarray(changes << 1 ^ changes >> 15)
    return signed.view(np.uint8).reshape(-1, 2).T.tobytes()


MOTION = ShownMotion()
