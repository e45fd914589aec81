"""What was recorded of people for a prompt whose clip is known: read when it is shown, and by no model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from rollout.io.errors import InputError
from rollout.motion.dataset import Clip, clip_features, read_clips
from rollout.policy import Group


@dataclass(frozen=True)
class Recorded:
    """Frames first:last of raw features in a .npy, or, where `row` is given, the clip in that row of a Parquet file of clips."""

    file: Path
    first: int = 0
    last: int | None = None
    row: int | None = None

    def read(self, clips_of: Callable[[Path], list[Clip]]) -> np.ndarray | None:
        """Raw features float32 [T, F]; None where there are none, or none that are finite."""
        try:
            if self.row is None:
                features = np.load(self.file, mmap_mode="r", allow_pickle=False)
            else:
                (features,) = clip_features([clips_of(self.file)[self.row]])
            found = np.array(features[self.first : self.last], np.float32)
        except (OSError, ValueError, IndexError, InputError):
            return None
        return found if len(found) and np.isfinite(found).all() else None


def recorded(groups: list[Group]) -> list[Group | None]:
    """Of each as a group of one sample without an action; None where no clip is known, or none of what the model makes."""
    clips_of = lru_cache(read_clips)  # a file of clips is read once for all of them, and then let go
    return [_recorded(group, clips_of) for group in groups]


def _recorded(group: Group, clips_of: Callable[[Path], list[Clip]]) -> Group | None:
    features = group.prompt.recorded.read(clips_of) if group.prompt.recorded else None
    if features is None or features.shape[1] != group.outputs.shape[-1]:
        return None
    none, lengths = np.zeros((1, 0), np.float32), np.array([len(features)])
    return Group(group.prompt, "", features[None], lengths, none, None, {"timesteps": np.zeros((1, 0), np.int32)}, (), -1, "")
