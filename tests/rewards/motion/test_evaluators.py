"""What holds for every learned reward: order, padding, garbage past the end, unknown words."""

import logging
import warnings

import numpy as np
import pytest

from rewards.motion.motions import Motions
from rewards.motion.t2m import T2MReward
from rewards.motion.tmr import TMRReward
from rollout.io.errors import InputError

PROMPTS = ["a person walks forward", "a person jumps", "a person walks forward", "a person walks left", "walks"]
EXACT = 2e-6


@pytest.fixture(params=["tmr", "t2m", "joints", "essential"])
def reward(request, tiny, tmp_path):
    """The last two: TMRs that read joints, and the 67 features that determine them."""
    if request.param == "t2m":
        return T2MReward.load(tiny.write_t2m(tmp_path / "t2m"))
    return TMRReward.load(tiny.write_tmr(tmp_path / "tmr", nfeats={"tmr": 263, "joints": 66, "essential": 67}[request.param]))


def motions(lengths, frames=60) -> Motions:
    features = np.random.default_rng(0).normal(size=(len(lengths), frames, 263)).astype(np.float32)
    return Motions(features, np.array(lengths), PROMPTS[: len(lengths)])


@pytest.mark.parametrize("lengths", [[60, 60, 60, 60, 60], [40, 60, 47, 47, 52]], ids=["equal", "mixed"])
def test_scores_follow_their_samples_under_permutation(reward, lengths):
    given = motions(lengths)
    order = np.array([3, 0, 4, 2, 1])
    moved = Motions(given.features[order], given.lengths[order], [given.prompts[i] for i in order])
    scores, permuted = reward(given), reward(moved)
    assert np.ptp(scores) > 1e-3  # else any order would pass
    assert scores.dtype == np.float32 and scores.shape == (5,)
    np.testing.assert_allclose(permuted, scores[order], atol=EXACT)


def test_a_sample_alone_scores_as_in_a_batch(reward):
    given = motions([40, 60, 47, 49, 52])
    alone = [
        reward(Motions(given.features[i : i + 1, :n], given.lengths[i : i + 1], given.prompts[i : i + 1]))[0]
        for i, n in enumerate(given.lengths)
    ]
    np.testing.assert_allclose(reward(given), alone, atol=EXACT)


@pytest.mark.parametrize("frames", [61, 64, 196])
def test_padding_does_not_change_a_score(reward, frames):
    given = motions([40, 60, 47, 48, 52])
    padded = np.zeros((5, frames, 263), np.float32)
    padded[:, :60] = given.features
    wider = reward(Motions(padded, given.lengths, given.prompts))
    np.testing.assert_allclose(wider, reward(given), atol=EXACT)


@pytest.mark.parametrize("garbage", [1e4, np.nan, np.inf])
def test_garbage_past_the_length_is_ignored(reward, garbage):
    given = motions([40, 60, 47, 48, 52])
    dirty = given.features.copy()
    for row, length in enumerate(given.lengths):
        dirty[row, length:] = garbage
    spoilt = reward(Motions(dirty, given.lengths, given.prompts))
    np.testing.assert_allclose(spoilt, reward(given), atol=EXACT)


def test_a_nan_inside_a_motion_fails_that_sample_only(reward):
    given = motions([40, 60, 47, 48, 52])
    broken = given.features.copy()
    broken[2, 5, 7] = np.nan
    scores = reward(Motions(broken, given.lengths, given.prompts))
    assert np.isnan(scores).tolist() == [False, False, True, False, False]


def test_unknown_words_are_reported_and_keep_their_place(reward, caplog):
    with caplog.at_level(logging.WARNING):
        unknown = reward.embed_text(["a person somersaults forward"])
    assert "somersaults" in caplog.text
    assert np.abs(unknown - reward.embed_text(["a person forward"])).max() > 1e-3  # not dropped
    np.testing.assert_array_equal(unknown, reward.embed_text(["a person cartwheels forward"]))


def test_a_prompt_without_a_known_word_is_refused(reward):
    with pytest.raises(InputError, match="somersaults wildly"):
        reward.embed_text(["a person walks", "somersaults wildly"])


def test_text_embeddings_come_in_the_order_of_the_prompts(reward):
    rows = reward.embed_text(PROMPTS)
    np.testing.assert_array_equal(rows[0], rows[2])
    assert np.abs(rows[0] - rows[1]).max() > 1e-3
    np.testing.assert_array_equal(rows[::-1], reward.embed_text(PROMPTS[::-1]))


def test_networks_are_frozen_in_eval_mode_and_run_without_warnings(reward):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        first = reward(motions([40, 60]))
    np.testing.assert_array_equal(first, reward(motions([40, 60])))  # dropout would differ


def test_tmr_score_is_half_the_cosine_plus_a_half(tmr_folder):
    reward = TMRReward.load(tmr_folder)
    given = motions([40, 60, 47, 48, 52])
    text, motion = reward.embed_text(given.prompts), reward.embed_motion(given.features, given.lengths)
    cosine = (text * motion).sum(1) / np.sqrt((text**2).sum(1) * (motion**2).sum(1))
    np.testing.assert_allclose(reward(given), cosine / 2 + 0.5, atol=1e-6)


def test_t2m_score_is_minus_the_distance(t2m_folder):
    reward = T2MReward.load(t2m_folder)
    given = motions([40, 60, 47, 48, 52])
    gap = reward.embed_text(given.prompts) - reward.embed_motion(given.features, given.lengths)
    np.testing.assert_allclose(reward(given), -np.sqrt((gap**2).sum(1)), atol=1e-6)


@pytest.mark.parametrize("length", [3, 197])
def test_t2m_refuses_lengths_it_cannot_judge(t2m_folder, length):
    with pytest.raises(InputError, match="4..196"):
        T2MReward.load(t2m_folder)(motions([length, 60], frames=200))


@pytest.mark.parametrize(
    "features, lengths, prompts, complaint",
    [
        (np.zeros((2, 9, 262)), [9, 9], ["a", "b"], "262"),
        (np.zeros((2, 9, 263)), [9, 9], ["a"], "1 prompts"),
        (np.zeros((2, 9, 263)), [9], ["a", "b"], "lengths of shape"),
        (np.zeros((2, 9, 263)), [9, 10], ["a", "b"], "9..10"),
        (np.zeros((2, 9, 263)), [0, 9], ["a", "b"], "0..9"),
    ],
)
def test_motions_that_do_not_fit_together_are_refused(features, lengths, prompts, complaint):
    with pytest.raises(InputError, match=complaint):
        Motions(features, np.array(lengths), prompts)
