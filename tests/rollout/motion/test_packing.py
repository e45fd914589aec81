"""A packed motion: within a millimetre at every joint for as long as a motion lasts, exact where that cannot be, and small."""

import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollout.motion.features import features_to_joints, joints_to_features
from rollout.motion.packing import BOUND, pack, unpack


def motion(frames: int, seed: int = 0, wild: float = 1.0) -> np.ndarray:
    """A body that walks, turns and swings its limbs, `wild` times as far as a person; raw features [frames, 263]."""
    rng = np.random.default_rng(seed)
    features = np.cumsum(rng.normal(0, 0.02 * wild, (frames, 263)), axis=0)
    features[:, :4] = rng.normal(0.02, 0.04 * wild, (frames, 4))
    return features.astype(np.float32)


def off(features: np.ndarray) -> float:
    """Metres between the joints of the packed and the plain motion, the worst of all frames."""
    back = unpack(pack(features), len(features))
    assert back.shape == features.shape and back.dtype == np.float32 and back.flags.c_contiguous
    return float(np.linalg.norm(features_to_joints(back) - features_to_joints(features), axis=-1).max())


@pytest.mark.parametrize("frames", [1, 2, 40, 196, 2000])
def test_every_joint_stays_within_a_quarter_of_a_millimetre_however_long_the_motion(frames):
    features = motion(frames)
    assert 0 < off(features) <= 2.5e-4
    back = unpack(pack(features), frames)
    np.testing.assert_array_equal(back[:, :4], features[:, :4])  # the root, which is integrated
    np.testing.assert_allclose(back, features, atol=1e-3, rtol=0)


def test_the_motion_of_people_packs_small():
    t = np.arange(197)[:, None, None] / 20
    rest = np.random.default_rng(0).normal(0, 0.4, (1, 22, 3))
    swinging = rest + 0.2 * np.sin(3 * t + np.arange(22)[:, None]) + t * [0, 0, 1.2]
    features = joints_to_features(swinging.astype(np.float32))
    assert 0 < off(features) <= 2.5e-4
    assert len(zlib.compress(pack(features), 1)) < features.nbytes / 3


@given(seed=st.integers(0, 999), frames=st.integers(1, 60), wild=st.sampled_from([0, 1e-6, 1, 30, 1e3, 1e6, 1e12, 1e30]), odd=st.booleans())
def test_no_motion_is_off_by_more_than_the_bound(seed, frames, wild, odd):
    features = motion(frames, seed, wild)
    if odd:
        features[-1, seed % 263] = [np.nan, np.inf, -np.inf, 3e38, 7.9999, -8.0][seed % 6]
    back = unpack(pack(features), frames)
    with np.errstate(invalid="ignore", over="ignore"):
        gap = np.linalg.norm(features_to_joints(back) - features_to_joints(features), axis=-1).max()
    assert np.array_equal(back, features, equal_nan=True) or gap <= BOUND


@pytest.mark.parametrize("spoil", [lambda m: m * np.float32(1e5), lambda m: np.where(m > m.max() - 1e-6, np.float32(np.nan), m)])
def test_what_steps_cannot_hold_is_kept_to_the_bit(spoil):
    features = spoil(motion(196))
    np.testing.assert_array_equal(unpack(pack(features), 196), features)


def test_a_root_too_far_away_for_steps_is_kept_to_the_bit():
    features = motion(50)
    features[:, 1] = 4e4  # metres a frame: beyond 1e6 a float32 has no millimetres
    np.testing.assert_array_equal(unpack(pack(features), 50), features)


@pytest.mark.parametrize("packed", [b"", b"x", b"s", b"?", pack(motion(9))[:-1], pack(motion(9)) + b"0", pack(motion(8)), b"z" + pack(motion(9))[1:]])
def test_bytes_of_another_motion_are_refused(packed):
    with pytest.raises(ValueError):
        unpack(packed, 9)
