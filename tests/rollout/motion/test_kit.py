"""KIT-ML's 21 joints and 251 features, against an implementation of their own in `tests/kit.py`, and what is kept of them."""

import numpy as np
import pytest

from rollout.motion.features import features_to_joints, frozen, joints_in_metres, joints_to_features, rederived
from rollout.motion.packing import BOUND, pack, unpack
from rollout.motion.skeleton import FORMATS, HUMANML3D, KIT
from tests.kit import CHAINS, FEET, PARENT, kit_features, kit_walker


def test_the_record_says_what_is_published():
    assert {width: (each.joints, each.fps, each.shortest) for width, each in FORMATS.items()} == {263: (22, 20, 40), 251: (21, 12.5, 24)}
    assert KIT.chains == CHAINS and KIT.contacts == FEET and dict(enumerate(KIT.parents[1:], start=1)) == PARENT
    assert (KIT.positions, KIT.rotations, KIT.velocities, KIT.feet) == (slice(4, 64), slice(64, 184), slice(184, 247), slice(247, 251))
    assert (HUMANML3D.positions, HUMANML3D.rotations) == (slice(4, 67), slice(67, 193))
    assert (HUMANML3D.velocities, HUMANML3D.feet) == (slice(193, 259), slice(259, 263))


@pytest.mark.parametrize("turn", [0.0, 2.0])
def test_features_are_those_of_another_implementation(turn):
    expected, _ = kit_features(kit_walker(turn=turn))
    found = joints_to_features(kit_walker(turn=turn))
    assert found.shape == expected.shape == (59, 251) and found.dtype == np.float32
    np.testing.assert_allclose(found[:, [0, *range(64, 184)]], expected[:, [0, *range(64, 184)]], atol=2e-5)
    np.testing.assert_allclose(found[:, 1:64], expected[:, 1:64], atol=1e-3)  # units of about 1.6 mm
    np.testing.assert_allclose(found[:, 184:247], expected[:, 184:247], atol=1e-3)
    np.testing.assert_array_equal(found[:, 247:], expected[:, 247:])
    assert set(np.unique(expected[:, 247:])) == {0.0, 1.0}


def test_joints_come_back_from_features_of_another_implementation():
    features, joints = kit_features(kit_walker(turn=2.0))
    np.testing.assert_allclose(features_to_joints(features), joints[:-1], atol=1e-2)
    np.testing.assert_allclose(joints_in_metres(features), joints[:-1] * (0.75 / 480), atol=1e-5)


def test_a_motion_is_derived_anew_and_held_in_its_own_format():
    features = joints_to_features(kit_walker())
    assert rederived(features).shape == (58, 251) and np.isnan(rederived(features * np.nan)).all()
    np.testing.assert_allclose(rederived(features)[:, :64], features[:-1, :64], atol=20)  # a shorter clip's facing is smoothed otherwise
    held = frozen(features, 20)
    assert not held[:, [0, 1, 2, *range(184, 247)]].any() and (held[:, 247:] == 1).all()
    np.testing.assert_array_equal(held[:, 3:184], np.repeat(features[20:21, 3:184], len(features), axis=0))


def test_a_packed_motion_stays_within_a_millimetre():
    features = joints_to_features(kit_walker(190, turn=4.0))
    packed = pack(features)
    back = unpack(packed, len(features))
    assert packed[:1] == b"s" and back.shape == features.shape
    assert 0 < np.linalg.norm(joints_in_metres(back) - joints_in_metres(features), axis=-1).max() < BOUND / 2
    wild = features * np.float32(1e6)
    np.testing.assert_array_equal(unpack(pack(wild), len(wild)), wild)
