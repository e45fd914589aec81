"""Captioned motion clips from one Parquet file, and their features."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from rollout.io.errors import InputError
from rollout.io.parquet import read_table
from rollout.motion.features import joints_to_features
from rollout.motion.skeleton import HUMANML3D, retarget

SPLITS = ("train", "val", "test")
_COLUMNS = {
    "clip_id": pa.string(),
    "split": pa.string(),
    "fps": pa.int32(),
    "n_frames": pa.int32(),
    "action": pa.string(),
    "mirrored": pa.bool_(),
    "captions": pa.list_(pa.string()),
    "joints": pa.list_(pa.float32()),
}


@dataclass(frozen=True)
class Clip:
    """One captioned motion; `joints` is float32 [T, 22, 3] in metres, y up, 20 fps, on the target skeleton."""

    clip_id: str
    split: str
    action: str
    captions: tuple[str, ...]
    joints: np.ndarray
    mirrored: bool


def read_clips(path: Path | str) -> list[Clip]:
    """All clips of a Parquet file, in its order.

    Columns: clip_id, split (train, val or test), fps (20), n_frames, action, mirrored, captions (list of strings) and
    joints (n_frames * 22 * 3 floats, C order). Raises InputError naming the column and row that do not fit.
    """
    columns = _read_columns(Path(path))
    starts = columns["joints"].offsets.to_numpy()
    values = columns["joints"].values.to_numpy(zero_copy_only=False)
    rest = {name: column.to_pylist() for name, column in columns.items() if name != "joints"}

    clips = []
    for row, clip_id in enumerate(rest["clip_id"]):
        where = f"{path}: clip {clip_id!r}"
        frames, split, captions = rest["n_frames"][row], rest["split"][row], rest["captions"][row]
        flat = values[starts[row] : starts[row + 1]]
        if rest["fps"][row] != HUMANML3D.fps:
            raise InputError(f"{where}: fps is {rest['fps'][row]}, expected {HUMANML3D.fps}")
        if split not in SPLITS:
            raise InputError(f"{where}: split is {split!r}, expected one of {', '.join(SPLITS)}")
        if not captions or not all(captions):
            raise InputError(f"{where}: captions are {captions!r}, expected at least one and none empty")
        if frames < 2 or len(flat) != frames * HUMANML3D.joints * 3:
            raise InputError(
                f"{where}: joints hold {len(flat)} numbers for n_frames {frames}, "
                f"expected n_frames x {HUMANML3D.joints} x 3 and at least 2 frames"
            )
        if not np.isfinite(flat).all():
            raise InputError(f"{where}: joints hold NaN or infinite numbers, expected finite metres")
        joints = flat.reshape(frames, HUMANML3D.joints, 3)
        clips.append(Clip(clip_id, split, rest["action"][row], tuple(captions), joints, rest["mirrored"][row]))
    return clips


def clip_features(clips: list[Clip]) -> list[np.ndarray]:
    """Motion features float32 [T-1, 263] of each clip, by the whole official pipeline, retargeting included.

    Raises InputError for a clip whose features are not finite.
    """
    all_features = []
    for clip in clips:
        features = joints_to_features(retarget(clip.joints))
        if not np.isfinite(features).all():
            raise InputError(f"clip {clip.clip_id!r}: its motion features hold NaN (a bone without length?)")
        all_features.append(features)
    return all_features


def _read_columns(path: Path) -> dict[str, pa.Array]:
    table = read_table(path)
    missing = [name for name in _COLUMNS if name not in table.column_names]
    if missing:
        raise InputError(f"{path}: no column {missing[0]!r}, expected columns {', '.join(_COLUMNS)}")
    if table.num_rows == 0:
        raise InputError(f"{path}: no clips in the file")
    columns = {}
    for name, expected in _COLUMNS.items():
        column = table.column(name)
        try:
            columns[name] = column.cast(expected).combine_chunks()
        except pa.ArrowException:
            raise InputError(f"{path}: column {name!r} is {column.type}, expected {expected}") from None
        if columns[name].null_count:
            raise InputError(f"{path}: column {name!r} has {columns[name].null_count} empty cells, expected none")
    return columns
