"""What a TMR reads of a motion beside its features: joints, or the 67 features that determine them."""

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from rewards.motion.motions import Motions
from rewards.motion.readings import essential, joints
from rewards.motion.tmr import TMRReward
from rollout.io.errors import InputError
from rollout.motion.features import features_to_joints

PROMPTS = ["a person walks forward", "a person jumps"]


def motions() -> np.ndarray:
    return np.random.default_rng(0).normal(0, 0.2, (2, 40, 263)).astype(np.float32)


def retold(features: np.ndarray) -> np.ndarray:
    """The same skeletons; rotations, velocities and contacts say something else."""
    told = features.copy()
    told[..., 67:] = np.random.default_rng(1).normal(0, 1, told[..., 67:].shape)
    return told


@pytest.mark.parametrize("width, blind", [(263, False), (67, True), (66, True)], ids=["features", "essential", "joints"])
def test_only_what_reads_all_features_is_told_by_those_that_no_joint_follows(tiny, tmp_path, width, blind):
    judge, lengths = TMRReward.load(tiny.write_tmr(tmp_path / "tmr", nfeats=width)), np.array([40, 33])
    scores, told = (judge(Motions(features, lengths, PROMPTS)) for features in (motions(), retold(motions())))
    assert (np.abs(told - scores).max() < 1e-7) == blind
    moved = motions()
    moved[..., 4:67] += 0.5
    assert np.abs(judge(Motions(moved, lengths, PROMPTS)) - scores).max() > 1e-4  # and none is blind to the skeleton


def test_joints_are_read_from_the_root_as_the_first_frame_faces():
    read, placed = joints(motions()).reshape(2, 40, 22, 3), features_to_joints(motions())
    np.testing.assert_array_equal(read[:, :, 0], placed[:, :, 0])
    np.testing.assert_allclose(read[:, :, 1:, [0, 2]] + placed[:, :, :1, [0, 2]], placed[:, :, 1:, [0, 2]], atol=1e-5)
    np.testing.assert_array_equal(read[:, :, 1:, 1], placed[:, :, 1:, 1])
    assert essential(motions()).shape == (2, 40, 67)


def test_a_run_folder_may_hold_safetensors(tiny, tmp_path):
    folder = tiny.write_tmr(tmp_path / "tmr", nfeats=66)
    expected = TMRReward.load(folder)(Motions(motions(), np.array([40, 33]), PROMPTS))
    for path in (folder / "last_weights").glob("*.pt"):
        save_file(torch.load(path, weights_only=True), path.with_suffix(".safetensors"))
        path.unlink()
    np.testing.assert_array_equal(TMRReward.load(folder)(Motions(motions(), np.array([40, 33]), PROMPTS)), expected)
    path = folder / "last_weights" / "motion_encoder.safetensors"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(InputError, match="motion_encoder.safetensors: not a readable safetensors file"):
        TMRReward.load(folder)


@pytest.mark.parametrize("width", [66, 67])
def test_kits_motions_are_refused_by_what_reads_22_joints(tiny, tmp_path, width):
    judge = TMRReward.load(tiny.write_tmr(tmp_path / "tmr", nfeats=width))
    with pytest.raises(InputError, match="motions of 251 features, the evaluator reads 263"):
        judge.embed_motion(np.zeros((1, 9, 251), np.float32), np.array([9]))
