"""HumanML3D and KIT-ML folders as they are distributed: which captions describe which frames of which motion file.

    new_joint_vecs/ID.npy   float [T, 263] (HumanML3D) or [T, 251] (KIT): raw motion features
    texts/ID.txt            a caption a line: caption#word/POS word/POS#from#to, in seconds; nan is 0, 0 and 0 the whole clip
    SPLIT.txt               the IDs of a split: train, val, test, train_val, all or one of your own

What the public evaluation loader does with them: a caption of a span is a motion of its own, frames
int(from * 20):int(to * 20), at 20 frames a second for both data sets (KIT's motions run at 12.5, its published numbers
were made with 20); files and spans of 200 frames or more, or less than 40 (KIT 24), are left out.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rollout.io.errors import InputError
from rollout.io.skipped import Skipped
from rollout.motion.skeleton import FORMATS

MOTIONS, TEXTS = "new_joint_vecs", "texts"
LONGEST = 199  # frames
SPAN_FPS = 20  # frames a second that spans in seconds are counted at, of both data sets


@dataclass(frozen=True)
class Caption:
    """A caption and its `word/POS` tokens; () when it comes untagged."""

    text: str
    tokens: tuple[str, ...]


@dataclass(frozen=True)
class CaptionedMotion:
    """Raw features [T, F] and the captions that describe all of them; `ID#N` is what caption line N of clip ID spans: its
    frames `span`."""

    name: str
    captions: tuple[Caption, ...]
    features: np.ndarray
    span: tuple[int, int | None] = (0, None)


def is_split_file(path: Path) -> bool:
    """Whether a file lists clips: it lies beside the folders that hold them."""
    return path.suffix == ".txt" and (path.parent / MOTIONS).is_dir() and (path.parent / TEXTS).is_dir()


def read_split(file: Path, skipped: Skipped) -> Iterator[CaptionedMotion]:
    """Every motion of the clips that `file`, such as DIR/test.txt, lists, in its order.

    Features are memory maps of the files, of their dtype: nothing is read before it is used, but each that is kept keeps
    a file open. Clips and captions that cannot be used are counted in `skipped`. Raises InputError naming the part of the
    folder that is missing.
    """
    folder = file.parent
    width = None
    for name in _read_names(file):
        try:
            lines = (folder / TEXTS / f"{name}.txt").read_text(encoding="utf-8-sig").split("\n")
        except (OSError, ValueError) as error:  # ValueError: not UTF-8, or a name with a NUL
            missing = isinstance(error, FileNotFoundError)
            skipped.add("text files missing" if missing else "text files that are not UTF-8 text", f"{TEXTS}/{name}.txt")
            continue
        motion_file = f"{MOTIONS}/{name}.npy"
        try:
            motion = np.load(folder / motion_file, mmap_mode="r", allow_pickle=False)
        except FileNotFoundError:
            skipped.add("motion files missing", motion_file)
            continue
        except Exception:  # a damaged header surfaces as almost any exception type
            skipped.add("motion files unreadable, truncated or no .npy of numbers", motion_file)
            continue
        if not isinstance(motion, np.ndarray) or motion.ndim != 2 or motion.shape[1] not in FORMATS or motion.dtype.kind != "f":
            skipped.add("motion files that hold no floats [frames, 263 or 251]", motion_file)
            continue
        width = width or motion.shape[1]
        if motion.shape[1] != width:
            skipped.add(f"motion files not {width} wide like the first", motion_file)
        elif not FORMATS[width].shortest <= len(motion) <= LONGEST:
            skipped.add(f"motions outside {FORMATS[width].shortest} to {LONGEST} frames", motion_file)
        else:
            yield from _captioned(name, motion, lines, skipped)


def read_caption(line: str) -> tuple[Caption, float, float]:
    """A line of texts/, caption#word/POS ...#from#to, and its span in seconds. ValueError for another."""
    text, tags, *span = line.strip().split("#")
    start, end = (0.0 if math.isnan(float(second)) else float(second) for second in span)
    if any(token.count("/") != 1 for token in tags.split()):
        raise ValueError(tags)
    return Caption(text.strip(), tuple(tags.split())), start, end


def _read_names(file: Path) -> list[str]:
    for part in (MOTIONS, TEXTS):
        if not (file.parent / part).is_dir():
            expected = f"a HumanML3D or KIT folder with {MOTIONS}/, {TEXTS}/ and {file.name}"
            raise InputError(f"{file.parent}: no folder {part}/ in it, expected {expected}")
    try:
        names = file.read_text(encoding="utf-8-sig").split()
    except FileNotFoundError:
        there = ", ".join(sorted(path.name for path in file.parent.glob("*.txt"))) or "no .txt file"
        raise InputError(f"{file}: no such list of clips, found {there}") from None
    except (OSError, UnicodeDecodeError):
        raise InputError(f"{file}: not readable as UTF-8 text, expected one clip ID a line") from None
    if not names:
        raise InputError(f"{file}: lists no clips, expected one ID a line")
    return names


def _captioned(name: str, motion: np.ndarray, lines: list[str], skipped: Skipped) -> Iterator[CaptionedMotion]:
    """The spans that captions describe, then the whole clip if any caption does."""
    whole, shortest = [], FORMATS[motion.shape[1]].shortest
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        where = f"{TEXTS}/{name}.txt, line {number}"
        try:
            caption, start, end = read_caption(line)
            first, last = int(start * SPAN_FPS), int(end * SPAN_FPS)
        except (ValueError, OverflowError):
            skipped.add("captions not of the form caption#word/POS ...#from#to", where)
            continue
        if not caption.text:
            skipped.add("empty captions", where)
        elif start == end == 0:
            whole.append(caption)
        elif first < 0 or not shortest <= len(motion[first:max(last, 0)]) <= LONGEST:
            skipped.add(f"spans outside {shortest} to {LONGEST} frames", where)
        else:
            yield CaptionedMotion(f"{name}#{number}", (caption,), motion[first:last], (first, last))
    if whole:
        yield CaptionedMotion(name, tuple(whole), motion)
    elif not any(line.strip() for line in lines):
        skipped.add("text files without a caption", f"{TEXTS}/{name}.txt")
