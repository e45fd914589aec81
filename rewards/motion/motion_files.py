"""Motions on disk as rewards read them: what `rollout.sample` wrote, the rollouts of a run, or recorded motion."""

from pathlib import Path

import numpy as np

from rewards.motion.motions import MIN_FRAMES, Motions
from rollout.io.errors import InputError
from rollout.io.text_files import read_json
from rollout.io.weights import read_array
from rollout.motion.dataset import clip_features, read_clips
from rollout.motion.features import padded, rederived_motions
from rollout.motion.record import read_rollout
from rollout.motion.skeleton import EITHER, FORMATS

REAL_FRAMES = 40  # of a clip, from its start
REAL_SPLITS = ("val", "test")


def read_motions(path: Path) -> Motions:
    """Motions in groups: a folder of `rollout.sample` (a group is all motions of a prompt), a rollout Parquet file, or a
    folder of them. Features are re-derived from the skeleton, as in training. InputError names the file that is wrong."""
    if (path / "prompts.json").is_file():
        return _together(*_from_samples(path), str(path))
    files = sorted(path.glob("*.parquet")) if path.is_dir() else [path]
    if not files:
        raise InputError(f"{path}: neither prompts.json nor a .parquet file in it, expected what rollout.sample or a run wrote")
    rows = [row for file in files for row in read_rollout(file) if row["motion"] is not None]
    keys = [(row["iteration"], row["group"]) for row in rows]
    return _together([row["motion"] for row in rows], [row["prompt"] for row in rows], keys, str(path))


def read_real(path: Path) -> Motions:
    """The first 40 frames of the val and test clips of a Parquet file of captioned motion, each under its first caption."""
    clips = [clip for clip in read_clips(path) if clip.split in REAL_SPLITS and len(clip.joints) > MIN_FRAMES]
    features = [features[:REAL_FRAMES] for features in clip_features(clips)]
    return _together(features, [clip.captions[0] for clip in clips], list(range(len(clips))), str(path))


def _from_samples(folder: Path) -> tuple[list[np.ndarray], list[str], list[str]]:
    where = folder / "prompts.json"
    entries = read_json(where)
    listed = isinstance(entries, list) and all(isinstance(entry, dict) for entry in entries)
    if not listed or not all(isinstance(entry.get(key), str) for entry in entries for key in ("motion", "prompt")):
        raise InputError(f'{where}: not the list of {{"motion", "prompt", "frames"}} that rollout.sample writes')
    names, prompts = [entry["motion"] for entry in entries], [entry["prompt"] for entry in entries]
    return [read_array(folder / f"{name}.features.npy") for name in names], prompts, prompts


def _together(features: list[np.ndarray], prompts: list[str], keys: list, where: str) -> Motions:
    """`keys`: what the motions of a group have in common."""
    for i, motion in enumerate(features):
        if np.ndim(motion) != 2 or motion.shape[1] not in FORMATS or motion.shape[1] != features[0].shape[1] or len(motion) < MIN_FRAMES:
            expected = f"({MIN_FRAMES} frames or more, {EITHER}), all of one format"
            raise InputError(f"{where}: motion {i} has shape {np.shape(motion)}, expected {expected}")
    if not features:
        raise InputError(f"{where}: no motions in it (a run with rollout.keep none writes none)")
    produced, lengths = padded(features)
    numbers = {key: number for number, key in enumerate(dict.fromkeys(keys))}
    groups = np.array([numbers[key] for key in keys])
    return Motions(*rederived_motions(produced, lengths), prompts, produced=produced, groups=groups)
