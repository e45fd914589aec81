"""Parquet that others wrote: a file that is damaged, or much smaller than what it claims to hold, is one line."""

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from rollout.io.errors import InputError
from rollout.io.files import reading

VALUES_PER_BYTE, FREE_VALUES = 64, 1_000_000  # recorded motion has less than one value a byte


def read_table(path: Path, columns: Sequence[str] | None = None) -> pa.Table:
    """The whole table, or those of its `columns`; text and offsets checked, page checksums where it has some. InputError otherwise."""
    with reading(path, lambda error: "not a readable Parquet file ({})".format(str(error).partition("\n")[0][:120])):
        # Not `pq.read_table`, which takes folders named `a=b` above the file for columns of it.
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            metadata, size = file.metadata, path.stat().st_size
            groups = [metadata.row_group(i) for i in range(metadata.num_row_groups)]
            values = sum(group.column(i).num_values for group in groups for i in range(group.num_columns))
            if not 0 <= values <= FREE_VALUES + VALUES_PER_BYTE * size:
                raise InputError(f"{path}: claims to hold {values} values in {size} bytes")
            if lacking := set(columns or ()) - set(file.schema_arrow.names):
                raise InputError(f"{path}: has no column {', '.join(sorted(lacking))}")
            table = file.read(columns)
            table.validate(full=True)
            return table
