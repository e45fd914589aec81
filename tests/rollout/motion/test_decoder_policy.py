"""The policy on a transformer decoder: several text tokens, mixed batches, prefix completion, DDIM."""

import dataclasses

import numpy as np
import pytest
import torch

from rollout.adapter import Adapter
from rollout.io.errors import InputError
from rollout.motion.prompts import MotionPrompt
from rollout.policy import Conditioning, Request
from tests.tiny import FRAMES, make_policy, noisy_adapter, write_mdm

LENGTHS, TOKENS = (FRAMES, 7, 9), (5, 1, 3)


def conditioning(tokens: int, length: int, seed: int = 0, **arrays) -> Conditioning:
    text = np.random.default_rng(seed).standard_normal((tokens, 16), dtype=np.float32)
    return Conditioning(MotionPrompt(f"prompt {seed}", length), {"text": text, **arrays})


@pytest.fixture(params=["decoder", "encoder"])
def folder(request, decoder_mdm_folder, masked_mdm_folder):
    return {"decoder": decoder_mdm_folder, "encoder": masked_mdm_folder}[request.param]


@pytest.fixture
def policy(decoder_mdm_folder):
    policy = make_policy(decoder_mdm_folder)
    policy.load_adapter(noisy_adapter(policy))
    return policy


@pytest.mark.parametrize("settings", [{}, {"ddim_eta": 0.4, "steps": ""}, {"lora_rank": 0}, {"activation_checkpointing": True}])
def test_invariant_01_the_ratio_of_a_decoder_is_exactly_one(decoder_mdm_folder, settings):
    sampler, learner = (make_policy(decoder_mdm_folder, **settings) for _ in range(2))
    adapter = noisy_adapter(sampler)
    for policy in (sampler, learner):
        policy.load_adapter(adapter)
    group = sampler.sample(Request(conditioning(5, 7), 4, (0, 1), 5))
    for k in range(5):
        score = learner.score_step(group, k, reference=True)
        assert torch.equal(score.log_ratio, torch.zeros(4))
        np.testing.assert_array_equal(score.log_prob.detach(), group.log_probs[:, k])
        assert (score.log_prob_ref != score.log_prob).all()


def test_every_lora_tensor_of_a_decoder_is_live(policy):
    request = Request(conditioning(5, FRAMES), 2, (0, 1), 3)
    before = policy.sample(request).outputs
    state = policy.adapter_state()
    assert len(state) == 2 * 10 * 2  # layers, linears of each (self-attention, cross-attention, feed-forward), A and B
    for name, value in state.items():
        policy.load_adapter(Adapter.pack(2, {**state, name: 1.5 * value}))
        assert np.abs(policy.sample(request).outputs - before).max() > 1e-5, name


def test_a_motion_of_a_mixed_batch_is_the_one_made_alone(folder):
    policy = make_policy(folder)
    counts = TOKENS if policy.shape.decoder else (1, 1, 1)
    conditionings = [conditioning(n, length, i) for i, (n, length) in enumerate(zip(counts, LENGTHS))]
    together = policy.generate(conditionings, [(i,) for i in range(3)])
    assert together.shape == (3, FRAMES, 263)
    for i, length in enumerate(LENGTHS):
        (alone,) = policy.generate([conditionings[i]], [(i,)])
        assert alone.shape == (FRAMES, 263)  # the official generation denoises the whole window, whatever the lengths
        np.testing.assert_allclose(together[i, :length], alone[:length], atol=2e-5)
    moved = policy.generate(conditionings, [(3,), (1,), (2,)])
    assert np.abs(moved[0] - together[0]).max() > 0.1 and np.abs(moved[1] - together[1])[:7].max() < 1e-6


def test_every_token_counts(policy):
    one = conditioning(3, 9)
    text = one.arrays["text"].copy()
    text[1] += 1
    other = Conditioning(one.prompt, {"text": text})
    first, second = policy.generate([one, other], [(0,), (0,)])
    assert np.abs(first - second).max() > 0.01


def test_ddim_without_noise_is_a_function_of_its_start(decoder_mdm_folder):
    policy = make_policy(decoder_mdm_folder, ddim_eta=0.0)
    group = policy.sample(Request(conditioning(2, 9), 3, (0, 1), 0))
    assert np.abs(group.outputs - group.outputs[0]).max() < 1e-5  # the group shares its initial noise
    with pytest.raises(InputError, match="ddim_eta: found 0"):
        policy.sample(Request(conditioning(2, 9), 3, (0, 1), 1))


@pytest.fixture
def completing(tmp_path):
    return make_policy(write_mdm(tmp_path, arch="trans_dec", mask_frames=True, context_len=4, pred_len=8))


def test_a_prefix_is_continued_and_trained_on_exactly(completing):
    prefixes = np.random.default_rng(0).standard_normal((2, 4, 263), dtype=np.float32)
    first, second = (
        completing.sample(Request(conditioning(2, 8, prefix=prefix), 2, (0, 1), 2)) for prefix in prefixes
    )
    assert first.outputs.shape == (2, 8, 263) and np.abs(first.outputs - second.outputs).max() > 0.01
    assert torch.equal(completing.score_step(first, 0, False).log_ratio, torch.zeros(2))
    swapped = dataclasses.replace(first, conditioning=second.conditioning)
    assert completing.score_step(swapped, 0, False).log_ratio.abs().max() > 1e-6


def test_a_prefix_of_the_wrong_length_is_refused(completing, policy):
    with pytest.raises(InputError, match="0 frames of prefix, the model continues 4"):
        completing.generate([conditioning(2, 8)], [(0,)])
    with pytest.raises(InputError, match="4 frames of prefix, the model continues 0"):
        policy.generate([conditioning(2, 8, prefix=np.zeros((4, 263), np.float32))], [(0,)])
