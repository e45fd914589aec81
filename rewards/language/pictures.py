"""Images, label maps and masks as the rewards of points read them; nothing is decoded before its size is known to be sane."""

import json
import warnings
from pathlib import Path

import numpy as np

from rollout.io.errors import InputError

MOST_PIXELS = 64_000_000
LONGEST_RLE = 8_000_000  # characters


def read_picture(path: str, mode: str | None = None) -> np.ndarray:
    """[H, W] or [H, W, 3] uint8, of the first frame; converted to `mode` if one is given. InputError, naming the file, for what is no
    picture or larger than MOST_PIXELS."""
    from PIL import Image  # a tenth of a second, for what reads pictures only

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(Path(path)) as picture:
                if picture.width * picture.height > MOST_PIXELS:
                    raise InputError(f"{path}: {picture.width} x {picture.height} pixels, expected at most {MOST_PIXELS}")
                return np.array(picture.convert(mode) if mode else picture)
    except InputError:
        raise
    except FileNotFoundError:
        raise InputError(f"{path}: file not found") from None
    except Exception as error:  # damage lets decoders raise almost anything
        raise InputError(f"{path}: not a readable picture ({type(error).__name__})") from None


def read_mask(mask: str, size: tuple[int, int]) -> np.ndarray:
    """bool [H, W] of a PNG's path (whatever is not 0), or of a COCO run-length encoding {"size": [H, W], "counts": ...} as JSON text,
    its counts a list or compressed text. InputError unless it is of `size`, width and height."""
    found = _from_rle(mask) if mask.lstrip().startswith("{") else _flat(read_picture(mask))
    if found.shape != (size[1], size[0]):
        raise InputError(f"mask: {found.shape[1]} x {found.shape[0]} pixels, expected those of the image, {size[0]} x {size[1]}")
    return found


def _flat(picture: np.ndarray) -> np.ndarray:
    return picture != 0 if picture.ndim == 2 else (picture[..., : 3 if picture.shape[-1] > 2 else 1] != 0).any(axis=-1)


def _from_rle(text: str) -> np.ndarray:
    expected = 'mask: expected {"size": [height, width], "counts": [...] or text} whose counts add up to the pixels'
    try:
        if len(text) > LONGEST_RLE:
            raise ValueError
        found = json.loads(text)
        (height, width), counts = found["size"], found["counts"]
        counts = _decompressed(counts) if isinstance(counts, str) else counts
        whole = [height, width, *counts]
        if any(type(n) is not int or n < 0 for n in whole) or height * width > MOST_PIXELS or sum(counts) != height * width:
            raise ValueError
    except (ValueError, KeyError, TypeError, IndexError, RecursionError):
        raise InputError(expected) from None
    return np.repeat(np.arange(len(counts)) % 2 == 1, counts).reshape(width, height).T


def _decompressed(text: str) -> list[int]:
    """COCO's compressed counts: six bits a character, the fifth says that more follow, from the third on differences to two before."""
    counts, place = [], 0
    while place < len(text):
        value, shift, more = 0, 0, True
        while more:
            bits = ord(text[place]) - 48
            if not 0 <= bits < 64 or shift > 60:
                raise ValueError
            value |= (bits & 31) << shift
            more, place, shift = bool(bits & 32), place + 1, shift + 5
            if not more and bits & 16:
                value -= 1 << shift
        counts.append(value + counts[-2] if len(counts) > 2 else value)
    return counts
