"""The columns of a rollout's record that hold motion."""

from pathlib import Path

import numpy as np
import pyarrow as pa

from rollout import record
from rollout.motion.packing import pack, unpack
from rollout.motion.skeleton import EITHER, FORMATS


def _pack_motion(motion: np.ndarray, row: dict) -> bytes:
    if np.shape(motion) not in [(row["length"], features) for features in FORMATS]:
        raise ValueError(f"motion of shape {np.shape(motion)}, expected ({row['length']}, {EITHER})")
    return pack(motion)


def _unpack_motion(packed: bytes, row: dict) -> np.ndarray:
    try:
        if row["length"] < 1:
            raise ValueError
        return unpack(packed, row["length"])
    except ValueError:
        raise ValueError(f"holds {len(packed)} bytes of motion, expected {row['length']} x {EITHER} numbers") from None


def _timesteps(steps: np.ndarray, row: dict) -> np.ndarray:
    if len(steps) != len(row["log_probs"]):
        raise ValueError(f"has {len(row['log_probs'])} log-probs for {len(steps)} timesteps")
    return steps


COLUMNS = [
    # [K], of the trained steps.
    record.Column("timesteps", pa.list_(pa.int32()), lambda group, i: group.columns["timesteps"][i], _timesteps, _timesteps),
    # float32 [length, F]: raw features of the valid frames, as near as `rollout.motion.packing` keeps them.
    record.Column("motion", pa.binary(), lambda group, i: group.outputs[i, : group.lengths[i]], _pack_motion, _unpack_motion, bulky=True),
]


def read_rollout(path: Path | str) -> list[dict]:
    """See `rollout.record.read_rollout`; `motion` is None where it was not kept."""
    return record.read_rollout(path, COLUMNS)
