"""Before and after: paired gains, honest intervals, and numbers that belong to their own sample."""

import dataclasses

import numpy as np
import pytest

from learner.watch.examination import best_of, compare, interval
from rewards.components import Component
from rewards.family import Examination
from rewards.motion.evaluators import Judges
from rewards.motion.family import MotionRewards, quality
from rewards.motion.metrics import fid, statistics, unit
from rewards.motion.motions import as_motions
from rewards.motion.physics import ALL_PHYSICS, foot_skate
from rewards.motion.t2m import T2MReward
from rewards.motion.tmr import TMRReward
from rewards.scoring import Scorer
from rollout.motion.features import features_to_joints, rederived
from rollout.policy import Group
from tests.tiny import TRAINING, make_policy, sample_group

DRAW = np.random.default_rng(0)


@pytest.fixture
def group(mdm_folder):
    return sample_group(make_policy(mdm_folder), 6, 0, text=TRAINING[1], length=9)


@pytest.fixture
def evaluators(tmr_folder, t2m_folder):
    return TMRReward.load(tmr_folder), T2MReward.load(t2m_folder)


def reordered(group, order):
    return dataclasses.replace(group, outputs=group.outputs[order], lengths=group.lengths[order])


def test_a_group_is_scored_on_what_its_skeleton_does(group):
    motions = as_motions(group)
    np.testing.assert_array_equal(motions.lengths, group.lengths - 1)
    assert motions.prompts == [TRAINING[1]] * 6
    for features, motion in zip(motions.features, group.outputs):
        np.testing.assert_array_equal(features[:8], rederived(motion[:9]))
    lying = group.outputs.copy()
    lying[..., 67:] += 1.0  # rotations, velocities and contacts that no joint follows
    np.testing.assert_array_equal(as_motions(dataclasses.replace(group, outputs=lying)).features, motions.features)


def test_a_group_is_scored_under_the_tags_of_its_prompt(group):
    group = dataclasses.replace(group, prompt=dataclasses.replace(group.prompt, tokens=("a/DET", "person/NOUN")))
    assert as_motions(group).tokens == [("a/DET", "person/NOUN")] * 6


def test_a_motion_that_is_not_finite_spoils_only_its_own_score(group, evaluators):
    broken = group.outputs.copy()
    broken[2, 3, 5] = np.nan
    found = evaluators[0](as_motions(dataclasses.replace(group, outputs=broken)))
    plain = evaluators[0](as_motions(group))
    assert np.isnan(found[2]) and np.isfinite(found[[0, 1, 3, 4, 5]]).all()
    np.testing.assert_allclose(found[[0, 1, 3, 4, 5]], plain[[0, 1, 3, 4, 5]], atol=2e-5)


def examination(group: Group, reward, judge, joints=None) -> Examination:
    (found,) = MotionRewards().examine([group], Scorer({"it": Component("tmr.cosine")}, {"it": reward}, {}), Judges(judge, joints))
    return found


def test_an_examination_is_what_reward_and_judge_say(group, evaluators):
    tmr, t2m = evaluators
    found = examination(group, tmr, t2m)
    motions = as_motions(group)
    np.testing.assert_array_equal(found.reward, tmr(motions))
    np.testing.assert_array_equal(found.judge, t2m(motions))
    np.testing.assert_array_equal(found.extras["embedding"], t2m.embed_motion(motions.features, motions.lengths))
    np.testing.assert_array_equal(found.extras["foot_skate"], foot_skate(features_to_joints(group.outputs), group.lengths))
    assert found.extras.keys() == ALL_PHYSICS.keys() | {"embedding"}
    swapped = examination(group, t2m, tmr)
    np.testing.assert_array_equal(swapped.reward, found.judge)
    np.testing.assert_array_equal(swapped.judge, found.reward)


def test_a_judge_of_joints_says_its_own(group, evaluators, tiny, tmp_path):
    joints = TMRReward.load(tiny.write_tmr(tmp_path / "joints", nfeats=66))
    found, plain = examination(group, *evaluators, joints), examination(group, *evaluators)
    np.testing.assert_array_equal(found.extras["judge_joints"], joints(as_motions(group)))
    np.testing.assert_array_equal(found.judge, plain.judge)
    told, measured = quality([found], None), MotionRewards().measured([found])
    assert told["judge_joints"] == pytest.approx(measured["judge_joints"].mean(), rel=1e-5)
    assert "judge_joints" not in quality([plain], None) | MotionRewards().measured([plain])


def test_the_best_of_the_base_is_what_the_reward_chooses_and_others_judge():
    reward = np.array([[1, 3, 2], [5, 4, np.nan], [np.nan] * 3])
    judge, tuned = np.array([[10.0, 20, 30], [40, 50, 60], [70, 80, 90]]), np.array([[21.0, 22, 23], [44, 45, 46], [0, 0, 0]])
    found = best_of(examined(reward, judge), {"judge": judge}, {"judge": tuned})["judge"]
    assert found["before"]["mean"] == (20 + 40) / 2 and found["after"]["mean"] == (22 + 45) / 2
    assert found["gain"] == interval(np.array([[2.0], [5.0]]), fixed_prompts=False)


def test_the_reward_of_an_examination_is_the_weighted_sum_of_raw_components(group, evaluators):
    settings = {"a": Component("tmr.cosine", 2.0, "std"), "b": Component("t2m.matching", -0.5, "rank")}
    (found,) = MotionRewards().examine([group], Scorer(settings, dict(zip("ab", evaluators)), {}), Judges(evaluators[1], None))
    assert found.components.keys() == {"a", "b"}
    np.testing.assert_allclose(found.reward, 2 * found.components["a"] - 0.5 * found.components["b"], rtol=1e-6)


def test_groups_of_different_frames_are_read_together_as_alone(group, evaluators):
    shorter = dataclasses.replace(group, outputs=group.outputs[:, :9], lengths=np.minimum(group.lengths, 9))
    together = as_motions(group, shorter)
    assert together.groups.tolist() == [0] * 6 + [1] * 6 and together.produced.shape[:2] == (12, group.outputs.shape[1])
    for rows, alone in ((range(6), as_motions(group)), (range(6, 12), as_motions(shorter))):
        np.testing.assert_allclose(evaluators[0](together)[rows], evaluators[0](alone), atol=2e-5)


def test_numbers_stay_with_their_sample(group, evaluators):
    group = dataclasses.replace(group, lengths=np.array([9, 6, 12, 9, 9, 5]))
    order = np.array([3, 0, 5, 4, 1, 2])
    plain, moved = (examination(g, *evaluators) for g in (group, reordered(group, order)))
    for field in ("reward", "judge"):
        np.testing.assert_allclose(getattr(moved, field), getattr(plain, field)[order], atol=2e-5)
    for name in plain.extras:
        np.testing.assert_allclose(moved.extras[name], plain.extras[name][order], atol=2e-5)
    assert np.std(plain.reward) > 1e-3 and np.std(plain.judge) > 1e-3


def test_frames_past_the_length_never_count(group, evaluators):
    outputs = group.outputs.copy()
    outputs[:, 9:] = 1e4
    plain, spoilt = (examination(g, *evaluators) for g in (group, dataclasses.replace(group, outputs=outputs)))
    for field in ("reward", "judge"):
        np.testing.assert_allclose(getattr(spoilt, field), getattr(plain, field), atol=1e-6)
    for name in plain.extras:
        np.testing.assert_allclose(spoilt.extras[name], plain.extras[name], atol=1e-6)


def test_the_interval_of_held_out_prompts_is_over_prompt_means():
    values = DRAW.normal(size=(16, 1)) + 0.01 * DRAW.normal(size=(16, 4))
    means = values.mean(axis=1)
    found = interval(values, fixed_prompts=False)
    assert found["mean"] == pytest.approx(values.mean()) and found["ci95"] == pytest.approx(
        2.131450 * means.std(ddof=1) / 4  # Student's t of 15 degrees of freedom
    )
    # More samples of the same prompts do not make it narrower.
    assert interval(np.repeat(values, 10, axis=1), fixed_prompts=False)["ci95"] == pytest.approx(found["ci95"])


def test_the_interval_of_training_prompts_is_over_noise_alone():
    levels = 10 * DRAW.normal(size=(16, 1))
    values = levels + DRAW.normal(size=(16, 4))
    found = interval(values, fixed_prompts=True)
    assert found["ci95"] == pytest.approx(interval(values - levels, fixed_prompts=True)["ci95"])
    assert found["ci95"] == pytest.approx(2.010635 * np.sqrt(values.var(axis=1, ddof=1).mean() / 64))  # of 48


@pytest.mark.parametrize("fixed_prompts", [False, True])
def test_the_intervals_hold_the_truth_as_often_as_they_say(fixed_prompts):
    """400 experiments each: prompts of spread 1 (redrawn, unless they are fixed) and noise of spread 1."""
    levels = (
        DRAW.normal(size=(400, 20, 1))
        if not fixed_prompts
        else np.broadcast_to(DRAW.normal(size=(20, 1)), (400, 20, 1))
    )
    truth = levels[0].mean() if fixed_prompts else 0.0
    results = [interval(values, fixed_prompts) for values in levels + DRAW.normal(size=(400, 20, 4))]
    hits = np.mean([abs(result["mean"] - truth) < result["ci95"] for result in results])
    assert 0.91 < hits < 0.98


@pytest.mark.parametrize("shape, fixed_prompts", [((1, 4), False), ((4, 1), True)])
def test_without_repetition_there_is_no_interval(shape, fixed_prompts):
    assert np.isnan(interval(np.ones(shape), fixed_prompts)["ci95"])


def examined(reward, judge=None, embedding=None) -> list[Examination]:
    judge = reward if judge is None else judge
    embedding = np.zeros((*reward.shape, 3)) if embedding is None else embedding
    physics = {name: np.full(reward.shape[1], 0.25) for name in ALL_PHYSICS}
    return [Examination(r, {"part": r / 2}, j, physics | {"embedding": e}) for r, j, e in zip(reward, judge, embedding)]


@pytest.mark.parametrize("fixed_prompts", [False, True])
def test_the_gain_is_paired_by_prompt_and_noise(fixed_prompts):
    base = 5 * DRAW.normal(size=(12, 4))
    found = compare(examined(base, 2 * base), examined(base + 0.1, 2 * base - 0.3), fixed_prompts)
    assert found["reward"]["gain"] == {"mean": pytest.approx(0.1), "ci95": pytest.approx(0, abs=1e-9)}
    assert found["judge"]["gain"] == {"mean": pytest.approx(-0.3), "ci95": pytest.approx(0, abs=1e-9)}
    assert found["reward"]["before"] == {
        name: pytest.approx(value) for name, value in interval(base, fixed_prompts).items()
    }
    assert found["judge"]["after"]["mean"] == pytest.approx(2 * base.mean() - 0.3)
    assert found["reward"]["before"]["ci95"] > 0.5
    assert found["components"] == {"part": {
        "before": pytest.approx(base.mean() / 2), "after": pytest.approx(base.mean() / 2 + 0.05),
        "gain": {"mean": pytest.approx(0.05), "ci95": pytest.approx(0, abs=1e-12)},
    }}  # fmt: skip


@pytest.mark.parametrize("fixed_prompts", [False, True])
def test_samples_that_failed_are_left_out(fixed_prompts):
    values = DRAW.normal(size=(6, 4))
    spoilt = np.concatenate([values, np.full((1, 4), np.nan)])
    assert interval(spoilt, fixed_prompts) == interval(values, fixed_prompts)
    values[2, 1] = np.nan
    assert interval(values, fixed_prompts)["mean"] == pytest.approx(np.nanmean(values))
    assert np.isfinite(interval(values, fixed_prompts)["ci95"])
    assert np.isnan(interval(np.full((2, 2), np.nan), fixed_prompts)["mean"])


def test_quality_is_measured_on_all_samples_of_a_run():
    embedding = DRAW.normal(size=(8, 5, 3))
    real = statistics(DRAW.normal(1, 2, size=(500, 3)))
    found = quality(examined(np.zeros((8, 5)), embedding=embedding), {"fid": real, "fid_unit": real})
    assert found["fid_unit"] == pytest.approx(fid(*real, *statistics(unit(embedding.reshape(40, 3)))), rel=1e-9)
    assert found["fid"] == pytest.approx(fid(*real, *statistics(embedding.reshape(40, 3))), rel=1e-9)
    assert {name: found[name] for name in ALL_PHYSICS} == dict.fromkeys(ALL_PHYSICS, 0.25) and 1 < found["diversity"] < 4


def test_a_motion_that_is_not_finite_is_left_out_of_the_quality():
    embedding = DRAW.normal(size=(8, 5, 3))
    spoilt = np.concatenate([embedding, np.full((1, 5, 3), np.nan)])
    real = dict.fromkeys(("fid", "fid_unit"), statistics(DRAW.normal(1, 2, size=(500, 3))))
    values = np.zeros((9, 5))
    assert quality(examined(values, embedding=spoilt), real) == quality(examined(values[:8], embedding=embedding), real)
    nothing = quality(examined(values, embedding=np.full((9, 5, 3), np.nan)), real)
    assert nothing["fid"] == nothing["fid_unit"] == nothing["diversity"] == "too few motions"


def test_there_is_a_fid_only_of_more_motions_than_dimensions():
    real = dict.fromkeys(("fid", "fid_unit"), (np.zeros(10), np.eye(10)))
    enough, few = DRAW.normal(size=(11, 1, 10)), DRAW.normal(size=(5, 2, 10))
    assert quality(examined(np.zeros((11, 1)), embedding=enough), real)["fid"] > 0
    assert quality(examined(np.zeros((5, 2)), embedding=few), real)["fid"] == "too few motions"
    enough[3] = np.nan  # what is not finite is none of them
    assert quality(examined(np.zeros((11, 1)), embedding=enough), real)["fid"] == "too few motions"


def test_without_statistics_of_real_motion_there_is_no_fid():
    found = quality(examined(np.zeros((2, 2)), embedding=DRAW.normal(size=(2, 2, 3))), None)
    assert found["fid"] is None and found["diversity"] > 0
