"""The losses: their values, where their gradient is and where it must not be."""

import dataclasses

import numpy as np
import pytest
import torch

from learner.config.settings import Objective
from learner.objective import DUAL_CLIP, ORIGINAL_CLAMP, action_loss, clipped_surrogate, trajectory_loss, was_clipped
from tests.tiny import FRAMES, make_policy, noisy_adapter, sample_group

FORMS = [(ratio, weight) for ratio in ("ratio_norm", "raw") for weight in ("x0", "none")]
ADVANTAGE = torch.tensor([1.5, -0.5, -1.2, 0.2])


@pytest.fixture
def policy(mdm_folder):
    policy = make_policy(mdm_folder)
    policy.load_adapter(noisy_adapter(policy))
    return policy


@pytest.fixture
def group(policy):
    return sample_group(policy)


def moved(policy, scale=0.01):
    """The policy one small change of weights after it sampled."""
    policy.load_adapter(noisy_adapter(policy, version=2, seed=9, scale=scale))
    return policy


def gradients(
    policy, group, advantage, options, objective=action_loss, reference_steps=frozenset()
) -> list[torch.Tensor]:
    for parameter in policy.parameters():
        parameter.grad = None
    for part in objective(policy, group, advantage, options, set(reference_steps)):
        part.loss.backward()
    return [parameter.grad.clone() for parameter in policy.parameters()]


def behind(policy, group, gain: float):
    """The group as a policy would have sampled it whose log-ratio to the present one is `gain` at every step."""
    log_probs, means = np.empty_like(group.log_probs), np.empty_like(group.actions["mean"])
    x_prev = np.empty_like(means)
    for k in range(group.log_probs.shape[1]):
        t = group.actions["t"][:, k]
        c1, sigma = (values[t][:, None, None] for values in (policy.schedule.c1, policy.schedule.sigma))
        mean = group.actions["mean"][:, k]
        noise = (group.actions["x_prev"][:, k] - mean) / sigma
        noise = noise / np.sqrt(
            (noise**2).mean(axis=(1, 2), keepdims=True)
        )  # mean(eps^2) = 1: mean(eps gain eps) = gain
        means[:, k] = mean - c1 * gain * noise
        x_prev[:, k] = means[:, k] + sigma * noise
    replaced = dataclasses.replace(group, actions={**group.actions, "mean": means, "x_prev": x_prev})
    for k in range(group.log_probs.shape[1]):
        log_probs[:, k] = policy.score_step(replaced, k, False).log_prob.detach().numpy() - gain
    return dataclasses.replace(replaced, log_probs=log_probs)


RATIO_TABLE = [
    # ratio, advantage, loss, d loss / d ratio, clipped; at epsilon 0.2
    (1.0, 2.0, -2.0, -2.0, False),
    (1.1, 2.0, -2.2, -2.0, False),
    (1.5, 2.0, -2.4, 0.0, True),
    (0.5, 2.0, -1.0, -2.0, False),
    (1.0, -2.0, 2.0, 2.0, False),
    (1.5, -2.0, 3.0, 2.0, False),
    (0.5, -2.0, 1.6, 0.0, True),
    (2.9, -2.0, 5.8, 2.0, False),
    (50.0, -2.0, 6.0, 0.0, False),
    (1.5, 0.0, 0.0, 0.0, False),
    (0.5, 0.0, 0.0, 0.0, False),
]


@pytest.mark.parametrize("ratio, advantage, loss, slope, clipped", RATIO_TABLE)
def test_invariant_15_clip_and_dual_clip(ratio, advantage, loss, slope, clipped):
    ratio, advantage = torch.tensor([ratio], requires_grad=True), torch.tensor([advantage])
    found = clipped_surrogate(ratio, advantage, 0.2)
    found.sum().backward()
    assert found.item() == pytest.approx(loss) and ratio.grad.item() == pytest.approx(slope)
    assert was_clipped(ratio, advantage, 0.2).item() is clipped


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    "gain, advantage, learns", [(0.5, 1.0, False), (0.5, -1.0, True), (-0.5, -1.0, False), (-0.5, 1.0, True)]
)
def test_invariant_15_beyond_the_clip_in_the_favourable_direction_there_is_no_gradient(
    policy, group, form, gain, advantage, learns
):
    options = Objective(ratio=form[0], step_weight=form[1], clip_epsilon=0.2)
    old = behind(policy, group, gain)
    (part, *_) = action_loss(policy, old, torch.full((4,), advantage), options, set())
    np.testing.assert_allclose(part.ratio, np.exp(gain), rtol=2e-3)
    assert part.clipped.all() == (not learns)
    found = gradients(policy, old, torch.full((4,), advantage), options)
    assert all(gradient.any() == learns for gradient in found)


def test_invariant_15_a_negative_advantage_with_a_huge_ratio_stays_bounded(policy, group):
    options = Objective(clip_epsilon=0.2)
    old = behind(policy, group, 9.0)
    parts = list(action_loss(policy, old, torch.full((4,), -1.0), options, set()))
    assert parts[0].ratio.min() > 1000
    assert sum(part.loss.item() for part in parts) == pytest.approx(DUAL_CLIP, rel=1e-5)
    assert not any(gradient.any() for gradient in gradients(policy, old, torch.full((4,), -1.0), options))


@pytest.mark.parametrize("sign", [1.0, -1.0])
@pytest.mark.parametrize("form", FORMS)
def test_invariant_14_a_small_step_moves_the_log_prob_of_a_sample_with_its_advantage(policy, form, sign):
    group = sample_group(policy, 4, 1)
    advantage = torch.tensor([0.0, sign, 0.0, 0.0])
    before = policy.score_step(group, 0, False).log_prob[1].item()
    found = gradients(policy, group, advantage, Objective(ratio=form[0], step_weight=form[1]))
    norm = torch.cat([gradient.ravel() for gradient in found]).norm()
    with torch.no_grad():
        for parameter, gradient in zip(policy.parameters(), found):
            parameter -= 1e-2 * gradient / norm
    score = policy.score_step(group, 0, False)
    assert sign * (score.log_prob[1].item() - before) > 1e-5 and sign * score.log_ratio[1].item() > 1e-5


@pytest.mark.parametrize("objective", [action_loss, trajectory_loss])
def test_zero_advantages_give_no_gradient(policy, group, objective):
    found = gradients(policy, group, torch.zeros(4), Objective(), objective)
    assert not any(gradient.any() for gradient in found)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kl_penalty", [0.0, 0.3])
def test_action_loss_has_the_documented_value(policy, group, form, kl_penalty):
    options = Objective(ratio=form[0], step_weight=form[1], kl_penalty=kl_penalty, clip_epsilon=0.05)
    policy = moved(policy)
    steps = group.log_probs.shape[1]
    parts = list(action_loss(policy, group, ADVANTAGE, options, set(range(steps))))
    assert len(parts) == steps and [score.columns for part in parts for score in part.scores] == list(range(steps))
    for k, part in enumerate(parts):
        score = policy.score_step(group, k, reference=True)
        sigma_over_c1 = score.weight.numpy()
        if form[0] == "ratio_norm":
            log_ratio, weight = score.log_ratio, {"x0": 1.0, "none": 1 / sigma_over_c1}[form[1]]
        else:
            log_ratio, weight = (
                score.log_prob - torch.tensor(group.log_probs[:, k]),
                {"x0": sigma_over_c1, "none": 1.0}[form[1]],
            )
        ratio = np.exp(log_ratio.detach().numpy())
        a = ADVANTAGE.numpy()
        surrogate = weight * np.minimum(ratio * a, np.clip(ratio, 0.95, 1.05) * a)
        penalty = kl_penalty * score.kl.mean().item() / steps
        assert part.policy_loss.item() == pytest.approx(-surrogate.mean() / steps, rel=1e-4, abs=1e-6)
        assert part.kl_loss.item() == pytest.approx(penalty, rel=1e-5)
        assert part.loss.item() == pytest.approx(part.policy_loss.item() + penalty, rel=1e-5)
        np.testing.assert_allclose(part.ratio, ratio, rtol=1e-6)
        assert np.abs(ratio - 1).min() > 1e-6


def test_both_ratio_forms_have_the_same_gradient_direction_on_policy(policy, group):
    """d log r = (sigma/c1) d log p while nothing has changed, so the forms differ by the mean of sigma/c1 alone."""
    schedule = policy.schedule
    mean_weight = (schedule.sigma[2:-1] / schedule.c1[2:-1]).mean()
    for step_weight in ("x0", "none"):
        norm, raw = (
            gradients(policy, group, ADVANTAGE, Objective(ratio=ratio, step_weight=step_weight))
            for ratio in ("ratio_norm", "raw")
        )
        for one, two in zip(norm, raw):
            torch.testing.assert_close(one, mean_weight * two, rtol=1e-3, atol=1e-6)


def test_the_x0_weighting_is_a_uniform_gradient_on_the_prediction(policy):
    """d loss / d x0 has one size at every step, but for the guidance and the noise it multiplies."""
    group = sample_group(policy, 8, 7)
    sizes = {}
    for step_weight in ("x0", "none"):
        options = Objective(step_weight=step_weight)
        captured = []

        def capture(module, args, output):
            captured.append(output)

        handle = policy.network.register_forward_hook(capture)
        for part in action_loss(policy, group, torch.ones(8), options, set()):
            (gradient,) = torch.autograd.grad(part.loss, captured[-1])  # the unconditional branch came with the group
            sizes.setdefault(step_weight, []).append(gradient.norm().item())
        handle.remove()
    assert max(sizes["x0"]) < 1.05 * min(sizes["x0"])
    assert max(sizes["none"]) > 5 * min(sizes["none"])


@pytest.mark.parametrize("form", FORMS)
def test_the_gradient_is_the_same_with_and_without_the_reference(policy, group, form):
    options = Objective(ratio=form[0], step_weight=form[1])
    policy = moved(policy)
    without = gradients(policy, group, ADVANTAGE, options)
    for watched in ({0}, {0, 1, 2}):
        found = gradients(policy, group, ADVANTAGE, options, reference_steps=watched)
        assert all(torch.equal(one, two) for one, two in zip(without, found))


def test_the_kl_penalty_pulls_towards_the_reference(policy, group):
    options = Objective(kl_penalty=1.0)
    before = sum(policy.score_step(group, k, True).kl.mean().item() for k in range(3))
    found = gradients(policy, group, torch.zeros(4), options, reference_steps={0, 1, 2})
    norm = torch.cat([gradient.ravel() for gradient in found]).norm()
    with torch.no_grad():
        for parameter, gradient in zip(policy.parameters(), found):
            parameter -= 1e-2 * gradient / norm
    assert sum(policy.score_step(group, k, True).kl.mean().item() for k in range(3)) < before - 1e-4


@pytest.mark.parametrize("kl_penalty", [0.0, 0.1])
def test_the_trajectory_loss_has_the_documented_value(mdm_folder, kl_penalty):
    policy = make_policy(mdm_folder)
    group = sample_group(policy, length=7)
    options = Objective(kind="trajectory", clip_epsilon=0.2, kl_penalty=kl_penalty)
    policy.load_adapter(noisy_adapter(policy, scale=0.0015))
    (part,) = trajectory_loss(policy, group, ADVANTAGE, options, set())
    scores = [policy.score_step(group, k, True) for k in range(3)]
    summed = 7 * 263 * sum((score.log_prob - score.log_prob_ref).detach().double() for score in scores).numpy()
    assert np.abs(summed).max() < ORIGINAL_CLAMP and np.abs(summed).min() > 1e-3
    ratio, a = np.exp(summed), ADVANTAGE.numpy()
    surrogate = np.minimum(ratio * a, np.clip(ratio, 0.8, 1.2) * a)
    assert part.policy_loss.item() == pytest.approx(-surrogate.mean(), rel=1e-2)
    assert part.kl_loss.item() == pytest.approx(kl_penalty * summed.mean(), rel=2e-2, abs=1e-4)
    assert part.loss.item() == pytest.approx(part.policy_loss.item() + part.kl_loss.item(), rel=1e-5)
    np.testing.assert_allclose(part.ratio, ratio, rtol=2e-2)


def test_the_trajectory_ratio_leaves_its_clamp_at_once(policy, group):
    """What the default objective avoids: summed over all dims, any real change is e^+-10 and has no gradient."""
    options = Objective(kind="trajectory", clip_epsilon=0.2)
    (part,) = trajectory_loss(policy, group, ADVANTAGE, options, set())
    extremes = np.exp([-ORIGINAL_CLAMP, ORIGINAL_CLAMP])
    assert np.isclose(part.ratio[:, None], extremes, rtol=1e-3).any(axis=1).all()
    assert not any(gradient.any() for gradient in gradients(policy, group, ADVANTAGE, options, trajectory_loss))


def test_the_trajectory_ratio_is_one_before_anything_was_learned(mdm_folder):
    policy = make_policy(mdm_folder)
    (part,) = trajectory_loss(
        policy, sample_group(policy, length=FRAMES), ADVANTAGE, Objective(kind="trajectory"), set()
    )
    assert torch.equal(part.ratio, torch.ones(4)) and part.loss.item() == pytest.approx(
        -ADVANTAGE.mean().item(), abs=1e-6
    )


def test_the_upper_bound_may_lie_further_out_than_the_lower():
    ratio, gains, losses = torch.tensor([1.25, 1.4, 0.7]), torch.ones(3), -torch.ones(3)
    assert clipped_surrogate(ratio, gains, 0.2, 0.28).tolist() == pytest.approx([-1.25, -1.28, -0.7])
    assert clipped_surrogate(ratio, losses, 0.2, 0.28).tolist() == pytest.approx([1.25, 1.4, 0.8])
    assert clipped_surrogate(ratio, gains, 0.2).tolist() == pytest.approx([-1.2, -1.2, -0.7])
    assert was_clipped(ratio, gains, 0.2, 0.28).tolist() == [False, True, False]
