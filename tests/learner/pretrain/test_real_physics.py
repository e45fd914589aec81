"""The statistics of real motion that ship: made by a command, from held-out clips that are long enough."""

import json
from pathlib import Path

import numpy as np
import pytest

from learner.pretrain.physics import write_real_physics
from rewards.motion.real_band import PHYSICAL, STATISTICS
from rollout.io.errors import InputError
from rollout.motion.dataset import Clip, clip_features, read_clips
from tests.figures import walker

REAL = Path(__file__).resolve().parents[3].parent / "shared" / "data" / "cmu_motion_text.parquet"


def written(root: Path, clips: list[Clip], frames: int = 40) -> dict:
    path = root / "rewards" / "assets" / "real_physics.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_real_physics(root, clips, clip_features(clips), frames, REAL.name)
    return json.loads(path.read_text())


def clip(split: str, frames: int, speed: float = 0.05) -> Clip:
    return Clip(f"{split}_{frames}", split, "walk", ("a person walks",), walker(frames, speed), False)


def test_what_ships_follows_from_the_data(tmp_path):
    if not REAL.is_file():
        pytest.skip(f"{REAL} is absent")
    clips = [clip for clip in read_clips(REAL) if clip.split != "train" and clip.action != "walk_uneven"]
    shipped, found = json.loads(STATISTICS.read_text()), written(tmp_path, clips)
    assert [found[key] for key in ("source", "frames", "crops")] == [shipped[key] for key in ("source", "frames", "crops")]
    for name, measure in shipped["measures"].items():
        assert found["measures"][name]["unit"] == measure["unit"]
        for quantile, value in measure["quantiles"].items():
            assert found["measures"][name]["quantiles"][quantile] == pytest.approx(value, rel=1e-3, abs=1e-6)


def test_only_held_out_clips_that_are_long_enough_count(tmp_path):
    clips = [clip("train", 60, 0.5), clip("test", 30, 0.5), clip("val", 60)]
    found = written(tmp_path, clips)
    assert found["crops"] == 4 and found["measures"] == written(tmp_path, clips[2:])["measures"]
    assert set(found["measures"]) == {reward.name for reward in PHYSICAL}
    assert np.isfinite([measure["mean"] for measure in found["measures"].values()]).all()
    with pytest.raises(InputError, match="no val or test clip has 40 frames"):
        written(tmp_path, clips[:2])
