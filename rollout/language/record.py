"""The columns of a rollout's record that hold answers."""

import numpy as np
import pyarrow as pa

from rollout import record


def _as_is(value, row: dict):
    return value


def _tokens(ids: np.ndarray, row: dict) -> np.ndarray:
    if len(ids) != row["length"]:
        raise ValueError(f"has {len(ids)} token ids for a length of {row['length']}")
    return ids


COLUMNS = [
    record.Column("text", pa.string(), lambda group, i: group.columns["text"][i], _as_is, _as_is),
    record.Column("truncated", pa.bool_(), lambda group, i: bool(group.columns["truncated"][i]), _as_is, _as_is),
    record.Column("token_ids", pa.list_(pa.int32()), lambda group, i: group.outputs[i, : group.lengths[i]], _tokens, _tokens, bulky=True),
]
