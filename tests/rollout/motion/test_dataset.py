"""Reading captioned clips: what a good file gives, and one clear line for each kind of bad one."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rollout.io.errors import InputError
from rollout.motion.dataset import clip_features, read_clips
from tests.rollout.motion.test_features import walking_joints

REAL = Path(__file__).resolve().parents[3].parent / "shared" / "data" / "cmu_motion_text.parquet"


def rows(count: int = 2) -> list[dict]:
    return [
        {
            "clip_id": f"clip_{i}",
            "split": ("train", "test")[i % 2],
            "fps": 20,
            "n_frames": 30 + i,
            "action": "walk",
            "mirrored": bool(i % 2),
            "captions": ["a person walks", "someone is walking"],
            "joints": walking_joints(30 + i, turn=0.2 * i).ravel().tolist(),
        }
        for i in range(count)
    ]


def write(path: Path, content: list[dict]) -> Path:
    pq.write_table(pa.Table.from_pylist(content), path)
    return path


def test_clips_come_back_as_written(tmp_path):
    clips = read_clips(write(tmp_path / "clips.parquet", rows()))
    assert [clip.clip_id for clip in clips] == ["clip_0", "clip_1"]
    assert [clip.split for clip in clips] == ["train", "test"]
    assert [clip.mirrored for clip in clips] == [False, True]
    assert clips[1].captions == ("a person walks", "someone is walking")
    assert clips[1].joints.dtype == np.float32
    np.testing.assert_array_equal(clips[1].joints, walking_joints(31, turn=0.2))


def test_features_of_clips_have_one_frame_less(tmp_path):
    features = clip_features(read_clips(write(tmp_path / "clips.parquet", rows())))
    assert [f.shape for f in features] == [(29, 263), (30, 263)]


def test_a_clip_with_a_vanished_bone_is_refused(tmp_path):
    content = rows()
    joints = walking_joints(30)
    joints[3, 15] = joints[3, 12]
    content[0]["joints"] = joints.ravel().tolist()
    clips = read_clips(write(tmp_path / "clips.parquet", content))
    with pytest.raises(InputError, match="clip_0"):
        clip_features(clips)


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(InputError, match="nowhere.parquet: file not found"):
        read_clips(tmp_path / "nowhere.parquet")


def test_a_file_that_is_not_parquet_is_refused(tmp_path):
    path = tmp_path / "clips.parquet"
    path.write_text("walk\n")
    with pytest.raises(InputError, match="clips.parquet: not a readable Parquet file"):
        read_clips(path)


def test_a_truncated_file_is_refused(tmp_path):
    path = write(tmp_path / "clips.parquet", rows())
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(InputError, match="not a readable Parquet file"):
        read_clips(path)


def test_an_empty_table_is_refused(tmp_path):
    path = tmp_path / "clips.parquet"
    pq.write_table(pa.Table.from_pylist(rows()).slice(0, 0), path)
    with pytest.raises(InputError, match="no clips"):
        read_clips(path)


@pytest.mark.parametrize("column", list(rows(1)[0]))
def test_a_missing_column_is_named(tmp_path, column):
    content = rows()
    for row in content:
        del row[column]
    with pytest.raises(InputError, match=f"no column '{column}'"):
        read_clips(write(tmp_path / "clips.parquet", content))


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("joints", [0.0] * 65, "65 numbers for n_frames 30"),
        ("joints", [float("nan")] * (30 * 66), "NaN"),
        ("joints", None, "column 'joints' has 1 empty cells"),
        ("n_frames", 31, "for n_frames 31"),
        ("fps", 30, "fps is 30, expected 20"),
        ("split", "training", "split is 'training', expected one of train, val, test"),
        ("captions", [], "captions are"),
        ("captions", ["a person walks", ""], "captions are"),
        ("captions", "a person walks", "column 'captions' is string, expected list"),
    ],
)
def test_a_bad_cell_is_named(tmp_path, field, value, message):
    content = rows(1)
    content[0][field] = value
    if value is None:
        content += rows(1)
    with pytest.raises(InputError, match=message):
        read_clips(write(tmp_path / "clips.parquet", content))


def test_the_real_data_set_is_read_whole():
    if not REAL.is_file():
        pytest.skip(f"{REAL} is absent")
    clips = read_clips(REAL)
    assert len(clips) == 1326
    assert sum(clip.mirrored for clip in clips) == 663
    assert {split: sum(c.split == split for c in clips) for split in ("train", "val", "test")} == {
        "train": 1024, "val": 82, "test": 220,
    }  # fmt: skip
    assert all(np.isfinite(f).all() for f in clip_features(clips[::40]))
