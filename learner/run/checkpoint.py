"""A run's checkpoints: one file each, whole or not there, in a local folder or in any store that pyarrow.fs reaches.

    000012.safetensors    the run after 12 iterations: its arrays; in the header its facts as JSON, and a digest of all
"""

import contextlib
import json
import logging
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
from pyarrow import ArrowException, fs
from safetensors import SafetensorError

from rollout.io.credentials import redacted
from rollout.io.errors import InputError
from rollout.policy import arrays_digest

log = logging.getLogger(__name__)
FORMAT = "3"  # of the files; the second had other names and bits of the adapter, the first said none
NAME = re.compile(r"(\d{6,})\.safetensors")
ASIDE = re.compile(r"\.\d{6,}\.safetensors\.writing")


@dataclass(frozen=True)
class Checkpoint:
    """A run after `iterations` iterations: all it needs to go on. Never the base model.

    arrays: by "/"-separated name, such as `exp_avg/<tensor>`, of any shape and any number type or bool. facts: plain JSON.
    """

    iterations: int
    arrays: dict[str, np.ndarray]
    facts: dict[str, Any]


class Checkpoints:
    """The newest checkpoints of one run."""

    def __init__(self, place: str | Path, keep: int):
        """place: a folder, made when new, or a URI of pyarrow.fs such as s3://bucket/run. keep: how many stay, at least 1.

        Raises InputError when the place cannot be reached or is no folder.
        """
        address = str(place)
        self.keep = keep
        try:
            if "://" in address:
                self.place = redacted(address).partition("?")[0].rstrip("/")
                self._files, self._folder = fs.FileSystem.from_uri(address)
            else:
                self.place = self._folder = str(Path(place).expanduser().absolute())
                self._files = fs.LocalFileSystem()
            self._files.create_dir(self._folder, recursive=True)
        except (ArrowException, OSError, ValueError, ImportError) as error:
            raise InputError(f"checkpoint.path: cannot use {self.place} ({_reason(error)})") from None

    def saved(self) -> list[int]:
        """After how many iterations each was saved, ascending; whether they are whole is not looked at."""
        found = (NAME.fullmatch(name) for name in self._names())
        return sorted(int(match[1]) for match in found if match and match[0] == _name(int(match[1])))

    def require_none(self) -> None:
        """For a run that begins: raises InputError when another run's checkpoints lie here, which it would delete."""
        if self.saved():
            raise InputError(f"checkpoint.path: {self.place} holds checkpoints of another run, expected a place of its own")

    def save(self, checkpoint: Checkpoint, spare: int | None = None) -> str:
        """Write `checkpoint` and then delete all but the `keep` newest and that after `spare` iterations; returns where it lies.

        At any moment every file of that name is whole. Checkpoints of later iterations go first: the run went back behind
        them. Raises OSError when it cannot be written, a full disk say; those there before are still there then.
        """
        data, done = _packed(checkpoint), checkpoint.iterations
        aside, target = (f"{self._folder}/{name}" for name in (f".{_name(done)}.writing", _name(done)))
        for left in filter(ASIDE.fullmatch, self._names()):  # by a save that was killed
            self._files.delete_file(f"{self._folder}/{left}")
        self._delete([number for number in self.saved() if number > done])
        try:
            with self._files.open_output_stream(aside) as stream:
                stream.write(data)
            self._sync(aside)
            self._files.move(aside, target)
        except BaseException:
            with contextlib.suppress(OSError):
                self._files.delete_file(aside)
            raise
        self._sync(self._folder)
        self._delete([number for number in self.saved()[: -self.keep] if number != spare])
        return f"{self.place}/{_name(done)}"

    def latest(self) -> Checkpoint | None:
        """The newest that is whole, with a warning for each newer one that is not; None when there are none.

        Raises InputError when there are some and all are broken.
        """
        broken = []
        for number in reversed(self.saved()):
            try:
                found = self.load(number)
            except InputError as error:
                broken.append(error)
            else:
                for error in broken:
                    log.warning("%s; going on from %s", error, _name(number))
                return found
        if broken:
            raise InputError(f"{broken[0]}, and no older checkpoint is whole")
        return None

    def load(self, iterations: int) -> Checkpoint:
        """The checkpoint after `iterations` iterations.

        Raises InputError naming the file when it is missing, or differs from what was saved in any bit.
        """
        file = f"{self.place}/{_name(iterations)}"
        try:
            with self._files.open_input_stream(f"{self._folder}/{_name(iterations)}") as stream:
                data = stream.read()
        except FileNotFoundError:
            raise InputError(f"{file}: no such checkpoint") from None
        except (ArrowException, OSError) as error:
            raise InputError(f"{file}: cannot be read ({_reason(error)})") from None
        checkpoint = _unpacked(data, file)
        if checkpoint.iterations != iterations:
            raise InputError(f"{file}: holds the run after {checkpoint.iterations} iterations, expected {iterations} by its name")
        return checkpoint

    def _names(self) -> list[str]:
        try:
            found = self._files.get_file_info(fs.FileSelector(self._folder, allow_not_found=True))
        except (ArrowException, OSError) as error:
            raise InputError(f"checkpoint.path: cannot list {self.place} ({_reason(error)})") from None
        return [info.base_name for info in found]

    def _delete(self, numbers: list[int]) -> None:
        for number in numbers:
            self._files.delete_file(f"{self._folder}/{_name(number)}")

    def _sync(self, path: str) -> None:
        """Has a local file or folder reach the disk; other stores have what they acknowledged."""
        if isinstance(self._files, fs.LocalFileSystem):
            handle = os.open(path, os.O_RDONLY)
            try:
                os.fsync(handle)
            finally:
                os.close(handle)


def _name(iterations: int) -> str:
    return f"{iterations:06d}.safetensors"


def _reason(error: Exception) -> str:
    return " ".join(redacted(str(error)).split())[:200]


def _packed(checkpoint: Checkpoint) -> bytes:
    # safetensors writes memory as it lies, so C order; unlike ascontiguousarray, this leaves a shape of () alone.
    arrays = {name: np.asarray(array, order="C") for name, array in checkpoint.arrays.items()}
    content = json.dumps({"iterations": checkpoint.iterations, "facts": checkpoint.facts}, ensure_ascii=False)
    return safetensors.numpy.save(arrays, {"format": FORMAT, "run": content, "sha256": arrays_digest(arrays, content)})


def _unpacked(data: bytes, file: str) -> Checkpoint:
    try:
        arrays = safetensors.numpy.load(data)
        header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    except (SafetensorError, ValueError, TypeError, KeyError, RecursionError) as error:
        raise InputError(f"{file}: not a whole safetensors file ({_reason(error)})") from None
    described = header.get("__metadata__", {})
    if not {"run", "sha256"} <= described.keys():
        raise InputError(f"{file}: not a checkpoint of a run (its header has no run and sha256)")
    if (found := described.get("format", "1")) != FORMAT:
        raise InputError(f"{file}: checkpoint format {found}, this version of the project goes on from format {FORMAT} alone")
    found = arrays_digest(arrays, described["run"])
    if found != described["sha256"]:
        raise InputError(f"{file}: damaged: its content has sha256 {found[:12]}, its header says {described['sha256'][:12]}")
    content = json.loads(described["run"])
    return Checkpoint(content["iterations"], arrays, content["facts"])
