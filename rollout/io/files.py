"""Files that are whole at any moment, and numbers as JSON can hold them."""

import contextlib
import json
import math
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """As `replace_file`."""
    replace_file(path, f"{json.dumps(strict(content), indent=2, allow_nan=False)}\n".encode())


ASIDE = ".writing"  # how names end that a kill may leave behind


def replace_file(path: Path, content: bytes) -> None:
    """As `replacing`."""
    with replacing(path) as file:
        file.write(content)


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """A file to write that takes the place of `path` in one step, once it is on disk: a reader or a crash sees the old file or
    the new one, never a part. Beside the target, so that the rename stays inside one file system."""
    aside = path.with_name(path.name + ASIDE)
    try:
        with aside.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)


def strict(value: Any) -> Any:
    """`value` as JSON knows it: array scalars as numbers, and nan, inf, -inf (which JSON has not) as those words."""
    if isinstance(value, Mapping):
        return {str(key): strict(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [strict(item) for item in value]
    if hasattr(value, "item"):
        value = value.item()
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value
