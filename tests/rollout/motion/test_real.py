"""What was recorded for a prompt: the frames that its caption spans, and nothing where no clip is known."""

import dataclasses
import pickle
from pathlib import Path

import numpy as np
import pytest

from rollout.motion.dataset import clip_features, read_clips
from rollout.motion.family import MOTION
from rollout.motion.prompts import MotionPrompt, read_prompts
from rollout.policy import Group
from tests.humanml_folder import WHOLE, clip, write_folder

SPAN = "a person turns#a/DET person/NOUN turn/VERB#0.5#2.75\n"


def group(prompt, features: int = 263) -> Group:
    empty = np.zeros((2, 0), np.float32)
    return Group(prompt, "", np.zeros((2, 40, features), np.float32), np.array([40, 40]), empty, None, {}, (0,), 0, "")


@pytest.fixture
def prompts(tmp_path):
    folder = write_folder(tmp_path, {"000001": (clip(90), WHOLE + SPAN), "000002": (clip(61, seed=1), WHOLE)}, "test")
    return {prompt.text + str(prompt.length): prompt for prompt in read_prompts(folder / "test.txt", 40)}


def test_a_caption_has_the_frames_that_it_spans_as_they_were_recorded(prompts):
    found = dict(zip(prompts, (each.outputs[0] for each in MOTION.recorded(list(map(group, prompts.values()))))))
    np.testing.assert_array_equal(found["a person turns44"], clip(90)[10:55])  # all 45, not whole fours of them
    np.testing.assert_array_equal(found["a person walks88"], clip(90))
    np.testing.assert_array_equal(found["a person walks60"], clip(61, seed=1))


def test_a_digest_of_prompts_is_that_of_what_they_ask_and_a_prompt_travels_without_its_clip(prompts):
    for prompt in prompts.values():
        plain = dataclasses.replace(prompt, recorded=None)
        assert repr(prompt) == repr(plain) and prompt == plain and prompt.told == plain.told and len(pickle.dumps(prompt)) < 1000


def test_where_no_clip_is_known_or_it_is_not_what_the_model_makes_there_is_none(prompts, tmp_path):
    prompt = prompts["a person walks60"]
    assert MOTION.recorded([group(MotionPrompt("a person walks", 40)), group(prompt, 251)]) == [None, None]
    np.save(tmp_path / "new_joint_vecs" / "000002.npy", np.full((61, 263), np.nan, np.float32))
    assert MOTION.recorded([group(prompt)]) == [None]
    (tmp_path / "new_joint_vecs" / "000002.npy").unlink()
    assert MOTION.recorded([group(prompt)]) == [None]


def test_a_caption_of_a_parquet_of_clips_has_its_clip_in_the_features_that_the_model_makes():
    file = Path(__file__).resolve().parents[4] / "shared" / "data" / "cmu_motion_text.parquet"
    if not file.exists():
        pytest.skip(f"{file} is not there")
    clips, prompts = read_clips(file), read_prompts(file, 40)
    first = len(clips[0].captions)  # the prompt after it is of the next clip
    np.testing.assert_array_equal(MOTION.recorded([group(prompts[first])])[0].outputs[0], *clip_features([clips[1]]))
