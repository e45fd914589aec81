"""Opens the images, videos, recordings and masks of items. They are other people's files: whatever is in one, it becomes what an
item needs or one clear line, its size is checked before it is unpacked, and nothing in it is run."""

import hashlib
import io
import json
import os
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from rollout.io.errors import InputError
from rollout.io.files import reading
from rollout.language.items import Target

IMAGES = ("PNG", "JPEG", "WEBP", "GIF", "BMP")  # no format whose reader calls other programs
ARRAYS, VIDEOS = (".npy", ".npz"), (".mp4", ".mkv", ".webm", ".avi", ".mov", ".m4v")
MOST_BYTES = 512 * 2**20
MOST_PIXELS = 50_000_000  # of an image
LONGEST_RLE = 8_000_000  # characters
MOST_FRAMES = 2_000  # of an animation or a folder, however few of them are wanted
MOST_VIDEO_PIXELS = 1_000_000_000  # of all frames of an animation: each must be unpacked to reach the last
FRAMES_PER_SECOND = 2.0  # of frames without times: a folder or an array
MOST_SECONDS = 600  # of a recording


@dataclass(frozen=True)
class Frames:
    """A video: RGB pictures, evenly apart, and how many of them show one second."""

    images: list[Image.Image]
    per_second: float


def read_medium(kind: str, path: str, frames: int, rate: int = 16000) -> tuple[Any, str]:
    """What a medium of that kind holds, and the sha256 of its bytes: an RGB image, `Frames` of at most `frames` pictures, or mono sound
    float32 [n] at `rate` Hz. The file is opened once. Raises InputError."""
    read = {"image": read_image, "video": lambda path, digest: read_frames(path, frames, digest),
            "audio": lambda path, digest: read_sound(path, rate, digest)}  # fmt: skip
    digest = hashlib.sha256()
    return read[kind](path, digest), digest.hexdigest()


def read_image(path: Path | str, digest=None) -> Image.Image:
    """One RGB image; of an animation the first frame. `digest`, a hash, is told the file's bytes. Raises InputError."""
    with _opened(Path(path), digest) as image:
        _check_pixels(path, image.size, 1)
        return image.convert("RGB")


def read_frames(path: Path | str, most: int, digest=None) -> Frames:
    """At most `most` frames of a video, evenly apart, the first and last among them.

    path: an animated GIF, WebP or PNG; a folder of images in the order of their names; uint8 [T,H,W,3] as .npy, or as the only
    array of an .npz; or a video file, where PyAV is installed. Raises InputError.
    """
    path = Path(path)
    if path.is_dir():
        return _of_folder(path, most, digest)
    if path.suffix.lower() in ARRAYS:
        return _of_array(path, most, digest)
    if path.suffix.lower() in VIDEOS:
        return _of_video_file(path, most, digest)
    with _opened(path, digest) as image:
        total = getattr(image, "n_frames", 1)
        _check_pixels(path, image.size, total)
        chosen, images, milliseconds = set(spread(total, most)), [], 0.0
        for number in range(total):
            image.seek(number)
            image.load()  # a WebP's frame has its time only then
            if number in chosen:
                images.append(image.convert("RGB"))
            milliseconds += image.info.get("duration", 0)
        return Frames(images, len(images) * 1000 / milliseconds if milliseconds > 0 else FRAMES_PER_SECOND)


def read_levels(path: Path | str) -> np.ndarray:
    """uint8 [H,W], or [H,W,C], of an image as it is stored; of one with a palette the indices. Raises InputError."""
    with _opened(Path(path), None) as image:
        return np.array(image)


def read_mask(target: Target) -> np.ndarray:
    """bool [H,W] of the target: what is not 0 in a picture, transparency apart, or a run-length encoding. Raises InputError for one
    that has not the target's size."""
    if target.mask.lstrip().startswith("{"):
        mask = mask_of_rle(_parsed(target.mask), "mask")
    else:
        with _opened(Path(target.mask), None) as image:
            mask = np.array(image if image.mode in ("1", "L", "P") or image.mode.startswith("I") else image.convert("RGB")) != 0
        mask = mask if mask.ndim == 2 else mask.any(axis=-1)
    if mask.shape != target.size[::-1]:
        raise InputError(f"mask: {mask.shape[1]} x {mask.shape[0]} pixels, expected those of the image, {target.size[0]} x {target.size[1]}")
    return mask


def _parsed(text: str) -> dict:
    try:
        if len(text) > LONGEST_RLE:
            raise ValueError
        return json.loads(text)
    except (ValueError, RecursionError):
        raise InputError(f'mask: found {text[:40]!r}, expected {{"size": [height, width], "counts": [...] or text}}') from None


def mask_of_rle(rle: dict, where: str) -> np.ndarray:
    """bool [H,W] of COCO's run-length encoding {"size": [H, W], "counts": [...] or its compressed text}: lengths of runs of 0 and 1
    in turn, down the columns. Raises InputError. Format: pycocotools, maskApi.c (rleFrString)."""
    size, counts = rle.get("size"), rle.get("counts")
    if not (isinstance(size, list) and len(size) == 2 and all(type(n) is int and n > 0 for n in size)) or size[0] * size[1] > MOST_PIXELS:
        raise InputError(f"{where}: RLE size is {str(size)[:60]}, expected [height, width] of at most {MOST_PIXELS} pixels")
    if isinstance(counts, str):
        counts = _uncompressed(counts, where)
    if not isinstance(counts, list) or not all(type(n) is int and n >= 0 for n in counts) or sum(counts) != size[0] * size[1]:
        raise InputError(f"{where}: RLE counts do not add up to {size[0]} x {size[1]} pixels")
    values = np.repeat(np.arange(len(counts)) % 2 == 1, counts)
    return values.reshape(size[1], size[0]).T


def rle_of_mask(mask: np.ndarray) -> dict[str, list[int]]:
    """COCO's run-length encoding of bool [H,W]: what `mask_of_rle` reads."""
    values = np.concatenate([[False], mask.T.ravel()])
    changes = np.flatnonzero(values[1:] != values[:-1])
    return {"size": [int(side) for side in mask.shape], "counts": np.diff([0, *changes, mask.size]).tolist()}


def _uncompressed(text: str, where: str) -> list[int]:
    """Each number in groups of five bits, the least first, as characters from "0" on; from the third on the difference to the one
    before the last."""
    counts, value, shift = [], 0, 0
    for character in text:
        bits = ord(character) - 48
        if not 0 <= bits < 64 or shift > 60:
            raise InputError(f"{where}: RLE counts hold {character!r}, which is no part of a compressed number")
        value |= (bits & 31) << shift
        shift += 5
        if not bits & 32:
            value -= (bits & 16) << (shift - 4)  # the sign
            counts.append(value + (counts[-2] if len(counts) > 2 else 0))
            value = shift = 0
    return counts


def spread(total: int, most: int) -> list[int]:
    """Numbers of at most `most` of `total` frames, evenly apart."""
    return np.linspace(0, total - 1, min(total, most)).round().astype(int).tolist()


def read_sound(path: Path | str, rate: int, digest=None) -> np.ndarray:
    """Mono float32 [n] in -1 to 1 at `rate` Hz of a WAV file. Raises InputError."""
    from scipy.io import wavfile
    from scipy.signal import resample_poly

    path = Path(path)
    with reading(path, lambda error: f"not a readable WAV file ({_brief(error)})"):
        own, samples = wavfile.read(io.BytesIO(_bytes(path, digest)))
        if not len(samples) or not 1000 <= own <= 400_000 or len(samples) > own * MOST_SECONDS:
            raise InputError(f"{path}: {len(samples)} samples at {own} Hz, expected a recording of up to {MOST_SECONDS} s")
        if samples.dtype == np.uint8:
            samples = (samples.astype(np.float32) - 128) / 128
        elif samples.dtype.kind == "i":
            samples = samples.astype(np.float32) / np.iinfo(samples.dtype).max
        mono = samples.astype(np.float32).reshape(len(samples), -1).mean(1)
        if not np.isfinite(mono).all():
            raise InputError(f"{path}: sound with NaN or infinite samples")
        shared = np.gcd(own, rate)
        return mono if own == rate else resample_poly(mono, rate // shared, own // shared).astype(np.float32)


def image_size(path: Path | str) -> tuple[int, int]:
    """Width and height, by the file's first bytes."""
    with reading(Path(path), lambda error: f"not a readable image ({_brief(error)})"), Image.open(path, formats=IMAGES) as image:
        return image.size


class _opened:
    """An image that Pillow has opened from bytes that were read once; all that is raised while it is used is one line."""

    def __init__(self, path: Path, digest):
        self.path, self.digest = path, digest
        self.reading = reading(path, lambda error: f"not a readable image ({_brief(error)})")

    def __enter__(self) -> Image.Image:
        self.reading.__enter__()
        try:
            image = Image.open(io.BytesIO(_bytes(self.path, self.digest)), formats=IMAGES)
            _check_pixels(self.path, image.size, 1)
            return image
        except BaseException as error:
            self.reading.__exit__(type(error), error, error.__traceback__)
            raise

    def __exit__(self, *raised):
        return self.reading.__exit__(*raised)


def _bytes(path: Path, digest) -> bytes:
    if (size := os.stat(path).st_size) > MOST_BYTES:
        raise InputError(f"{path}: {size} bytes, expected at most {MOST_BYTES}")
    content = path.read_bytes()
    if digest is not None:
        digest.update(content)
    return content


def _check_pixels(path: Path | str, size: tuple[int, int], frames: int) -> None:
    pixels = size[0] * size[1]
    if pixels > MOST_PIXELS:
        raise InputError(f"{path}: an image of {size[0]} x {size[1]} pixels, expected at most {MOST_PIXELS} pixels")
    if frames > MOST_FRAMES or frames * pixels > MOST_VIDEO_PIXELS:
        raise InputError(f"{path}: {frames} frames of {size[0]} x {size[1]} pixels, expected at most {MOST_FRAMES} frames and {MOST_VIDEO_PIXELS} pixels")


def _brief(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error)[:100]}"


def _of_folder(path: Path, most: int, digest) -> Frames:
    names = sorted(name for name in os.listdir(path) if not name.startswith("."))
    if not 0 < len(names) <= MOST_FRAMES:
        raise InputError(f"{path}: a folder of {len(names)} files, expected the frames of a video, 1 to {MOST_FRAMES}")
    images = []
    for number in spread(len(names), most):
        file = path / names[number]
        if file.resolve().parent != path.resolve():
            raise InputError(f"{file}: leads out of the folder of its video")
        images.append(read_image(file, digest))
    return Frames(images, FRAMES_PER_SECOND)


def _of_array(path: Path, most: int, digest) -> Frames:
    with reading(path, lambda error: f"not a readable array of frames ({_brief(error)})"):
        content = _bytes(path, digest)
        if path.suffix.lower() == ".npz":
            with zipfile.ZipFile(io.BytesIO(content)) as archive:
                members = archive.infolist()
                if len(members) != 1 or members[0].file_size > MOST_BYTES:
                    raise InputError(f"{path}: {len(members)} arrays of {sum(m.file_size for m in members)} bytes, expected one of at most {MOST_BYTES}")
                content = archive.read(members[0])
        array = np.load(io.BytesIO(content), allow_pickle=False)
        if array.dtype != np.uint8 or array.ndim != 4 or array.shape[3] != 3 or not array.size:
            raise InputError(f"{path}: found {array.dtype} {list(array.shape)}, expected frames uint8 [T, H, W, 3]")
        _check_pixels(path, (array.shape[2], array.shape[1]), len(array))
        return Frames([Image.fromarray(array[number]) for number in spread(len(array), most)], FRAMES_PER_SECOND)


def _of_video_file(path: Path, most: int, digest) -> Frames:
    try:
        import av
    except ImportError:
        raise InputError(f"{path}: a video file needs PyAV (pip install 'motion-grpo[video]'); or give its frames: a folder of images, an animated WebP, .npy") from None
    with reading(path, lambda error: f"not a readable video ({_brief(error)})"), av.open(io.BytesIO(_bytes(path, digest))) as video:
        stream = video.streams.video[0]
        _check_pixels(path, (stream.width, stream.height), 1)
        seconds = float(stream.duration * stream.time_base) if stream.duration else float(video.duration or 0) / 1e6
        if not 0 < seconds <= 3600:
            raise InputError(f"{path}: a video of {seconds:.0f} s, expected up to an hour")
        images, wanted = [], [seconds * (k + 0.5) / most for k in range(most)]
        for frame in _decoded(video, stream):
            while len(images) < most and frame.time >= wanted[len(images)]:
                images.append(frame.to_image())
        if not images:
            raise InputError(f"{path}: a video without frames")
        return Frames(images, len(images) / seconds)


def _decoded(video, stream) -> Iterator:
    return (frame for frame in video.decode(stream) if frame.time is not None)
