"""Physical rewards: nothing inside the range of real motion, a penalty on both sides of it, and no gain from standing still."""

from pathlib import Path

import numpy as np
import pytest

from rewards.motion.consistency import feature_inconsistency
from rewards.motion.kinds import KINDS
from rewards.motion.motions import Motions
from rewards.motion.real_band import PHYSICAL, FeatureConsistency, Floating, FootSkate, GroundPenetration, Jerk, real_statistics
from rollout.io.errors import InputError
from rollout.motion.dataset import clip_features, read_clips
from rollout.motion.features import rederived
from rollout.motion.skeleton import HUMANML3D, KIT

REAL = Path(__file__).resolve().parents[3].parent / "shared" / "data" / "cmu_motion_text.parquet"


def read_as_a_models(produced: np.ndarray, lengths=None) -> Motions:
    """Motions of raw features [N, T, 263] as rewards receive them."""
    lengths = np.full(len(produced), produced.shape[1]) if lengths is None else lengths
    features = np.zeros_like(produced[:, 1:])
    for row, motion, length in zip(features, produced, lengths):
        row[: length - 1] = rederived(motion[:length])
    return Motions(features, lengths - 1, ["a person walks"] * len(produced), produced=produced)


@pytest.fixture(scope="module")
def walks():
    """Raw features [N, 40, 263] of crops of real held-out walks."""
    if not REAL.is_file():
        pytest.skip(f"{REAL} is absent")
    clips = [clip for clip in read_clips(REAL) if clip.action == "walk" and clip.split != "train" and len(clip.joints) > 40]
    return np.stack([features[:40] for features in clip_features(clips[:60])])


@pytest.fixture
def gliding():
    """Bodies with both feet flat on the floor: one that stands and four that glide at 0.02, 0.05, 1 and 2 m/s."""
    features = np.zeros((5, 20, 263), np.float32)
    features[:, :, 3] = 0.9
    features[:, :, 4:67].reshape(5, 20, 21, 3)[..., [6, 7, 9, 10], 1] = 0.01  # ankles and toes
    features[:, :, 2] = np.array([0, 0.02, 0.05, 1.0, 2.0])[:, None] / 20
    return Motions(features, np.full(5, 20), ["a person stands"] * 5)


def frozen(produced: np.ndarray) -> np.ndarray:
    """Each motion's middle pose held still, and features that say so."""
    still = np.repeat(produced[:, produced.shape[1] // 2][:, None], produced.shape[1], axis=1)
    still[..., 0:3], still[..., 193:259], still[..., 259:263] = 0, 0, 1
    return still


def test_the_score_is_the_distance_from_the_band_over_the_scale(gliding):
    score = FootSkate(low=0.04, high=0.9, scale=2.0)(gliding)
    assert score.dtype == np.float32
    np.testing.assert_allclose(score, [-0.02, -0.01, 0, -0.05, -0.55], atol=1e-4)


def test_the_band_and_scale_are_those_of_real_motion(gliding):
    quantiles = real_statistics()["measures"]["foot_skate"]["quantiles"]
    low, high = quantiles["0.05"], quantiles["0.95"]
    assert 0 < low < 0.02 < 0.05 < high < 0.2
    expected = np.array([-low, 0, 0, high - 1, high - 2]) / (high - low)
    np.testing.assert_allclose(FootSkate()(gliding), expected, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("reward", PHYSICAL, ids=lambda reward: reward.name)
def test_standing_still_scores_no_better_than_real_walking(reward, walks):
    real, still = (reward()(read_as_a_models(produced)) for produced in (walks, frozen(walks)))
    assert still.mean() <= real.mean() and real.max() == 0
    assert real.mean() > -0.15  # and real walking costs next to nothing


@pytest.mark.parametrize("reward", PHYSICAL, ids=lambda reward: reward.name)
def test_padding_order_and_neighbours_do_not_matter(reward):
    # Stand-ins for people who glide and tremble, some on the floor and some a little above or below it.
    produced = np.random.default_rng(0).normal(0, 0.01, (4, 30, 263)).astype(np.float32)
    produced[..., 3] += 0.9
    produced[..., 2] += 0.02
    produced[..., 4:67].reshape(4, 30, 21, 3)[..., 1] += np.array([0.05, 0.04, 0.0, -0.03])[:, None, None]
    lengths = np.array([30, 20, 25, 20])
    score = reward(high=reward().low)  # so that every measure shows
    found = score(read_as_a_models(produced, lengths))
    assert found.dtype == np.float32 and len(set(found)) >= 3
    spoilt = np.full((4, 36, 263), np.nan, np.float32)
    for row, motion, length in zip(spoilt, produced, lengths):
        row[:length] = motion[:length]
    np.testing.assert_allclose(score(read_as_a_models(spoilt, lengths)), found, rtol=1e-5)
    np.testing.assert_array_equal(score(read_as_a_models(produced[::-1].copy(), lengths[::-1])), found[::-1])
    produced[1, 3, 2] = np.nan
    broken = score(read_as_a_models(produced, lengths))
    assert np.isnan(broken).tolist() == [False, True, False, False]
    np.testing.assert_array_equal(broken[[0, 2, 3]], found[[0, 2, 3]])


def test_shaking_is_punished_and_sinking_and_hovering_are_seen_where_the_model_put_them(walks):
    shaken = walks.copy()
    shaken[..., 4:67] += np.random.default_rng(0).normal(0, 0.02, shaken[..., 4:67].shape)
    assert Jerk()(read_as_a_models(shaken)).max() < 0
    for reward, metres in ((GroundPenetration, -0.1), (Floating, 0.2)):
        moved = walks.copy()
        moved[..., 3] += metres
        moved[..., 4:67].reshape(*moved.shape[:2], 21, 3)[..., 1] += metres
        motions = read_as_a_models(moved)
        assert reward()(motions).max() < 0
        rederived_only = Motions(motions.features, motions.lengths, motions.prompts)
        assert reward()(rederived_only).mean() > -0.1  # re-deriving puts the body back on the floor


def test_the_floor_counts_to_the_last_frame_that_was_produced(gliding):
    produced = np.concatenate([gliding.features, gliding.features[:, -1:]], axis=1)
    produced[1, -1, 3:67] -= 0.1
    sunk = GroundPenetration.measure(Motions(gliding.features, gliding.lengths, gliding.prompts, produced=produced))
    assert sunk[1] > 0 and not sunk[[0, 2, 3, 4]].any()


def test_consistency_counts_the_dims_that_no_joint_follows(walks):
    motions = read_as_a_models(walks[:4])
    before = FeatureConsistency.measure(motions)
    spoilt = walks[:4].copy()
    spoilt[1, :, 67:193] += 0.226
    spoilt[2, :, 193:259] += 0.0288
    spoilt[3, :, 259:263] = 1 - spoilt[3, :, 259:263]
    after = FeatureConsistency.measure(read_as_a_models(spoilt))
    assert after[0] == before[0]
    # Each spoilt block is off by its standard deviation (contacts by 1): the root of its share of the 196 dims.
    shares = np.sqrt([126 / 196, 66 / 196, 4 / 196 / 0.428**2])
    assert np.all(np.abs(after[1:] - shares) < before[1:] + 0.05)
    spoilt[:, :, 67:263] *= 100
    assert (FeatureConsistency()(read_as_a_models(spoilt)) < 0).all()


@pytest.mark.parametrize("kind", [HUMANML3D, KIT], ids=lambda kind: kind.name)
def test_a_deviation_of_every_dim_that_no_joint_follows_is_one_in_either_format(kind):
    produced, rederived = np.zeros((2, 9, kind.features)), np.zeros((2, 8, kind.features))
    metres_a_frame = 0.0288 * 20 / kind.fps
    for dims, std in ((kind.rotations, 0.226), (kind.velocities, metres_a_frame / kind.metres), (kind.feet, 0.428)):
        produced[1, :, dims] += std
    np.testing.assert_allclose(feature_inconsistency(produced, rederived, np.array([8, 8])), [0, 1], atol=1e-6)


def test_consistency_needs_what_the_model_produced():
    features = np.zeros((1, 8, 263), np.float32)
    with pytest.raises(InputError, match="without the features that the model produced"):
        FeatureConsistency()(Motions(features, np.array([8]), ["a person walks"]))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"low": 0.5}, "low: found 0.5, expected at most high, 0.09"),
        ({"scale": 0}, "scale: found 0, expected a number above 0"),
        ({"high": "real"}, "high: found 'real', expected a number"),
    ],
)
def test_a_band_that_cannot_be_is_refused(options, message):
    with pytest.raises(InputError, match=message):
        FootSkate(**options)


def test_every_physical_reward_ships_with_its_statistics():
    for reward in PHYSICAL:
        quantiles = list(real_statistics()["measures"][reward.name]["quantiles"].values())
        assert quantiles == sorted(quantiles) and reward.name in KINDS.shipped
        assert reward().scale > 0
