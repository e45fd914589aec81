"""Images, frames and sound of items, opened."""

import hashlib
import json
import wave
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from rollout.io.errors import InputError
from rollout.io.files import reading
from rollout.language.items import Item
from rollout.language.processor import Frames
from rollout.language.template import question

FRAMES_PER_SECOND = 4.0  # of frames that do not say


def read(kind: str, path: str, frames: int) -> tuple[Any, str]:
    """An image, `Frames` or mono sound float32 [n], and the sha256 of the bytes it was read from."""
    place = Path(path)
    files = sorted(place.iterdir()) if kind == "video" and place.is_dir() else [place]
    digest = hashlib.sha256()
    with reading(files[0] if files else place, lambda error: f"not a readable {kind} ({type(error).__name__})"):
        for file in files:
            digest.update(file.read_bytes())
        if kind == "audio":
            with wave.open(str(place)) as sound:
                return np.frombuffer(sound.readframes(sound.getnframes()), "<i2").astype(np.float32) / 2**15, digest.hexdigest()
        if kind == "image":
            return Image.open(place).convert("RGB"), digest.hexdigest()
        if place.suffix in (".npy", ".npz"):
            array = np.load(place, allow_pickle=False)
            pictures = [Image.fromarray(frame) for frame in (array["frames"] if place.suffix == ".npz" else array)]
        else:
            pictures = [Image.open(file).convert("RGB") for file in files]
        chosen = np.linspace(0, len(pictures) - 1, min(frames, len(pictures))).round().astype(int)
        return Frames([pictures[i] for i in chosen], FRAMES_PER_SECOND * len(chosen) / len(pictures)), digest.hexdigest()


def read_items(path: Path | str) -> list[Item]:
    """All items of a JSONL file, media beside it."""
    items = []
    for number, line in enumerate(Path(path).read_text(encoding="utf-8").splitlines(), 1):
        row = json.loads(line)
        kind = row.get("data_type", "video")
        given = row.get(kind) or row.get("path")
        media = () if given is None else ((kind, str((Path(path).parent / given).resolve())),)
        options, asked = tuple(row.get("options", ())), row.get("problem_type", "free-form")
        items.append(Item(
            question(row["problem"], options, asked), row["problem"], asked, options, row.get("solution", ""), media, None, f"{path}: row {number}"
        ))  # fmt: skip
    if not items:
        raise InputError(f"{path}: holds no items")
    return items
