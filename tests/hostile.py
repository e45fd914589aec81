"""Files that a hostile or unlucky hand has changed, and what a loader owes to whoever gives it one.

A flipped bit that leaves a weight finite cannot be noticed in formats without a checksum: a result is then allowed, and
all that is asked is that nothing else happens.
"""

import contextlib
import os
import pickle
import resource
from collections.abc import Callable
from pathlib import Path

import numpy as np
from hypothesis import strategies as st

from rollout.io.errors import InputError

LONGEST = 400  # characters of a message
SAFETY_NET = 4 * 2**30  # bytes of address space past which a bomb is stopped, and not the machine


@st.composite
def changes(draw) -> Callable[[bytes], bytes]:
    """A change to the bytes of a file: bits flipped, cut, a part zeroed, doubled, moved or put in, or all of it replaced."""
    kind = draw(st.sampled_from(["flip", "flip", "flip", "cut", "zero", "double", "swap", "insert", "replace"]))
    places = draw(st.lists(st.floats(0, 1, exclude_max=True), min_size=1, max_size=4))
    bit, junk = draw(st.integers(0, 7)), draw(st.binary(max_size=64))

    def change(whole: bytes) -> bytes:
        at = sorted(int(place * len(whole)) for place in places)
        first, last = at[0], at[-1] + 1
        if kind == "flip":
            content = bytearray(whole)
            for i in at:
                content[i] ^= 1 << bit
            return bytes(content)
        return {
            "cut": whole[:first],
            "zero": whole[:first] + bytes(last - first) + whole[last:],
            "double": whole[:last] + whole[first:],
            "swap": whole[last:] + whole[first:last] + whole[:first],
            "insert": whole[:first] + junk + whole[first:],
            "replace": junk,
        }[kind]

    return change


@contextlib.contextmanager
def changed(path: Path, content: bytes):
    """`path` holds `content`, and its own bytes again afterwards."""
    whole = path.read_bytes() if path.exists() else None
    path.write_bytes(content)
    try:
        yield path
    finally:
        path.unlink() if whole is None else path.write_bytes(whole)


def survives(load: Callable, *names: str | Path):
    """What `load()` returns, or the words of its InputError: one line that is short and names one of `names`."""
    try:
        return load()
    except InputError as error:
        words = str(error)
        assert words.isprintable() and len(words) <= LONGEST + 5, words
        assert not names or any(str(name) in words for name in names), words
        return words


def refused(load: Callable, *names: str | Path) -> str:
    words = survives(load, *names)
    assert isinstance(words, str), "it was taken"
    return words


class Trap:
    """Makes the file `path` when it is unpickled by a loader that runs what it reads."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return os.mknod, (str(self.path),)


def trapped(path: Path, protocol: int = 4) -> bytes:
    return pickle.dumps({"a": Trap(path)}, protocol)


@contextlib.contextmanager
def bounded(megabytes: int = 300):
    """Fails when the process has held more than `megabytes` above what it held before."""
    if not Path("/proc/self/clear_refs").exists():  # not on this system, which can be held to no bound
        yield
        return
    Path("/proc/self/clear_refs").write_text("5")  # forget the peak so far
    before, limits = _memory("VmRSS"), resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (_memory("VmSize") * 1024 + SAFETY_NET, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, limits)
    assert (_memory("VmHWM") - before) / 1024 < megabytes


def _memory(name: str) -> int:
    """KiB, of this process."""
    return next(int(line.split()[1]) for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(f"{name}:"))


NUMBERS = st.sampled_from(
    [0, -1, 1, 2, 7, 10**6, 2**31, 2**63, 10**30, 10**400, 0.5, -0.0, 1e308, float("nan"), float("inf"), True, False]
)
TEXTS = st.sampled_from(
    [
        "",
        " ",
        "a",
        "\0",
        "\ud800",
        "\u202eevil",
        "😀",
        "é" * 300,
        "line\nbreak",
        "\x1b[2J",
        "nan",
        "-1",
        "1e999",
        "9" * 5000,
        "null",
        "../x",
        "a:b",
        "tmr.cosine",
        "os:system",
        "http://",
        "!!python/object:os.system",
        "{a: [",
        "&x",
        "*x",
    ]
) | st.text(max_size=12)
JUNK = st.recursive(
    st.none() | NUMBERS | TEXTS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3), max_leaves=6
)
ARRAYS = st.sampled_from(
    [
        np.zeros(0),
        np.zeros(263),
        np.full(263, np.nan),
        np.full(263, 1e300),
        np.full(263, -1.0),
        np.ones((1, 263)),
        np.ones(251),
        np.float32(1),
        np.ones(263, ">f4"),
        np.ones(263, np.longdouble),
        np.ones(263, complex),
        np.ones(263, bool),
        np.ones(263, np.uint16),
        np.array(["a"] * 263),
        np.ones(263, np.float16),
        np.zeros(263, [("a", "f4")]),
        np.zeros(263, "M8[s]"),
    ]
)
