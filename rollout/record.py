"""The record of a rollout on disk: one Parquet row a sample, with all that explains its reward."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from rollout.io.errors import InputError
from rollout.io.files import replacing
from rollout.io.parquet import read_table
from rollout.motion.packing import pack, unpack
from rollout.motion.skeleton import FEATURES

SCHEMA = pa.schema(
    [
        ("iteration", pa.int32()),
        ("group", pa.int32()),
        ("sample", pa.int32()),
        ("prompt", pa.string()),
        ("seed", pa.string()),
        ("length", pa.int32()),  # valid frames
        ("adapter_version", pa.int32()),
        ("adapter_sha256", pa.string()),
        ("advantage", pa.float32()),
        ("reward", pa.float32()),  # the total the advantage was made of
        ("components", pa.map_(pa.string(), pa.float32())),  # every part of the reward, raw
        ("log_probs", pa.list_(pa.float32())),  # [K] of the trained steps, under the policy that sampled
        ("timesteps", pa.list_(pa.int32())),  # [K] of the same steps
        ("motion", pa.binary()),  # raw features of the valid frames as `rollout.motion.packing` has them; null: not kept
    ]
)


def kept_samples(rewards_G: np.ndarray, keep: str) -> list[int]:
    """The samples of a group whose motions its record keeps, all of them, none, or best_worst: of those that were scored."""
    ranked = [int(i) for i in np.argsort(rewards_G) if np.isfinite(rewards_G[i])]
    return {"all": list(range(len(rewards_G))), "best_worst": ranked[:1] + ranked[1:][-1:], "none": []}[keep]


def write_rollout(path: Path | str, rows: list[dict]) -> None:
    """Writes samples as Parquet (zstd), all or nothing: a file of that name is always whole.

    A row holds every column of `SCHEMA`; `motion` is an array [length, 263] or None, `components` a dict, `log_probs` and
    `timesteps` arrays [K]. Raises ValueError for a row that is not so.
    """
    path = Path(path)
    for i, row in enumerate(rows):
        if row.keys() != set(SCHEMA.names):
            raise ValueError(f"row {i}: columns {sorted(row.keys() ^ set(SCHEMA.names))} missing or unknown")
        if row["motion"] is not None and np.shape(row["motion"]) != (row["length"], FEATURES):
            raise ValueError(
                f"row {i}: motion of shape {np.shape(row['motion'])}, expected ({row['length']}, {FEATURES})"
            )
        if np.shape(row["log_probs"]) != np.shape(row["timesteps"]):
            raise ValueError(f"row {i}: {len(row['log_probs'])} log-probs for {len(row['timesteps'])} timesteps")
    columns = {name: [row[name] for row in rows] for name in SCHEMA.names}
    columns["components"] = [list(components.items()) for components in columns["components"]]
    columns["motion"] = [None if motion is None else pack(motion) for motion in columns["motion"]]
    table = pa.Table.from_pydict(columns, schema=SCHEMA)

    with replacing(path) as file:
        dictionary = ["prompt", "seed", "adapter_sha256"]
        pq.write_table(table, file, compression="zstd", use_dictionary=dictionary, write_page_checksum=True)


def read_rollout(path: Path | str) -> list[dict]:
    """The rows as they were written: `motion` float32 [length, 263], as near as it is packed, or None; `log_probs` and
    `timesteps` arrays [K].

    Raises InputError for a file that is missing, damaged (pages have checksums), not Parquet, or no rollout.
    """
    path = Path(path)
    table = read_table(path)
    if not table.schema.equals(SCHEMA):
        raise InputError(f"{path}: its columns are not those of a rollout of this version ({', '.join(SCHEMA.names)})")
    for name in SCHEMA.names:
        column = table.column(name).combine_chunks()
        inside = {"components": ["items"], "log_probs": ["values"], "timesteps": ["values"]}.get(name, [])
        if column.null_count and name != "motion" or any(getattr(column, part).null_count for part in inside):
            raise InputError(f"{path}: column {name!r} has empty cells, expected none")
    arrays = {name: table.column(name) for name in ("log_probs", "timesteps")}
    rows = table.drop_columns(list(arrays)).to_pylist()
    for i, row in enumerate(rows):
        row["components"] = dict(row["components"])
        for name, column in arrays.items():
            row[name] = column[i].values.to_numpy()
        try:
            if row["length"] < 1:
                raise ValueError
            row["motion"] = None if row["motion"] is None else unpack(row["motion"], row["length"])
        except ValueError:
            found = f"{len(row['motion'] or b'')} bytes of motion"
            raise InputError(f"{path}: row {i} holds {found}, expected {row['length']} x {FEATURES} numbers") from None
    return rows
