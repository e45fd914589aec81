"""Real captioned motions to evaluate against: a HumanML3D or KIT folder, or the project's Parquet of clips."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rollout.io.errors import InputError
from rollout.motion.dataset import SPLITS, clip_features, read_clips
from rollout.motion.humanml import LONGEST, Caption, CaptionedMotion, Skipped, read_split
from rollout.motion.skeleton import HUMANML3D


@dataclass(frozen=True)
class MotionSet:
    """Motions of one split, each of finite float32 features [T, `features`], and what was left out, counted by reason."""

    motions: list[CaptionedMotion]
    skipped: dict[str, int]
    features: int


def read_motions(path: Path | str, split: str = "test") -> MotionSet:
    """The motions of `split` that the evaluation protocol takes: 40 to 199 frames (KIT 24 to 199), with a caption.

    `path`: a folder in HumanML3D's layout (`rollout.motion.humanml`), or a Parquet file of clips
    (`rollout.motion.dataset`). All features are held in memory: of HumanML3D 0.65 GB for test, 3.5 GB for train. Clips and
    captions that cannot be used are skipped and counted; raises InputError when none is left, and for a missing file or
    folder.
    """
    path, skipped = Path(path), Skipped()
    if path.is_dir():
        where, found = path / f"{split}.txt", read_split(path / f"{split}.txt", skipped)
    else:
        where, found = path, _read_parquet(path, split, skipped)
    motions = []
    for motion in found:
        features = np.array(motion.features, dtype=np.float32)  # a copy, which lets the file close
        if np.isfinite(features).all():
            motions.append(CaptionedMotion(motion.name, motion.captions, features))
        else:
            skipped.add("motions with NaN or infinite features", motion.name)
    if not motions:
        raise InputError(f"{where}: no usable motion in split {split!r}; skipped {skipped or 'nothing'}")
    return MotionSet(motions, skipped, motions[0].features.shape[1])


def _read_parquet(path: Path, split: str, skipped: Skipped) -> Iterator[CaptionedMotion]:
    if split not in SPLITS:
        raise InputError(f"{path}: split is {split!r}, expected one of {', '.join(SPLITS)}")
    for clip in read_clips(path):
        if clip.split != split:
            continue
        if not HUMANML3D.shortest <= len(clip.joints) - 1 <= LONGEST:
            skipped.add(f"motions outside {HUMANML3D.shortest} to {LONGEST} frames", clip.clip_id)
            continue
        try:
            (features,) = clip_features([clip])
        except InputError:
            skipped.add("motions with NaN or infinite features", clip.clip_id)
            continue
        yield CaptionedMotion(clip.clip_id, tuple(Caption(text, ()) for text in clip.captions), features)
