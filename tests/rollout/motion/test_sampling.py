"""Sampling of the motion policy: which noise, which steps are recorded, what comes out."""

import copy
import dataclasses

import numpy as np
import pytest
import torch

from rollout.io.errors import InputError
from rollout.motion.diffusion_policy import MotionDiffusionPolicy, MotionPolicySettings
from rollout.motion.prompts import MotionPrompt
from rollout.motion.settings import Model
from rollout.policy import Group, Request
from tests.tiny import FRAMES, make_policy, noisy_adapter, prepared, sample_group


@pytest.fixture
def policy(mdm_folder):
    """A policy under a noisy adapter, on a model that sees its padding."""
    policy = make_policy(mdm_folder)
    policy.load_adapter(noisy_adapter(policy))
    return policy


def with_actions(group: Group, **arrays: np.ndarray) -> Group:
    return dataclasses.replace(group, actions={**group.actions, **arrays})


@pytest.mark.parametrize("respacing, frames", [("10", FRAMES), ("", 4)])
def test_invariant_03_the_ends_of_the_chain_are_never_recorded(mdm_folder, respacing, frames):
    policy = make_policy(mdm_folder, steps=respacing, frames=frames)
    recorded = {
        int(t) for seed in range(12) for t in policy._recorded_steps((seed,), 8, 4).ravel()
    } | {int(t) for t in sample_group(policy, 2, 4).actions["t"].ravel()}  # fmt: skip
    last = len(policy.schedule) - 1
    assert recorded == set(range(2, last))


def test_recorded_steps_are_stratified_per_sample(policy):
    t_GK = policy._recorded_steps((3, 1), 64, 3)
    assert [sorted(set(column)) for column in t_GK.T] == [[2, 3, 4], [5, 6], [7, 8]]
    assert len({tuple(row) for row in t_GK}) > 6
    np.testing.assert_array_equal(np.sort(policy._recorded_steps((3, 1), 4, 7), axis=1), [[2, 3, 4, 5, 6, 7, 8]] * 4)


def test_more_trained_steps_than_the_chain_has_are_refused(policy):
    with pytest.raises(InputError, match="trained_steps: found 8.* 7 trainable"):
        sample_group(policy, trained_steps=8)


def test_nothing_is_recorded_when_nothing_is_trained(policy):
    group = sample_group(policy, trained_steps=0)
    assert group.log_probs.shape == (4, 0) and group.actions["x_t"].size == 0
    np.testing.assert_array_equal(group.outputs, sample_group(policy, trained_steps=3).outputs)


def test_a_model_trained_with_masks_samples_only_the_valid_frames(masked_mdm_folder):
    policy = make_policy(masked_mdm_folder)
    assert sample_group(policy, length=5).outputs.shape == (4, 5, 263)


def test_invariant_18_a_group_depends_on_its_request_and_nothing_else(mdm_folder):
    first, second = (make_policy(mdm_folder) for _ in range(2))
    adapter = noisy_adapter(first)
    groups = {}
    for policy, order in ((first, (0, 1, 2)), (second, (2, 0))):
        policy.load_adapter(adapter)
        torch.manual_seed(len(order))  # the global generator must not matter
        for i in order:
            groups.setdefault(i, []).append(sample_group(policy, seed=(7, 0, 0, i)))
    for i in (0, 2):
        one, two = groups[i]
        assert one.digest == two.digest
        np.testing.assert_array_equal(one.log_probs, two.log_probs)
    assert len({group[0].digest for group in groups.values()}) == 3


def test_the_digest_of_a_group_covers_all_it_carries(policy):
    group = sample_group(policy, 2, 2)
    changed = [dataclasses.replace(group, seed=(1,)), dataclasses.replace(group, outputs=group.outputs + 1e-3)]
    changed += [with_actions(group, **{name: value + 1}) for name, value in group.actions.items()]
    (other,) = prepared(policy, [MotionPrompt("walks", FRAMES)])
    changed.append(dataclasses.replace(group, conditioning=other))
    assert len({group.digest, *(g.digest for g in changed)}) == 1 + len(changed) == 9


def test_noise_belongs_to_seed_and_sample(mdm_folder):
    policy = make_policy(mdm_folder)
    noise = [policy._noise((1, 2, 3, 4, sample), FRAMES) for sample in range(3)]
    assert noise[0].shape == (11, FRAMES, 263) and abs(noise[0].mean()) < 0.03 and abs(noise[0].std() - 1) < 0.03
    assert torch.equal(noise[1], policy._noise((1, 2, 3, 4, 1), FRAMES))
    different = [*noise, policy._noise((1, 2, 3, 5, 0), FRAMES), policy._noise((1, 2, 4, 4, 0), FRAMES)]
    for i, one in enumerate(different):
        assert all((one[step] != two[step]).float().mean() > 0.99 for two in different[:i] for step in (0, 5))


def test_a_group_starts_from_one_noise_when_it_is_shared(mdm_folder):
    class Watched(MotionDiffusionPolicy):
        def _denoise(self, noise_SBTF, *rest):
            self.noise = noise_SBTF
            return super()._denoise(noise_SBTF, *rest)

    def noise(shared: bool, seed=(1, 2, 3, 4)):
        settings = MotionPolicySettings(Model(path=str(mdm_folder), frames=FRAMES), lora_rank=4, shared_initial_noise=shared)
        policy = Watched(settings)
        sample_group(policy, 2, 0, seed=seed)
        return policy.noise

    own, shared = noise(False), noise(True)
    assert torch.equal(shared[0, 0], shared[0, 1]) and not torch.equal(own[0, 0], own[0, 1])
    assert not torch.equal(shared[1, 0], shared[1, 1]) and torch.equal(own[1:], shared[1:])
    assert not torch.equal(shared[0], noise(True, (1, 2, 3, 5))[0])


def test_the_samples_of_a_group_differ(policy):
    outputs = sample_group(policy).outputs
    assert all(np.abs(outputs[i] - outputs[j]).max() > 0.1 for i in range(4) for j in range(i))


def test_outputs_are_raw_features(policy):
    group = sample_group(policy, 2, 7)
    # The last recorded transition leaves the chain at step 1; from there on only the model and the noise act.
    normalised = (group.outputs - policy.mean) / policy.std
    assert np.abs(normalised).max() < 20 and group.outputs.dtype == np.float32
    other = copy.copy(policy)
    other.mean, other.std = np.zeros(263, np.float32), np.ones(263, np.float32)
    np.testing.assert_allclose(sample_group(other, 2, 7).outputs, normalised, atol=1e-5)


def test_prepare_caps_lengths_and_encodes_each_prompt_alone(policy):
    texts = ["a person walks", "walks", "a PERSON, walks!"]
    together = prepared(policy, [MotionPrompt(text, 400) for text in texts])
    assert [conditioning.prompt.length for conditioning in together] == [FRAMES] * 3
    (alone,) = prepared(policy, [MotionPrompt("walks", 400)])
    assert (
        alone.digest == together[1].digest
        and alone.arrays["text"].shape == (1, 16)
        and alone.arrays["text"].dtype == np.float32
    )
    np.testing.assert_array_equal(together[0].arrays["text"], together[2].arrays["text"])
    assert not np.allclose(together[0].arrays["text"], together[1].arrays["text"], atol=0.01)
    assert len({c.digest for c in [*together, *prepared(policy, [MotionPrompt("walks", 5)])]}) == 4


def test_a_prompt_of_unknown_words_is_refused(policy):
    with pytest.raises(InputError, match="'xyzzy quux'"):
        prepared(policy, [MotionPrompt("xyzzy quux", 10)])


def test_a_group_of_one_can_be_sampled(policy):
    conditioning = prepared(policy, [MotionPrompt("walks", 9)])[0]
    assert len(policy.sample(Request(conditioning, 1, (0,), 0))) == 1


def test_settings_that_the_model_cannot_serve_are_refused(mdm_folder, tmp_path, tiny):
    with pytest.raises(InputError, match="frames: found 100"):
        make_policy(mdm_folder, frames=100)
    with pytest.raises(InputError, match="lora targets"):
        make_policy(mdm_folder, lora_targets=("no_such_linear",))
    undropped = tiny.write_mdm(tmp_path / "mdm", cond_mask_prob=0)
    with pytest.raises(InputError, match="guidance: found 2.5"):
        make_policy(undropped)
    make_policy(undropped, guidance=1.0)
    (undropped / "text_encoder.pt").unlink()
    with pytest.raises(InputError, match="text_encoder_type 'vocabulary' without a text_encoder.pt"):
        prepared(make_policy(undropped, guidance=1.0), [MotionPrompt("walks", 9)])
