"""Training data of the evaluators, and that a training run ends in folders the loaders read."""

import functools
import json

import numpy as np
import pytest

from learner.pretrain.crops import CaptionedCrops, alike_clips, crop, frozen
from learner.pretrain.evaluators import train_t2m, train_tmr
from learner.pretrain.retrieval import retrieval, stack
from rewards.motion.readings import joints
from rewards.motion.t2m import T2MReward
from rewards.motion.tmr import TMRReward
from rollout.motion.dataset import Clip, clip_features
from rollout.motion.features import features_to_joints, joints_to_features
from rollout.motion.skeleton import BONE_LENGTHS, HUMANML3D
from rollout.motion.vocabulary import UNKNOWN


def swaying(frames: int, speed: float, seed: int) -> np.ndarray:
    """Joints [T, 22, 3] of a rest pose that sways and moves forward by `speed` metres a frame."""
    pose = np.zeros((HUMANML3D.joints, 3), np.float32)
    for joint in range(1, HUMANML3D.joints):
        pose[joint] = pose[HUMANML3D.parents[joint]] + HUMANML3D.unit_offsets[joint] * BONE_LENGTHS[joint]
    draw = np.random.default_rng(seed)
    swing = 0.04 * np.sin(np.arange(frames)[:, None, None] * 0.3 + draw.uniform(0, 6, (1, HUMANML3D.joints, 3)))
    joints = pose + swing
    joints[..., 2] += speed * np.arange(frames)[:, None]
    return joints.astype(np.float32)


def clip(name: str, captions: tuple[str, ...], split: str = "train", frames: int = 64, speed: float = 0.0) -> Clip:
    return Clip(name, split, "walk" if speed else "stand", captions, swaying(frames, speed, sum(name.encode())), False)


def test_a_frozen_motion_is_one_pose_that_never_moves():
    features = joints_to_features(swaying(50, 0.05, 1))
    joints = features_to_joints(frozen(features, 20))
    assert np.ptp(joints, axis=0).max() == 0
    np.testing.assert_allclose(joints[0, :, 1], features_to_joints(features)[20, :, 1], atol=1e-6)
    recomputed = joints_to_features(joints)
    np.testing.assert_allclose(recomputed[:, 193:263], frozen(features, 20)[1:, 193:263], atol=1e-6)


def test_crops_are_windows_of_40_to_60_frames_or_the_whole_of_less():
    draw = np.random.default_rng(0)
    motion = np.arange(200)[:, None] * np.ones((1, 263))
    crops = [crop(motion, draw) for _ in range(300)]
    assert {len(c) for c in crops} == set(range(40, 61))
    assert min(c[0, 0] for c in crops) < 10 and max(c[-1, 0] for c in crops) > 189
    assert all((np.diff(c[:, 0]) == 1).all() for c in crops)
    assert len(crop(motion[:33], draw)) == 33


def test_clips_that_say_the_same_are_alike_and_mirrored_ones_are_not():
    clips = [
        clip("a", ("a person kicks hard with the left foot", "someone kicks with the left leg")),
        clip("b", ("a person kicks hard with the right foot", "someone kicks with the right leg")),
        clip("c", ("someone kicks with the left leg", "an individual boots a ball")),
        clip("d", ("a person kicks with the left foot hard", "someone kicks with the left leg up")),
        clip("e", ("the person walks ahead slowly", "someone strolls")),
        clip("f", ("a figure jumps up high", "someone leaps")),
        # Enough sides elsewhere that "left" and "right" weigh little, as in the data.
        *(clip(f"g{i}", (f"this man turns {('left', 'right')[i % 2]} {i}",)) for i in range(24)),
    ]
    alike = alike_clips(clips)
    assert (alike == alike.T).all() and alike.diagonal().all()
    assert alike[0, 2]  # a shared caption
    assert alike[0, 3]  # the same words
    assert not alike[0, 1] and not alike[0, 4] and not alike[4, 5]


def some_clips() -> list[Clip]:
    clips = []
    for split, count in (("train", 40), ("val", 32), ("test", 32)):
        for i in range(count):
            speed = 0.06 * (i % 2)
            verb = "walks ahead" if speed else "stands still"
            clips.append(clip(f"{split}{i}", (f"a person {verb}", f"someone {verb}"), split, 45 + i, speed))
    return clips


def test_a_batch_pairs_captions_with_their_own_crops_and_spoils_the_rest():
    clips = [c for c in some_clips() if c.split == "train"]
    features = clip_features(clips)
    mean, std = np.full(263, 0.5, np.float32), np.full(263, 2.0, np.float32)
    crops = CaptionedCrops(clips, features, mean, std, seed=3)
    x, lengths, captions, alike = crops.batch(16, ["frozen", "shuffled"], noise=0)
    assert x.shape == (18, 60, 263) and alike.shape == (16, 18) and len(captions) == 16
    assert not alike.diagonal().any() and not alike[:, 16:].any()
    walks = np.array(["walks" in caption for caption in captions])
    forward = x[:16, :40, 2].mean(1).numpy() * 2 + 0.5
    np.testing.assert_array_equal(forward > 0.03, walks)
    np.testing.assert_array_equal(alike[:, :16].numpy() | np.eye(16, dtype=bool), walks[:, None] == walks[None])
    assert all((x[row, length:] == 0).all() for row, length in enumerate(lengths))
    still = x[16, : lengths[16]] * 2 + 0.5
    assert (still[:, :3] == 0).all() and (still[:, 4:67] == still[:1, 4:67]).all()
    shuffled = x[17, : lengths[17]] * 2 + 0.5
    steps = np.abs(np.diff(shuffled[:, 4:67].numpy(), axis=0)).max(1).mean()
    in_order = np.mean([np.abs(np.diff(motion[:, 4:67], axis=0)).max(1).mean() for motion in features])
    assert steps > 2 * in_order


def test_batches_depend_on_the_seed_alone():
    clips = [c for c in some_clips() if c.split == "train"]
    features = clip_features(clips)

    def batch(seed: int):
        crops = CaptionedCrops(clips, features, np.zeros(263), np.ones(263), seed)
        return crops.batch(8, ["jittered", "shuffled"], 0.1)[0]

    assert (batch(1) == batch(1)).all() and not (batch(1) == batch(2)).all()


def test_an_evaluator_of_joints_is_shown_those_of_each_crop():
    clips = [c for c in some_clips() if c.split == "train"]
    read = CaptionedCrops(clips, clip_features(clips), np.zeros(66), np.ones(66), 1, joints).batch(8, [], 0.0)[0]
    features = CaptionedCrops(clips, clip_features(clips), np.zeros(263), np.ones(263), 1).batch(8, [], 0.0)[0]
    assert read.shape == (8, 60, 66)
    np.testing.assert_allclose(read[:, :40], joints(features.numpy())[:, :40], atol=1e-5)  # as long as the shortest
    assert not read[:, 0, [0, 2]].any()  # the root of each begins where it is


def test_some_words_are_forgotten():
    clips = some_clips()[:4]
    crops = CaptionedCrops(clips, clip_features(clips), np.zeros(263), np.ones(263), 0)
    words = crops.forget_words([7] * 4000, 0.1)
    assert set(words) == {7, UNKNOWN} and 300 < words.count(UNKNOWN) < 500


TRAINED = {
    "tmr": (train_tmr, TMRReward), "t2m": (train_t2m, T2MReward), "joints": (functools.partial(train_tmr, kind="joints"), TMRReward),
    "essential": (functools.partial(train_tmr, kind="essential"), TMRReward),
}  # fmt: skip


@pytest.mark.parametrize("train, reward", TRAINED.values(), ids=TRAINED)
def test_a_training_run_ends_in_a_folder_that_scores(tmp_path, train, reward):
    clips = some_clips()
    features = clip_features(clips)
    report = train(clips, features, tmp_path / "out", seed=4, steps=2, command="test")
    assert json.loads((tmp_path / "out" / "metrics.json").read_text()) == json.loads(json.dumps(report))
    assert report["seed"] == 4 and report["command"] == "test" and len(report["curves"]["loss"]) == 1
    # What was written retrieves on val as what was trained did.
    for k in (1, 3):
        assert report["retrieval_val"][f"r_at_{k}"] == report["curves"][f"val_r_at_{k}"][0]
    loaded = reward.load(tmp_path / "out")
    test = [i for i, c in enumerate(clips) if c.split == "test"]
    again = retrieval(loaded, [clips[i] for i in test], [features[i] for i in test])
    assert again == report["retrieval_test"]
    assert np.isfinite(loaded.embed_motion(*stack([features[i] for i in test]))).all()


def test_an_evaluator_learns_to_tell_walking_from_standing(tmp_path):
    clips = some_clips()
    features = clip_features(clips)
    train_t2m(clips, features, tmp_path, seed=4, steps=40)
    reward = T2MReward.load(tmp_path)
    walking, standing = (reward.embed_text([f"a person {verb}"])[0] for verb in ("walks ahead", "stands still"))
    test = [i for i, c in enumerate(clips) if c.split == "test"]
    motion = reward.embed_motion(*stack([features[i] for i in test]))
    says_walking = ((motion - walking) ** 2).sum(1) < ((motion - standing) ** 2).sum(1)
    np.testing.assert_array_equal(says_walking, [clips[i].action == "walk" for i in test])
