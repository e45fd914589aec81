"""What takes long to make of a text, kept on this machine's disk for the next run: the arrays of text encoders.

    $XDG_CACHE_HOME/motion-grpo/<sha256 of what their bits depend on>/<sha256 of the file's content>.safetensors

A file is written once and whole, under the digest of its content: two runs at once cannot spoil it, and a damaged one is not believed.
"""

import hashlib
import json
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import load, save

from rollout.io.files import replace_file

log = logging.getLogger(__name__)
FORMAT = 1  # raised whenever the same text would become another array
MOST_BYTES = 2**29  # of all that is kept; what was written longest ago goes first
SUFFIX = ".safetensors"


class Kept:
    """`kept(texts)`: an array each, made by `make(text)` unless an earlier run made it.

    standing: all that the bits of an array depend on beside its text, in words.
    """

    def __init__(self, make: Callable[[str], np.ndarray], standing: Mapping[str, str]):
        self.make = make
        self._place = cache_folder() / _sha256(json.dumps([FORMAT, sorted(standing.items())]).encode())
        self._known = self._read()

    def __call__(self, texts: Sequence[str]) -> list[np.ndarray]:
        if missing := [text for text in dict.fromkeys(texts) if text not in self._known]:
            made = self._made(missing)
            self._known |= made
            self._write(made)
        return [self._known[text] for text in texts]

    def _made(self, texts: list[str]) -> dict[str, np.ndarray]:
        """One text at a time in each thread, of as many as the cores bear: in a batch the bits would depend on the neighbours."""
        first, *others = texts
        made, threads = [self.make(first)], torch.get_num_threads()  # the first one alone: it loads what all of them need
        cores = (os.cpu_count() or 1) // threads
        with ThreadPoolExecutor(max(1, cores), initializer=torch.set_num_threads, initargs=(threads,)) as pool:
            return dict(zip(texts, made + list(pool.map(self.make, others))))

    def _read(self) -> dict[str, np.ndarray]:
        """What earlier runs left; nothing where they could not, and of a damaged file nothing."""
        found: dict[str, np.ndarray] = {}
        try:
            for file in sorted(self._place.glob(f"*{SUFFIX}")):
                if _sha256(content := file.read_bytes()) == file.stem:
                    found |= {json.loads(name): array for name, array in load(content).items()}
                else:
                    file.unlink()
        except OSError as error:
            log.info("%s: cannot be read (%s); what was made of texts is made again", self._place, error.strerror)
        return found

    def _write(self, made: dict[str, np.ndarray]) -> None:
        content = save({json.dumps(text): array for text, array in made.items()})
        try:
            self._place.mkdir(parents=True, exist_ok=True)
            replace_file(self._place / f"{_sha256(content)}{SUFFIX}", content)
            stats = {file: file.stat() for file in self._place.parent.glob("*/*")}
            total = 0
            for file in sorted(stats, key=lambda file: -stats[file].st_mtime_ns):
                total += stats[file].st_size
                if total > MOST_BYTES:
                    file.unlink(missing_ok=True)
        except OSError as error:
            log.info("%s: cannot be written (%s); the next run makes the same of its texts again", self._place, error.strerror)


def cache_folder() -> Path:
    """This project's, as the XDG base directories have it; where nobody has a home, one that cannot be written in."""
    bases = os.environ.get("XDG_CACHE_HOME", ""), os.path.expanduser("~/.cache")
    return Path(next(filter(os.path.isabs, bases), os.devnull)) / "motion-grpo"


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
