"""What evaluation reads off motions, and what follows for captions and motions that do or do not belong together."""

import dataclasses

import numpy as np
import pytest

from learner.evaluate.motion.measures import Measured, Reader, Reference, Texts, measure, repeats_spread, replication_metrics
from rewards.motion.metrics import fid_to, statistics
from rewards.motion.motions import Motions
from rewards.motion.physics import PHYSICS
from rewards.motion.settings import JudgedTerms
from rewards.motion.t2m import T2MReward
from rewards.motion.tmr import TMRReward
from rollout.motion.features import features_to_joints, rederived_motions
from rollout.motion.prompts import MotionPrompt
from tests.tiny import HELDOUT, TRAINING

DRAW = np.random.default_rng(0)
TEXTS = TRAINING + HELDOUT


@pytest.fixture
def evaluators(tmr_folder, t2m_folder):
    return {"tmr": TMRReward.load(tmr_folder), "t2m": T2MReward.load(t2m_folder)}


def measured_as(t2m: np.ndarray, tmr: np.ndarray, reward: float = np.nan, **more: np.ndarray) -> Measured:
    absent, physics = np.zeros((len(t2m), 0)), {name: np.zeros(len(t2m), np.float32) for name in PHYSICS}
    return Measured(t2m, tmr, **physics, **{"joints": absent, "essential": absent} | more, reward=np.full(len(t2m), reward))


class Known:
    """Texts whose embedding is written in their prompt's length."""

    def __init__(self, t2m: np.ndarray, tmr: np.ndarray, **more: np.ndarray):
        self.embedded = {"t2m": t2m, "tmr": tmr, **more}

    def of(self, prompts):
        return {name: embedded[[prompt.length for prompt in prompts]] for name, embedded in self.embedded.items()}


def test_each_reader_gets_the_motion_it_should(evaluators):
    features, lengths = DRAW.normal(0, 0.2, (3, 20, 263)).astype(np.float32), np.array([8, 12, 16])
    found = measure(features, lengths, evaluators, keep_tail=True)
    np.testing.assert_array_equal(found.t2m, evaluators["t2m"].embed_motion(features, lengths, keep_tail=True))
    np.testing.assert_array_equal(found.tmr, evaluators["tmr"].embed_motion(*rederived_motions(features, lengths)))
    for name, of in PHYSICS.items():
        np.testing.assert_array_equal(getattr(found, name), of(features_to_joints(features), lengths))


def test_only_t2m_sees_what_a_generated_motion_holds_past_its_length(evaluators):
    features, lengths = DRAW.normal(0, 0.2, (2, 20, 263)).astype(np.float32), np.array([8, 12])
    other = features.copy()
    other[0, 8:], other[1, 12:] = 3, -3
    for keep_tail in (True, False):
        old, new = (measure(each, lengths, evaluators, keep_tail=keep_tail) for each in (features, other))
        assert np.array_equal(old.t2m, new.t2m) is not keep_tail
        for field in dataclasses.fields(Measured)[1:]:
            np.testing.assert_array_equal(getattr(old, field.name), getattr(new, field.name))


def test_texts_embed_each_caption_as_its_evaluator_does(evaluators):
    prompts = [MotionPrompt(text, 8 + i) for i, text in enumerate(TEXTS + TEXTS[::-1])]
    found = Texts(prompts, evaluators).of(prompts)
    for name, evaluator in evaluators.items():
        np.testing.assert_array_equal(found[name], evaluator.embed_text(TEXTS + TEXTS[::-1]))


def test_joints_and_reward_are_among_the_metrics_where_they_were_measured():
    t2m, joints = DRAW.normal(size=(320, 16)).astype(np.float32), DRAW.normal(size=(320, 8)).astype(np.float32)
    prompts = [MotionPrompt("", i) for i in range(320)]
    without = replication_metrics(prompts, measured_as(t2m, t2m), Known(t2m, t2m), seed=0)
    measured, texts = measured_as(t2m, t2m, 0.25, joints=-joints, essential=joints), Known(t2m, t2m, joints=joints, essential=joints)
    found = replication_metrics(prompts, measured, texts, seed=0)
    assert found == without | {"joints_score": pytest.approx(0, abs=1e-6), "essential_score": pytest.approx(1), "reward": 0.25}


def test_the_reward_is_of_what_the_skeleton_says(tiny, tmp_path):
    paths = {"tmr_path": tiny.write_tmr(tmp_path / "tmr"), "t2m_path": tiny.write_t2m(tmp_path / "t2m")}
    judges = {"joints": 66, "essential": 67}
    paths |= {f"{name}_path": tiny.write_tmr(tmp_path / name, nfeats=width) for name, width in judges.items()}
    reward = JudgedTerms(**{name: str(path) for name, path in paths.items()}, components={"it": {"path": "tmr.cosine", "weight": 2.0}})
    features, lengths = DRAW.normal(0, 0.2, (2, 20, 263)).astype(np.float32), np.array([8, 12])
    reader, prompts = Reader(reward, 5.0, ".", {}, "cpu"), [MotionPrompt(TRAINING[0], 8), MotionPrompt(TRAINING[1], 12)]
    found, told = reader(features, lengths, True, prompts), rederived_motions(features, lengths)
    texts = [prompt.text for prompt in prompts]
    np.testing.assert_allclose(found.reward, 2 * TMRReward.load(paths["tmr_path"])(Motions(*told, texts)), rtol=1e-6)
    for name in judges:
        np.testing.assert_array_equal(getattr(found, name), TMRReward.load(paths[f"{name}_path"]).embed_motion(*told))
    assert np.isnan(reader(features, lengths, True).reward).all()


def test_motion_equal_to_its_caption_is_found_and_permuted_captions_are_chance():
    t2m, tmr = DRAW.normal(size=(2048, 16)).astype(np.float32), DRAW.normal(size=(2048, 8)).astype(np.float32)
    prompts = [MotionPrompt("", i) for i in range(2048)]
    found = replication_metrics(prompts, measured_as(t2m, tmr), Known(t2m, tmr), seed=0)
    assert [found[f"r_at_{k}"] for k in (1, 2, 3)] == [1, 1, 1]
    assert found["mm_dist"] == 0 and found["tmr_score"] == pytest.approx(1)
    order = DRAW.permutation(2048)
    moved = replication_metrics([prompts[i] for i in order], measured_as(t2m, tmr), Known(t2m, tmr), seed=0)
    for k in (1, 2, 3):
        assert moved[f"r_at_{k}"] == pytest.approx(k / 32, abs=0.02)
    assert moved["tmr_score"] == pytest.approx(0.5, abs=0.02)
    assert moved["diversity"] == found["diversity"]


def test_tmr_scores_lie_between_opposite_and_equal():
    rows = DRAW.normal(size=(320, 8)).astype(np.float32)
    prompts = [MotionPrompt("", i) for i in range(320)]
    found = replication_metrics(prompts, measured_as(rows, -5 * rows), Known(rows, rows), seed=0)
    assert found["tmr_score"] == pytest.approx(0, abs=1e-6)


def test_real_motion_has_no_distance_to_itself_and_one_broken_motion_leaves_no_number():
    rows = DRAW.normal(size=(400, 6))
    assert fid_to(statistics(rows), rows) == pytest.approx(0, abs=1e-9)
    assert fid_to(statistics(rows), rows + 1) == pytest.approx(6)
    rows[7, 2] = np.nan
    assert np.isnan(fid_to((np.zeros(6), np.eye(6)), rows))
    assert fid_to((np.zeros(6), np.eye(6)), rows[:6]) == "too few motions"


def test_fid_at_length_1_is_blind_to_length_and_both_need_as_many_motions():
    rows = DRAW.normal(size=(400, 6))
    longer = Reference(rows).fids(rows * DRAW.uniform(2, 9, (400, 1)))
    assert longer["fid"] > 10 and longer["fid_unit"] == pytest.approx(0, abs=1e-9)
    turned = Reference(rows).fids(rows + 1)
    assert turned["fid"] == pytest.approx(6) and turned["fid_unit"] > 0.5
    assert Reference(rows).fids(rows[:6]) == {"fid": "too few motions", "fid_unit": "too few motions"}


def test_multimodality_compares_the_repeats_of_a_caption():
    captions = DRAW.normal(size=(5, 4)).astype(np.float32)
    same = [measured_as(captions, captions) for _ in range(30)]
    assert repeats_spread(same, seed=0) == 0
    apart = [measured_as(captions + i, captions) for i in range(30)]
    assert repeats_spread(apart, seed=0) > 1


def test_joined_parts_keep_their_order():
    parts = [measured_as(np.full((2, 3), i, np.float32), np.full((2, 5), -i, np.float32)) for i in range(4)]
    whole = Measured.joined(parts)
    np.testing.assert_array_equal(whole.t2m[:, 0], [0, 0, 1, 1, 2, 2, 3, 3])
    assert whole.tmr.shape == (8, 5) and len(whole) == 8
