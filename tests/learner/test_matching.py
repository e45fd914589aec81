"""Forward objectives on motion: what they are given, their losses, and that nothing but the learner's own weights is trained on."""

import dataclasses

import numpy as np
import pytest
import torch

from learner.config.settings import Objective, Optimizer
from learner.gradient import SyncError
from learner.objective import action_loss
from learner.tally import ScoredGroup
from rollout.motion.matching import MatchingPolicy
from rollout.motion.schedule import Schedule
from tests.learner.bench import Run
from tests.tiny import make_policy, noisy_adapter, sample_group

QUIET = {"kind": MatchingPolicy, "ddim_eta": 0.0, "steps": "4", "shared_initial_noise": False}
ADVANTAGE = torch.tensor([1.5, -0.5, -1.2, 0.2])
LENGTH = 9  # of 12 frames: the model was trained on its padding, the loss must not see it
ABAR = Schedule.create("cosine", 50).alphas_cumprod


@pytest.fixture
def policy(mdm_folder):
    policy = make_policy(mdm_folder, **QUIET)
    policy.load_adapter(noisy_adapter(policy))
    return policy


@pytest.fixture
def group(policy):
    return sample_group(policy, length=LENGTH)


def moved(policy, scale=0.03):
    """The policy one small change of weights after it sampled."""
    policy.load_adapter(noisy_adapter(policy, version=2, seed=9, scale=scale))
    return policy


def gradients(policy, parts) -> list[torch.Tensor]:
    for parameter in policy.parameters():
        parameter.grad = None
    for part in parts:
        part.backward()
    return [parameter.grad.clone() for parameter in policy.parameters()]


def losses(policy, group, options, advantage=ADVANTAGE):
    reference = set(range(group.log_probs.shape[1])) if options.kl_penalty else set()
    return [part.loss for part in action_loss(policy, group, advantage, options, reference)]


def predicted(policy, group, k):
    """The conditional prediction at level k [G,T,F], and the clean motions, over valid frames."""
    x_t, x0 = torch.tensor(group.actions["x_t"][:, k]), torch.tensor(group.actions["x0"])
    text = torch.tensor(group.conditioning.arrays["text"]).expand(len(group), -1, -1)
    mask = torch.ones(len(group), x_t.shape[1], dtype=torch.bool), torch.ones(text.shape[:2], dtype=torch.bool)
    return policy.network(x_t, torch.tensor(group.actions["t"][:, k]), text, *mask, None)[:, :LENGTH], x0[:, :LENGTH]


def by_hand(policy, group, value, rows=slice(None)):
    """Mean over levels and samples of value(prediction, x0, k), elementwise; one scalar a level."""
    levels = group.log_probs.shape[1]
    return [value(*(each[rows] for each in predicted(policy, group, k)), k).mean(dim=(1, 2)) for k in range(levels)], levels


def assert_same_gradient(found, expected):
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)
    assert any(each.abs().max() > 1e-4 for each in expected)


def noise_of(group):
    """[G,K,T,F] that its clean motions were mixed with."""
    signal, spread = (np.sqrt(values[group.actions["t"]])[:, :, None, None] for values in (ABAR, 1 - ABAR))
    return (group.actions["x_t"] - signal * group.actions["x0"][:, None]) / spread


def test_a_group_is_noised_to_levels_that_its_seed_gives_and_all_its_samples_share(policy, group):
    t_GK, x0, noise = group.actions["t"], group.actions["x0"], noise_of(group)
    assert (t_GK == t_GK[0]).all() and (group.columns["timesteps"] == t_GK).all()
    np.testing.assert_allclose(noise, np.broadcast_to(noise[0], noise.shape), atol=2e-3)
    assert np.abs(noise[0, 0] - noise[0, 1]).max() > 1 and noise.std() == pytest.approx(1, abs=0.05)
    assert np.abs(x0 - x0[0]).max() > 0.1  # without noise in the steps, but each from its own start
    np.testing.assert_allclose(x0 * policy.std + policy.mean, group.outputs, rtol=1e-6)
    assert sample_group(policy, length=LENGTH).digest == group.digest
    assert np.abs(noise_of(sample_group(policy, length=LENGTH, seed=(0, 0, 0, 1))) - noise).max() > 1
    wider = sample_group(policy, size=6, length=LENGTH)
    assert (wider.actions["t"][0] == t_GK[0]).all()  # of the group, not of how many are in it


def test_levels_are_stratified_over_all_that_the_model_knows(policy, group):
    drawn = np.stack([sample_group(policy, 1, 6, seed=(seed,), length=2).actions["t"][0] for seed in range(60)])
    for stratum, column in zip(np.array_split(np.arange(50), 6), drawn.T):
        assert column.min() >= stratum[0] and column.max() <= stratum[-1] and len(set(column)) > 4
    assert {0, 49} <= set(drawn.ravel())


def test_nothing_is_noised_when_nothing_is_trained(policy):
    assert sample_group(policy, 3, 0).log_probs.shape == (3, 0)


@pytest.mark.parametrize("kind, precision", [("awm", "fp32"), ("nft", "fp32"), ("nft", "bf16")])
def test_invariant_01_the_ratio_is_exactly_one_before_every_first_update(mdm_folder, kind, precision):
    run = Run(mdm_folder, Objective(kind=kind), precision=precision, **QUIET)
    for iteration in range(2):
        metrics = run.learner.update(run.rollout()).metrics
        assert metrics["log_prob_gap"] == metrics["max_abs_log_ratio"] == metrics["clip_fraction"] == 0 and metrics["mean_ratio"] == 1
        assert metrics["mean_log_prob_current"] == metrics["mean_log_prob_old"] != metrics["mean_log_prob_ref"]
        assert metrics["grad_norm"] > 0 and metrics["kl"] > 0 and metrics["adapter_version"] == iteration
        assert metrics["prediction_norm"] > 0 and all(np.isfinite(value) for value in metrics.values())


@pytest.mark.parametrize("kind", ["awm", "nft"])
def test_after_a_step_and_on_older_groups_the_ratio_is_to_the_policy_that_sampled(mdm_folder, kind):
    run = Run(mdm_folder, Objective(kind=kind, updates_per_rollout=2, kl_penalty=0.01), max_staleness=1, **QUIET)
    older = run.rollout()
    twice = run.learner.update(older).metrics
    assert twice["log_prob_gap"] == 0 and twice["max_abs_log_ratio"] > 1e-4 and twice["kl_loss"] > 0
    behind = run.learner.update(older).metrics
    assert behind["staleness"] == 1 and behind["log_prob_gap"] == 0 and behind["max_abs_log_ratio"] > 1e-4


def test_weights_that_did_not_sample_are_found(mdm_folder):
    run = Run(mdm_folder, Objective(kind="awm"), **QUIET)
    run.sampler.load_adapter(noisy_adapter(run.sampler, version=0, seed=5, scale=0.01))
    made = sample_group(run.sampler)
    claimed = dataclasses.replace(made, adapter_version=0, adapter_sha256=run.learner.adapter.sha256)
    with pytest.raises(SyncError, match="the recomputed log-probs differ from the sampled ones"):
        run.learner.update([ScoredGroup(claimed, np.arange(4, dtype=np.float32))])


def test_on_policy_the_gradient_of_awm_is_that_of_the_error_weighted_by_advantages(policy, group):
    found = gradients(policy, losses(policy, group, Objective(kind="awm")))
    errors, levels = by_hand(policy, group, lambda x0_theta, x0, k: (x0_theta - x0) ** 2)
    assert_same_gradient(found, gradients(policy, [(ADVANTAGE * error).mean() / levels for error in errors]))


@pytest.mark.parametrize("kind", ["awm", "nft"])
def test_the_penalty_pulls_the_prediction_to_that_of_the_base_model(policy, group, kind):
    options = Objective(kind=kind, kl_penalty=0.3)
    found = gradients(policy, losses(policy, group, options, torch.zeros(4)))
    with torch.no_grad(), policy.reference():
        base = [predicted(policy, group, k)[0] for k in range(3)]
    distance, levels = by_hand(policy, group, lambda x0_theta, x0, k: (x0_theta - base[k]) ** 2)
    assert_same_gradient(found, gradients(policy, [0.3 * each.mean() / levels for each in distance]))
    (part, *_) = action_loss(policy, group, ADVANTAGE, options, {0, 1, 2})
    norms = [each.detach().square().mean(dim=(1, 2)).sqrt() for each in (predicted(policy, group, 0)[0], base[0])]
    torch.testing.assert_close(part.scores[0].prediction_norm, norms[0] / norms[1])


@pytest.mark.parametrize("beta", [1.0, 0.3])
def test_nft_is_the_two_errors_of_the_paper(policy, group, beta):
    policy = moved(policy)
    options = Objective(kind="nft", nft_beta=beta)
    r = (ADVANTAGE / 5).clip(-1, 1)[:, None, None] / 2 + 0.5

    def of_the_paper(x0_theta, x0, k):
        old = torch.tensor(group.actions["x0_old"][:, k, :LENGTH])
        positive, negative = (1 - beta) * old + beta * x0_theta, (1 + beta) * old - beta * x0_theta
        return r * (positive - x0) ** 2 + (1 - r) * (negative - x0) ** 2

    expected, levels = by_hand(policy, group, of_the_paper)
    expected = [each.mean() / levels for each in expected]
    for found, value in zip(losses(policy, group, options), expected, strict=True):
        torch.testing.assert_close(found, value, rtol=1e-4, atol=1e-6)
    assert_same_gradient(gradients(policy, losses(policy, group, options)), gradients(policy, expected))


@pytest.mark.parametrize("kind", ["awm", "nft"])
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_invariant_14_a_small_step_lowers_the_error_of_a_good_sample_and_raises_that_of_a_bad_one(policy, kind, sign):
    group = sample_group(policy, 4, 1, length=LENGTH)
    before = policy.score_step(group, 0, False).log_prob[1].item()
    found = gradients(policy, losses(policy, group, Objective(kind=kind), torch.tensor([0.0, sign, 0.0, 0.0])))
    norm = torch.cat([gradient.ravel() for gradient in found]).norm()
    with torch.no_grad():
        for parameter, gradient in zip(policy.parameters(), found):
            parameter -= 1e-2 * gradient / norm
    assert sign * (policy.score_step(group, 0, False).log_prob[1].item() - before) > 1e-5


@pytest.mark.parametrize("kind", ["awm", "nft"])
def test_invariant_05_padded_frames_count_nothing(policy, group, kind):
    policy, options = moved(policy), Objective(kind=kind, kl_penalty=0.1)
    changed = {name: group.actions[name].copy() for name in ("x0", "x0_old")}
    for values in changed.values():
        values[..., LENGTH:, :] += 7
    other = dataclasses.replace(group, actions=group.actions | changed)
    for one, two in zip(losses(policy, group, options), losses(policy, other, options), strict=True):
        assert one == two


@pytest.mark.parametrize("kind", ["awm", "nft"])
def test_a_broken_sample_fails_alone(policy, group, kind):
    broken = {name: value.copy() for name, value in group.actions.items()}
    outputs, log_probs = group.outputs.copy(), group.log_probs.copy()
    for values in (outputs, log_probs, *(broken[name] for name in ("x0", "x_t", "x0_old"))):
        values[2] = np.nan
    hurt = dataclasses.replace(group, actions=broken, outputs=outputs, log_probs=log_probs).without_broken()
    kept, options = [0, 1, 3], Objective(kind=kind, advantage_clip=1.5)
    found = gradients(policy, losses(policy, hurt, options))
    errors, levels = by_hand(policy, hurt, lambda x0_theta, x0, k: (x0_theta - x0) ** 2, kept)
    scale = 1.0 if kind == "awm" else 1 / 1.5
    assert_same_gradient(found, gradients(policy, [scale * (ADVANTAGE[kept] * error).mean() / levels for error in errors]))


@pytest.mark.parametrize("objective", [
    Objective(kind="awm", kl_penalty=1e-3), Objective(kind="nft", updates_per_rollout=2, kl_penalty=0.1, anchor="average"),
])  # fmt: skip
def test_invariant_18_the_same_groups_give_the_same_adapter(mdm_folder, objective):
    digests = set()
    for seed in (0, 1):
        torch.manual_seed(seed)  # the global generator must not matter
        run = Run(mdm_folder, objective, **QUIET)
        for _ in range(2):
            run.learner.update(run.rollout())
        digests.add(run.learner.adapter.sha256)
    assert len(digests) == 1


def test_awm_learns_a_reward_it_can_reach(mdm_folder):
    """The mean of the first 4 features, of motions that training never saw; a chain of two steps will do."""
    run = Run(mdm_folder, Objective(kind="awm"), Optimizer(learning_rate=3e-3), noise=0, **QUIET | {"steps": "2"})

    def rewards(group):
        return group.outputs[..., :4].mean(axis=(1, 2))

    def measured():
        run.sampler.load_adapter(run.learner.adapter)
        return rewards(sample_group(run.sampler, 64, 0, seed=(9, 9, 9, 0))).mean()

    before = measured()
    for _ in range(15):
        run.learner.update([ScoredGroup(entry.group, rewards(entry.group)) for entry in run.rollout(size=16, steps=4)])
    assert measured() - before > 0.1


ANCHORED = Objective(kind="awm", kl_penalty=0.1, anchor="average")


def test_the_anchor_is_the_average_of_the_adapter_and_pulls_as_the_base_model_does(policy, group):
    anchor = noisy_adapter(policy, version=3, seed=4, scale=0.05)
    policy.load_adapter(anchor)
    with torch.no_grad():
        aimed = [predicted(policy, group, k)[0].clone() for k in range(group.log_probs.shape[1])]
    policy, policy.anchor = moved(policy), anchor
    score = policy.score_step(group, 1, False)
    expected, _ = by_hand(policy, group, lambda x0_theta, x0, k: (x0_theta - aimed[k]) ** 2)
    torch.testing.assert_close(score.anchor_kl, expected[1], rtol=1e-4, atol=1e-7)
    assert_same_gradient(gradients(policy, [score.anchor_kl.sum()]), gradients(policy, [expected[1].sum()]))
    policy.anchor = noisy_adapter(policy, version=4, seed=5, scale=0.05)  # and nothing is kept of the one before
    assert (policy.score_step(group, 1, False).anchor_kl - score.anchor_kl).abs().min() > 1e-6


def test_the_anchor_goes_on_from_a_state_bit_for_bit(mdm_folder):
    run, other = (Run(mdm_folder, ANCHORED, noise=noise, **QUIET) for noise in (0.01, 0.02))
    for _ in range(2):
        update = run.learner.update(run.rollout())
    assert update.metrics["kl_loss"] > 0 and update.metrics["kl"] > 0
    other.learner.load(run.learner.state())
    held = run.learner.state().anchor().tensors()
    one, two = (each.learner.update(each.rollout()) for each in (run, other))
    assert one.adapter.sha256 == two.adapter.sha256 and one.metrics == two.metrics
    assert run.learner.state().anchor().sha256 == other.learner.state().anchor().sha256 != one.adapter.sha256
    newest = one.adapter.tensors()
    for name, value in run.learner.state().anchor().tensors().items():
        np.testing.assert_array_equal(value, np.float32(0.3) * held[name] + np.float32(0.7) * newest[name])
