"""Sampling and recompute of the motion policy: the invariants that make the ratio mean something."""

import dataclasses
import math

import numpy as np
import pytest
import torch

from rollout.motion.checkpoint import load_checkpoint
from rollout.policy import Group
from tests.tiny import FRAMES, make_policy, noisy_adapter, sample_group


@pytest.fixture
def policy(mdm_folder):
    """A policy under a noisy adapter, on a model that sees its padding."""
    policy = make_policy(mdm_folder)
    policy.load_adapter(noisy_adapter(policy))
    return policy


def scores(policy, group: Group, reference: bool = False) -> list:
    return [policy.score_step(group, k, reference) for k in range(group.log_probs.shape[1])]


def with_actions(group: Group, **arrays: np.ndarray) -> Group:
    return dataclasses.replace(group, actions={**group.actions, **arrays})


@pytest.mark.parametrize(
    "size, settings",
    [
        (4, {}),
        (8, {}),
        (4, {"steps": "", "frames": 8}),
        (8, {"steps": "ddim10", "guidance": 1.0}),
        (4, {"steps": "5", "guidance": 7.5, "activation_checkpointing": True}),
        (4, {"lora_rank": 0, "shared_initial_noise": False}),
    ],
)
@pytest.mark.parametrize("masked", [False, True])
def test_invariant_01_and_02_ratio_is_exactly_one_and_the_recompute_exact(
    mdm_folder, masked_mdm_folder, masked, size, settings
):
    sampler, learner = (make_policy(masked_mdm_folder if masked else mdm_folder, **settings) for _ in range(2))
    adapter = noisy_adapter(sampler)
    sampler.load_adapter(adapter)
    learner.load_adapter(adapter)
    steps = min(3, len(sampler.schedule.trainable_steps))
    group = sample_group(sampler, size, steps, length=7)
    assert group.log_probs.shape == (size, steps)
    for k, score in enumerate(scores(learner, group, reference=True)):
        assert score.log_prob.requires_grad
        assert torch.equal(score.log_ratio.exp(), torch.ones(size)) and torch.equal(score.log_ratio, torch.zeros(size))
        np.testing.assert_array_equal(score.log_prob.detach(), group.log_probs[:, k])
        assert (score.log_prob_ref != score.log_prob).all()  # the adapter does something


def test_invariant_02_log_prob_is_that_of_the_guided_posterior(mdm_folder):
    policy, base = make_policy(mdm_folder), load_checkpoint(mdm_folder)
    policy.load_adapter(noisy_adapter(policy, scale=0))
    group = sample_group(policy, trained_steps=5, length=7)
    text = torch.tensor(group.conditioning.arrays["text"]).expand(len(group), -1, -1)
    schedule = policy.schedule
    for k in range(5):
        t, x_t, x_prev = (torch.tensor(group.actions[name][:, k]) for name in ("t", "x_t", "x_prev"))
        c1, c2, sigma = (
            torch.tensor(values)[t][:, None, None] for values in (schedule.c1, schedule.c2, schedule.sigma)
        )
        with torch.no_grad():
            model_t = torch.tensor(schedule.timestep_map)[t]
            conditional, unconditional = (
                base.denoiser(x_t, model_t, e).double() for e in (text, torch.zeros_like(text))
            )
        mean = c1 * (unconditional + 2.5 * (conditional - unconditional)) + c2 * x_t.double()
        log_prob = torch.distributions.Normal(mean, sigma).log_prob(x_prev.double())[:, :7].mean(dim=(1, 2))
        np.testing.assert_allclose(group.log_probs[:, k], log_prob, atol=1e-5)
        np.testing.assert_allclose(group.actions["mean"][:, k], mean, atol=1e-5)


def test_invariant_02_log_prob_meets_its_expectation(policy):
    steps = len(policy.schedule.trainable_steps)
    group = sample_group(policy, 8, steps, length=FRAMES)
    expected = -0.5 - np.log(policy.schedule.sigma[1:]) - 0.5 * math.log(2 * math.pi)
    surplus = group.log_probs - expected[group.actions["t"] - 1]
    dims = FRAMES * 263
    # Each is a mean of (1 - eps^2) / 2 over `dims`, whose standard error is (2 dims)^-1/2.
    np.testing.assert_allclose(surplus, 0, atol=5 / math.sqrt(2 * dims))
    assert abs(surplus.mean()) < 4 / math.sqrt(2 * dims * surplus.size)


def test_invariant_04_any_module_in_train_mode_raises(policy):
    group = sample_group(policy)
    modules = [
        name for name, module in policy.network.named_modules() if name.endswith(("dropout", "layers.1.q", "pose_out"))
    ]
    assert len(modules) > 4
    for name in modules:
        module = policy.network.get_submodule(name)
        module.train()
        with pytest.raises(RuntimeError, match="train mode"):
            sample_group(policy)
        with pytest.raises(RuntimeError, match="train mode"):
            policy.score_step(group, 0, reference=False)
        module.eval()
    sample_group(policy)


@pytest.mark.parametrize("lora_rank", [4, 0])
def test_invariant_05_padded_frames_are_invisible(mdm_folder, lora_rank):
    policy = make_policy(mdm_folder, lora_rank=lora_rank)
    policy.load_adapter(noisy_adapter(policy))
    length = 5
    group = sample_group(policy, length=length)
    assert group.outputs.shape[1] == group.actions["x_t"].shape[2] == FRAMES and (group.lengths == length).all()
    spoilt = {name: group.actions[name].copy() for name in ("x_prev", "mean")}
    for array in spoilt.values():
        array[:, :, length:] += 100.0
    moved = noisy_adapter(policy, version=2, seed=5, scale=0.01)
    policy.load_adapter(moved)
    for k in range(3):
        clean, padded = (policy.score_step(g, k, reference=True) for g in (group, with_actions(group, **spoilt)))
        for name in ("log_prob", "log_ratio", "kl", "log_prob_ref"):
            assert torch.equal(getattr(clean, name), getattr(padded, name)), name
        assert clean.log_ratio.abs().min() > 0
    # A change of the last valid frame does show.
    spoilt["x_prev"][:, :, length - 1] += 1.0
    assert (policy.score_step(with_actions(group, **spoilt), 2, True).log_prob - clean.log_prob).abs().min() > 0.01


def test_invariant_07_closed_form_kl_is_the_monte_carlo_kl(policy):
    group = sample_group(policy, 4, 4).without(policy.shortcuts)
    rng = np.random.default_rng(0)
    draws = 64
    for k in range(4):
        for g in range(2):
            # Many draws of x_{t-1} from the current policy at one x_t.
            t, mean = group.actions["t"][g, k], group.actions["mean"][g, k]
            sigma = policy.schedule.sigma[t]
            x_prev = mean + sigma * rng.standard_normal((draws, 1, *mean.shape))
            same = {
                name: np.broadcast_to(group.actions[name][g, k], (draws, 1, *mean.shape)) for name in ("x_t", "mean")
            }
            repeated = with_actions(group, **same, x_prev=x_prev.astype(np.float32), t=np.full((draws, 1), t))
            score = policy.score_step(repeated, 0, reference=True)
            weight = 0.5 * (policy.schedule.c1[t] / sigma) ** 2
            closed = weight * score.kl[0].item()
            lead = (score.log_prob - score.log_prob_ref).detach().double()
            # Per dim the lead is kl + eps dmu / sigma: its standard error over draws and dims is (2 kl / dims)^1/2.
            error = math.sqrt(2 * closed / mean.size / draws)
            assert closed > 8 * error and lead.mean().item() == pytest.approx(closed, abs=5 * error)
            assert (score.kl >= 0).all()


def test_invariant_07_kl_and_its_gradient_vanish_at_a_zero_adapter(mdm_folder):
    policy = make_policy(mdm_folder)
    group = sample_group(policy)
    for score in scores(policy, group, reference=True):
        assert torch.equal(score.kl, torch.zeros(4)) and torch.equal(score.log_prob, score.log_prob_ref)
        assert not any(gradient.any() for gradient in torch.autograd.grad(score.kl.sum(), policy.parameters()))


def test_the_unconditional_prediction_that_travels_saves_a_pass_and_changes_no_bit(policy, monkeypatch):
    group, passes = sample_group(policy), []
    network = type(policy.network).forward
    monkeypatch.setattr(type(policy.network), "forward", lambda *given: passes.append(0) or network(*given))

    def recomputed(group):
        passes.clear()
        found = scores(policy, group)
        gradients = torch.autograd.grad(sum(score.log_ratio.sum() for score in found), policy.parameters())
        return len(passes) / len(found), [score.log_prob.detach() for score in found], gradients

    (with_it, *one), (without, *two) = recomputed(group), recomputed(group.without(policy.shortcuts))
    assert (with_it, without) == (1, 2)
    assert all(torch.equal(a, b) for these, those in zip(one, two) for a, b in zip(these, those))
    policy.load_adapter(noisy_adapter(policy, version=8, seed=8))
    (moved, *_), (again, *_) = recomputed(group), recomputed(group.without(policy.shortcuts))
    assert (moved, again) == (2, 2), "under other weights it is another prediction"


def test_kl_is_absent_unless_asked_for(policy):
    score = policy.score_step(sample_group(policy), 0, reference=False)
    assert score.kl is None and score.log_prob_ref is None


def test_invariant_08_ratio_norm_has_zero_mean_and_one_spread_at_every_step(policy):
    """Under a synthetic change dx0 of the prediction; the raw log-ratio of the same change spreads over decades."""
    steps, size = len(policy.schedule.trainable_steps), 48
    group = sample_group(policy, size, steps).without(policy.shortcuts)
    rng = np.random.default_rng(1)
    shape = group.actions["mean"][:, 0].shape
    noise, change = (rng.standard_normal(shape).astype(np.float32) for _ in range(2))
    expected = (noise * change).mean(axis=(1, 2))
    raw_spread = []
    for k in range(steps):
        t = group.actions["t"][0, k]
        c1, sigma = policy.schedule.c1[t], policy.schedule.sigma[t]
        # The policy predicts x0; the behaviour policy predicted x0 - dx0.
        old_mean = group.actions["mean"][:, k] - c1 * change
        arrays = {"mean": old_mean, "x_prev": old_mean + sigma * noise, "x_t": group.actions["x_t"][:, k]}
        arrays = {name: array.astype(np.float32)[:, None] for name, array in arrays.items()}
        score = policy.score_step(with_actions(group, **arrays, t=np.full((size, 1), t)), 0, reference=False)
        np.testing.assert_allclose(score.log_ratio.detach(), expected, atol=1e-4)
        old_log_prob = -(noise**2).mean(axis=(1, 2)) / 2 - np.log(sigma) - 0.5 * math.log(2 * math.pi)
        raw_spread.append((score.log_prob.detach().numpy() - old_log_prob).std())
    spread = 1 / math.sqrt(change[0].size)
    assert abs(expected.mean()) < 4 * spread / math.sqrt(size) and expected.std() == pytest.approx(spread, rel=0.4)
    assert max(raw_spread) > 10 * min(raw_spread)


def test_ratio_norm_is_the_published_combination_of_log_probs(mdm_folder):
    policy = make_policy(mdm_folder)
    group = sample_group(policy, 4, 7, length=8)
    policy.load_adapter(noisy_adapter(policy))
    for k, score in enumerate(scores(policy, group, reference=True)):
        c1, sigma = (
            torch.tensor(values)[group.actions["t"][:, k]] for values in (policy.schedule.c1, policy.schedule.sigma)
        )
        # Sampled under a zero adapter, the reference is the behaviour policy: mean(d mu^2) = c1^2 kl.
        change = score.log_prob - torch.tensor(group.log_probs[:, k])
        expected = sigma / c1 * (change + c1**2 * score.kl / (2 * sigma**2))
        assert score.log_ratio.abs().min() > 1e-4
        torch.testing.assert_close(score.log_ratio.double(), expected, atol=1e-5, rtol=1e-3)


def test_x0_weight_is_sigma_over_c1_with_mean_one(policy):
    schedule, steps = policy.schedule, len(policy.schedule.trainable_steps)
    group = sample_group(policy, 2, steps)
    found = np.stack([score.weight.numpy() for score in scores(policy, group)], axis=1)
    weights = schedule.sigma[2:-1] / schedule.c1[2:-1]
    np.testing.assert_allclose(found, [weights / weights.mean()] * 2, rtol=1e-6)


@pytest.mark.parametrize("guidance, both", [(1.0, False), (2.5, False), (2.5, True)])
def test_invariant_09_the_unconditional_branch_gets_a_gradient_only_when_asked(mdm_folder, guidance, both):
    policy = make_policy(mdm_folder, guidance=guidance, unconditional_gradient=both)
    policy.load_adapter(noisy_adapter(policy))
    group = sample_group(policy, trained_steps=1)
    found = torch.autograd.grad(policy.score_step(group, 0, False).log_prob.sum(), policy.parameters())
    t, x_t, x_prev = (torch.tensor(group.actions[name][:, 0]) for name in ("t", "x_t", "x_prev"))
    text = torch.tensor(group.conditioning.arrays["text"]).expand(4, -1, -1)
    c1, c2, sigma = (
        torch.tensor(values, dtype=torch.float32)[t][:, None, None]
        for values in (policy.schedule.c1, policy.schedule.c2, policy.schedule.sigma)
    )
    model_t = torch.tensor(policy.schedule.timestep_map)[t]

    def gradient(detach):
        conditional, unconditional = (policy.network(x_t, model_t, e) for e in (text, torch.zeros_like(text)))
        u = unconditional.detach() if detach else unconditional
        mean = c1 * (u + guidance * (conditional - u)) + c2 * x_t
        log_prob = -(((x_prev - mean) / sigma) ** 2 / 2).mean(dim=(1, 2))
        return torch.autograd.grad(log_prob.sum(), policy.parameters(), allow_unused=True)

    for one, two in zip(found, gradient(detach=not both)):
        torch.testing.assert_close(one, two, rtol=1e-4, atol=1e-6)
    if guidance != 1:
        assert any(
            not torch.allclose(one, two, rtol=1e-2, atol=1e-4) for one, two in zip(found, gradient(detach=both))
        )


def test_with_a_gradient_in_both_branches_the_recompute_is_exact_and_nothing_of_it_travels(mdm_folder):
    policy = make_policy(mdm_folder, unconditional_gradient=True)
    policy.load_adapter(noisy_adapter(policy))
    group = sample_group(policy)
    assert policy.shortcuts == () and "unconditional" not in group.actions
    assert all(not score.log_ratio.any() for score in policy.score(group))


def test_invariant_09_guidance_one_is_the_conditional_model(mdm_folder):
    policy, base = make_policy(mdm_folder, guidance=1.0), load_checkpoint(mdm_folder)
    group = sample_group(policy, 2, 7)
    text = torch.tensor(group.conditioning.arrays["text"]).expand(2, -1, -1)
    with torch.no_grad():
        x_t = torch.tensor(group.actions["x_t"][:, 0])
        conditional = base.denoiser(x_t, torch.full((2,), policy.schedule.timestep_map[2]), text)
    mean = policy.schedule.c1[2] * conditional + policy.schedule.c2[2] * x_t
    np.testing.assert_allclose(group.actions["mean"][:, 0], mean, atol=1e-6)
    assert not np.allclose(sample_group(make_policy(mdm_folder), 2, 7).outputs, group.outputs, atol=0.01)
