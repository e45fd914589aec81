"""Files that are whole at any moment, files that only stand for others, and numbers as JSON can hold them."""

import contextlib
import hashlib
import json
import math
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from rollout.io.errors import InputError


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


@contextlib.contextmanager
def reading(path: Path, told: Callable[[Exception], str], missing: str = "file not found") -> Iterator[None]:
    """Around a reader that others' bytes are put before, which damage lets raise almost any exception: all become one InputError
    that says what `told` makes of the exception."""
    if not os.path.isfile(path):  # which, unlike Path.is_file, finds no name too long
        raise InputError(f"{path}: {missing}")
    refuse_stand_in(path)
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        raise InputError(f"{path}: {told(error)}") from None


def file_sha256(path: Path) -> str:
    """Of its content, which may be larger than memory. Raises OSError."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while part := file.read(2**20):
            digest.update(part)
    return digest.hexdigest()


def refuse_stand_in(path: Path) -> None:
    """Raises InputError for a file that is there in place of what it should hold: for every reader, before it reads."""
    try:
        with open(path, "rb") as file:
            start = file.read(200).removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    except (OSError, ValueError):  # which its reader says in its own words
        return
    if start.startswith(b"version https://git-lfs.github.com/spec/"):
        raise InputError(f"{path}: is a Git LFS pointer and not the file itself: run git lfs pull where it comes from")
    if start.startswith((b"<!doctype html", b"<html")):
        raise InputError(f"{path}: is a web page (HTML), saved instead of the file: download it again, from its raw address")


def strict(value: Any) -> Any:
    """`value` as JSON knows it: array scalars as numbers, and nan, inf, -inf (which JSON has not) as those words."""
    if isinstance(value, Mapping):
        return {str(key): strict(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [strict(item) for item in value]
    if hasattr(value, "item"):
        value = value.item()
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value
