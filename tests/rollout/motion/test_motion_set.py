"""Real motions of HumanML3D and KIT folders and of Parquet: what is read, what is skipped and why, what is refused."""

import io
import os
import re
import resource

import numpy as np
import pytest

from rollout.io.errors import InputError
from rollout.motion.dataset import clip_features, read_clips
from rollout.motion.humanml import Caption
from rollout.motion.motion_set import read_motions
from tests.humanml_folder import WHOLE, clip, write_folder
from tests.rollout.motion.test_dataset import rows, write
from tests.rollout.motion.test_features import walking_joints


def npy(array: np.ndarray, **options) -> bytes:
    file = io.BytesIO()
    np.save(file, array, **options)
    return file.getvalue()


def test_whole_clips_keep_all_their_captions_and_the_features_of_the_file(tmp_path):
    text = WHOLE + "\nsomeone strolls#someone/PRON stroll/VERB#nan#nan\nuntagged##0.0#0.0\n"
    found = read_motions(write_folder(tmp_path, {"000001": (clip(50), text), "M000001": (clip(199, seed=1).astype(np.float64), WHOLE)}))
    assert [motion.name for motion in found.motions] == ["000001", "M000001"]
    assert found.motions[0].captions == (
        Caption("a person walks", ("a/DET", "person/NOUN", "walk/VERB")),
        Caption("someone strolls", ("someone/PRON", "stroll/VERB")),
        Caption("untagged", ()),
    )
    assert (found.features, found.skipped) == (263, {})
    for motion, expected in zip(found.motions, (clip(50), clip(199, seed=1))):
        assert motion.features.dtype == np.float32
        np.testing.assert_array_equal(motion.features, expected)


def test_a_span_is_a_motion_of_its_own_at_20_frames_a_second(tmp_path):
    text = WHOLE + "he turns#he/PRON turn/VERB#1.26#4.0\nhe stops#he/PRON stop/VERB#3.0#99\n"
    span, to_the_end, whole = read_motions(write_folder(tmp_path, {"7": (clip(120), text)})).motions
    assert (span.name, to_the_end.name, whole.name) == ("7#2", "7#3", "7")
    np.testing.assert_array_equal(span.features, clip(120)[25:80])
    np.testing.assert_array_equal(to_the_end.features, clip(120)[60:])
    assert [caption.text for caption in span.captions] == ["he turns"]
    assert [caption.text for caption in whole.captions] == ["a person walks"]


def test_a_clip_that_only_spans_describe_gives_only_those(tmp_path):
    (span,) = read_motions(write_folder(tmp_path, {"7": (clip(120), "he turns#he/PRON#0.0#2.0\n")})).motions
    assert (span.name, len(span.features)) == ("7#1", 40)


@pytest.mark.parametrize(("width", "shortest"), [(263, 40), (251, 24)])
def test_lengths_are_those_of_the_protocol_of_each_data_set(tmp_path, width, shortest):
    lengths = (shortest - 1, shortest, 199, 200)
    found = read_motions(write_folder(tmp_path, {str(n): (clip(n, width), WHOLE) for n in lengths}))
    assert [len(motion.features) for motion in found.motions] == [shortest, 199]
    assert found.features == width and found.skipped == {f"motions outside {shortest} to 199 frames": 2}


def broken(value: float) -> np.ndarray:
    motion = clip()
    motion[30, 7] = value
    return motion


BAD_CLIPS = {
    "no motion file": (None, WHOLE, "motion files missing"),
    "no text file": (clip(), None, "text files missing"),
    "truncated": (npy(clip())[:5000], WHOLE, "motion files unreadable, truncated or no .npy"),
    "cut in its header": (npy(clip())[:20], WHOLE, "motion files unreadable, truncated or no .npy"),
    "empty": (b"", WHOLE, "motion files unreadable, truncated or no .npy"),
    "text for numbers": (b"not numbers", WHOLE, "motion files unreadable, truncated or no .npy"),
    "pickled": (npy(np.array([{"a": 1}], dtype=object), allow_pickle=True), WHOLE, "motion files unreadable, truncated or no .npy"),
    "joints": (clip().reshape(50, 263, 1)[:, :66], WHOLE, r"hold no floats \[frames, 263 or 251\]"),
    "another width": (clip(width=262), WHOLE, r"hold no floats \[frames, 263 or 251\]"),
    "strings": (np.full((50, 263), "x"), WHOLE, r"hold no floats \[frames, 263 or 251\]"),
    "KIT among HumanML3D": (clip(width=251), WHOLE, "motion files not 263 wide like the first"),
    "short": (clip(39), WHOLE, "motions outside 40 to 199 frames"),
    "NaN": (broken(np.nan), WHOLE, "motions with NaN or infinite"),
    "infinite": (broken(np.inf), WHOLE, "motions with NaN or infinite"),
    "Latin-1": (clip(), "ein M\xe4nnchen#x/NOUN#0.0#0.0".encode("latin-1"), "not UTF-8"),
    "no captions": (clip(), "\n \n", "text files without a caption"),
    "no fields": (clip(), "a person walks\n", "captions not of the form"),
    "hash in a caption": (clip(), "walk #2 times#walk/VERB#0.0#0.0\n", "captions not of the form"),
    "words for seconds": (clip(), "walk#walk/VERB#now#then\n", "captions not of the form"),
    "endless": (clip(), "walk#walk/VERB#0.0#inf\n", "captions not of the form"),
    "empty caption": (clip(), " #walk/VERB#0.0#0.0\n", "empty captions"),
    "half tagged": (clip(), "he walks#he walk/VERB#0.0#0.0\n", "not of the form caption#word/POS"),
    "backwards": (clip(), "walk#walk/VERB#2.0#1.0\n", "spans outside 40 to 199 frames"),
    "from nowhere": (clip(), "walk#walk/VERB#-2.4#2.4\n", "spans outside 40 to 199 frames"),
    "without an end": (clip(), "walk#walk/VERB#1.0#nan\n", "spans outside 40 to 199 frames"),
    "short span": (clip(), "walk#walk/VERB#0.0#1.9\n", "spans outside 40 to 199 frames"),
}  # fmt: skip


@pytest.mark.parametrize("kind", BAD_CLIPS)
def test_a_clip_that_cannot_be_used_is_skipped_and_counted(tmp_path, kind):
    motion, text, reason = BAD_CLIPS[kind]
    found = read_motions(write_folder(tmp_path, {"good": (clip(), WHOLE), "bad": (motion, text)}))
    assert [each.name for each in found.motions] == ["good"]
    assert list(found.skipped.values()) == [1]
    assert re.search(reason, str(found.skipped))


@pytest.mark.parametrize("kind", [kind for kind in BAD_CLIPS if kind != "KIT among HumanML3D"])
def test_nothing_left_is_one_line_that_says_why(tmp_path, kind):
    motion, text, reason = BAD_CLIPS[kind]
    with pytest.raises(InputError, match=f"test.txt: no usable motion .*skipped 2 .*{reason}.*first: .*one") as caught:
        read_motions(write_folder(tmp_path, {"one": (motion, text), "two": (motion, text)}))
    assert "\n" not in str(caught.value)


def test_what_is_missing_of_a_folder_is_named(tmp_path):
    with pytest.raises(InputError, match=f"{tmp_path}: no folder new_joint_vecs/ in it, expected a HumanML3D or KIT folder"):
        read_motions(tmp_path)
    (tmp_path / "new_joint_vecs").mkdir()
    with pytest.raises(InputError, match="no folder texts/ in it"):
        read_motions(tmp_path)
    write_folder(tmp_path, {"7": (clip(), WHOLE)}, split="val")
    with pytest.raises(InputError, match="test.txt: no such list of clips, found val.txt"):
        read_motions(tmp_path)
    (tmp_path / "test.txt").write_text("\n")
    with pytest.raises(InputError, match="test.txt: lists no clips"):
        read_motions(tmp_path)
    (tmp_path / "test.txt").write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match="test.txt: not readable as UTF-8"):
        read_motions(tmp_path)
    with pytest.raises(InputError, match="nowhere: file not found"):
        read_motions(tmp_path / "nowhere")


def test_the_split_chooses_the_list(tmp_path):
    write_folder(tmp_path, {"a": (clip(), WHOLE)}, split="train")
    write_folder(tmp_path, {"b": (clip(), WHOLE)}, split="mine")
    assert [m.name for split in ("train", "mine") for m in read_motions(tmp_path, split).motions] == ["a", "b"]


def test_more_clips_than_files_may_be_open_are_all_read(tmp_path):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    folder = write_folder(tmp_path, {str(i): (clip(40), WHOLE) for i in range(60)})
    resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir("/dev/fd")) + 20, hard))
    try:
        found = read_motions(folder)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert len(found.motions) == 60 and not found.skipped


def test_clips_of_parquet_give_the_same_records(tmp_path):
    content = rows(4)
    for i, frames in ((1, 41), (3, 40)):
        content[i].update(n_frames=frames, joints=walking_joints(frames).ravel().tolist())
    path = write(tmp_path / "clips.parquet", content)
    found = read_motions(path)
    (motion,) = found.motions
    assert (motion.name, motion.captions) == ("clip_1", (Caption("a person walks", ()), Caption("someone is walking", ())))
    np.testing.assert_array_equal(motion.features, clip_features(read_clips(path)[1:2])[0])
    assert (found.skipped, found.features) == ({"motions outside 40 to 199 frames": 1}, 263)
    with pytest.raises(InputError, match="split is 'all', expected one of train, val, test"):
        read_motions(path, "all")
    with pytest.raises(InputError, match="no usable motion in split 'val'; skipped nothing"):
        read_motions(path, "val")


def test_a_clip_of_parquet_without_features_is_skipped(tmp_path):
    content = [{**row, "split": "test", "n_frames": 50, "joints": walking_joints(50).ravel().tolist()} for row in rows(2)]
    joints = walking_joints(50)
    joints[3, 15] = joints[3, 12]
    content[0]["joints"] = joints.ravel().tolist()
    found = read_motions(write(tmp_path / "clips.parquet", content))
    assert [motion.name for motion in found.motions] == ["clip_1"]
    assert found.skipped == {"motions with NaN or infinite features": 1}
