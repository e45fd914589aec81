"""The record of a rollout on disk: one Parquet row a sample, with all that explains its reward."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from rollout.io.errors import InputError
from rollout.io.files import replacing
from rollout.io.parquet import read_table
from rollout.policy import Group

LEVEL = 8  # of zstd: 6 % less than the usual 3 on motions, for half a millisecond each
RECOMPUTED = ("log_ratio", "kl")  # columns that an update makes; NaN where it did not


class Column(NamedTuple):
    """A column that a family adds. `of(group, sample)`: its value; `pack(value, row)`: as Arrow takes it; `unpack(packed, row)`: the value
    again, from a numpy array for a list and from what Arrow gives otherwise. Both raise ValueError for what does not fit."""

    name: str
    type: pa.DataType
    of: Callable[[Group, int], Any]
    pack: Callable[[Any, dict], Any]
    unpack: Callable[[Any, dict], Any]
    bulky: bool = False  # None where `rollout.keep` keeps only what explains a sample's reward


COMMON = [
    ("iteration", pa.int32()),
    ("group", pa.int32()),
    ("sample", pa.int32()),
    ("prompt", pa.string()),
    ("seed", pa.string()),
    ("length", pa.int32()),  # how much of the output is valid
    ("adapter_version", pa.int32()),
    ("adapter_sha256", pa.string()),
    ("advantage", pa.float32()),
    ("reward", pa.float32()),  # the total the advantage was made of
    ("components", pa.map_(pa.string(), pa.float32())),  # every part of the reward, raw
    ("log_probs", pa.list_(pa.float32())),  # [K] of the trained actions, under the policy that sampled
    ("log_ratio", pa.list_(pa.float32())),  # [K], of the policy before the last step of the update to the one that sampled
    ("kl", pa.list_(pa.float32())),  # [K], from the base model; of what was compared with it
]


def schema(columns: Sequence[Column]) -> pa.Schema:
    return pa.schema([*COMMON, *((column.name, column.type) for column in columns)])


def kept_samples(rewards_G: np.ndarray, keep: str) -> list[int]:
    """The samples of a group that are kept whole: all of them, none, or best_worst: of those that were scored."""
    ranked = [int(i) for i in np.argsort(rewards_G) if np.isfinite(rewards_G[i])]
    return {"all": list(range(len(rewards_G))), "best_worst": ranked[:1] + ranked[1:][-1:], "none": []}[keep]


def row_of(group: Group, sample: int, columns: Sequence[Column], whole: bool) -> dict[str, Any]:
    """What the record keeps of one sample, but for its place in the run and what became of it; bulky columns if it is `whole`."""
    return {
        "sample": sample, "prompt": group.prompt.text, "seed": ",".join(map(str, group.seed)), "length": int(group.lengths[sample]),
        "adapter_version": group.adapter_version, "adapter_sha256": group.adapter_sha256, "log_probs": group.log_probs[sample],
        **{column.name: column.of(group, sample) if whole or not column.bulky else None for column in columns},
    }  # fmt: skip


def write_rollout(path: Path | str, rows: Iterable[dict], columns: Sequence[Column]) -> None:
    """Writes samples as Parquet (zstd), all or nothing: a file of that name is always whole.

    A row holds every column of `schema(columns)`, but may lack those of RECOMPUTED; `components` is a dict, `log_probs` an array [K],
    the family's values what its columns pack. Raises ValueError for a row that is not so.
    """
    rows, names = [_without_update(row) | row for row in rows], schema(columns).names
    for i, row in enumerate(rows):
        if row.keys() != set(names):
            raise ValueError(f"row {i}: columns {sorted(row.keys() ^ set(names))} missing or unknown")
    cells = {name: [row[name] for row in rows] for name in names}
    cells["components"] = [list(components.items()) for components in cells["components"]]
    for column in columns:
        cells[column.name] = [None if row[column.name] is None else column.pack(row[column.name], row) for row in rows]
    with replacing(Path(path)) as file:
        dictionary, table = ["prompt", "seed", "adapter_sha256"], pa.Table.from_pydict(cells, schema=schema(columns))
        pq.write_table(table, file, compression="zstd", compression_level=LEVEL, use_dictionary=dictionary, write_page_checksum=True)


def _without_update(row: dict) -> dict:
    return {name: np.full(len(row.get("log_probs", ())), np.nan, np.float32) for name in RECOMPUTED}


def read_rollout(path: Path | str, columns: Sequence[Column]) -> list[dict]:
    """The rows as they were written, `log_probs` an array [K].

    Raises InputError for a file that is missing, damaged (pages have checksums), not Parquet, or no rollout of that family.
    """
    table = read_table(Path(path))
    if not table.schema.equals(schema(columns)):
        raise InputError(f"{path}: its columns are not those of a rollout of this version ({', '.join(schema(columns).names)})")
    lists = [field.name for field in table.schema if pa.types.is_list(field.type)]
    bulky = [column.name for column in columns if column.bulky]
    for name in table.column_names:
        column = table.column(name).combine_chunks()
        inside = ["items"] if name == "components" else ["values"] * (name in lists)
        if (column.null_count and name not in bulky) or any(getattr(column, part).null_count for part in inside):
            raise InputError(f"{path}: column {name!r} has empty cells, expected none")
    rows = table.drop_columns(lists).to_pylist()
    for i, row in enumerate(rows):
        row["components"] = dict(row["components"])
        row |= {name: table.column(name)[i].values.to_numpy() for name in lists}
        try:
            for column in columns:
                row[column.name] = None if row[column.name] is None else column.unpack(row[column.name], row)
        except ValueError as error:
            raise InputError(f"{path}: row {i} {error}") from None
    return rows
