"""A window of steps that add noise, in a chain that adds none before and after it."""

import numpy as np
import pytest
import torch

from rollout.motion.diffusion_policy import MotionDiffusionPolicy
from tests.tiny import FRAMES, make_policy, noisy_adapter, sample_group

SEEDS = [(0, 0, 0, i) for i in range(40)]


@pytest.fixture(scope="module")
def policy(mdm_folder):
    policy = make_policy(mdm_folder, stochastic_steps=3)
    policy.load_adapter(noisy_adapter(policy))
    return policy


def passes(monkeypatch, policy) -> list[int]:
    """The batch of every pass of the network from now on."""
    batches, network = [], type(policy.network).forward
    monkeypatch.setattr(type(policy.network), "forward", lambda self, x, *rest: batches.append(len(x)) or network(self, x, *rest))
    return batches


def test_every_place_of_the_chain_that_can_be_trained_is_drawn_and_only_steps_there_are_trained(policy):
    windows = [policy._noisy_steps(seed) for seed in SEEDS]
    assert {window.start for window in windows} == {2, 3, 4, 5, 6} and {len(window) for window in windows} == {3}
    assert policy._noisy_steps(SEEDS[0]) == windows[0]
    for seed, window in zip(SEEDS, windows):
        assert np.isin(policy._recorded_steps(seed, 4, 2), window).all()
        assert sorted(policy._recorded_steps(seed, 1, 3)[0]) == list(window)


def test_the_recompute_is_exact(policy):
    group = sample_group(policy, size=4, trained_steps=3)
    for score in policy.score(group):
        assert not score.log_ratio.any() and torch.equal(score.log_prob.detach(), torch.tensor(group.log_probs[:, score.columns]))


@pytest.mark.parametrize("shared", [True, False])
def test_steps_outside_add_no_noise_and_those_before_are_made_once_for_a_shared_start(mdm_folder, monkeypatch, shared):
    policy = make_policy(mdm_folder, stochastic_steps=3, shared_initial_noise=shared)
    seed = next(seed for seed in SEEDS if policy._noisy_steps(seed).start == 4)
    batches = passes(monkeypatch, policy)
    steps = []
    denoise = MotionDiffusionPolicy._denoise
    monkeypatch.setattr(MotionDiffusionPolicy, "_denoise", lambda *given: (steps.append(step) or step for step in denoise(*given)))
    group = sample_group(policy, size=4, trained_steps=3, seed=seed)
    assert batches == ([1] * 6 if shared else [4] * 6) + [4] * 14, "guided, so two passes a step, of which 3 are before the window"
    assert [t for t, *_ in steps] == [*range(9, -1, -1)]
    for t, x, mean, x_prev, _ in steps:
        assert torch.equal(x_prev, mean) == (t not in range(4, 7))
    assert len(np.unique(group.outputs[:, 0, 0])) == 4


def test_deterministic_steps_are_those_of_ddim(mdm_folder):
    """With noise in one step alone, the others of one motion follow from the chain of eta 0: Song et al. 2021, eq. 12."""
    policy = make_policy(mdm_folder, stochastic_steps=1, guidance=1.0)
    noise = policy._group_noise(SEEDS[0], 2, FRAMES)
    conditioning = sample_group(policy, trained_steps=1).conditioning
    batch = policy._batch([conditioning] * 2, FRAMES)
    abar, abar_prev = policy.schedule.alphas_cumprod, policy.schedule.alphas_cumprod_prev
    for t, x, mean, x_prev, _ in policy._denoise(noise, batch, policy._noisy_steps(SEEDS[0])):
        if t in policy._noisy_steps(SEEDS[0]):
            continue
        with torch.no_grad():
            x0 = policy.network(x, policy._model_t[torch.full((2,), t)], batch.text, batch.frame_mask, batch.text_mask, batch.prefix)
        direction = (x - np.sqrt(abar[t]) * x0) / np.sqrt(1 - abar[t])
        torch.testing.assert_close(x_prev, (np.sqrt(abar_prev[t]) * x0 + np.sqrt(1 - abar_prev[t]) * direction).float(), rtol=1e-3, atol=1e-3)


def test_whole_motions_of_an_evaluation_are_sampled_as_ever(policy, mdm_folder):
    every = make_policy(mdm_folder)
    every.load_adapter(noisy_adapter(every))
    conditioning = sample_group(policy).conditioning
    np.testing.assert_array_equal(*(each.generate([conditioning] * 2, SEEDS[:2]) for each in (policy, every)))
