"""The update: only on its own weights, only on what it can recompute, only the adapter; and it teaches."""

import dataclasses

import numpy as np
import pytest
import torch

from learner.learner import Learner, ScoredGroup, SyncError
from learner.settings import Objective, Optimizer
from rollout.motion.checkpoint import load_checkpoint
from rollout.policy import Request, arrays_digest
from rollout.prompts import Prompt
from tests.learner.toy import TARGETS, LinearPolicy, reward
from tests.tiny import TRAINING, make_policy, noisy_adapter, sample_group

ISSUE_METRICS = {
    "loss", "policy_loss", "kl_penalty", "mean_reward", "std_reward", "min_reward", "max_reward", "mean_advantage", "std_advantage",
    "mean_log_prob_current", "mean_log_prob_old", "mean_log_prob_ref", "mean_ratio", "clip_fraction", "zero_std_fraction", "grad_norm",
    "learning_rate", "adapter_version", "staleness", "log_prob_gap",
}  # fmt: skip


class Run:
    """A learner and a sampler of its own, as on a cluster; the learner starts from a noisy adapter."""

    def __init__(self, folder, objective=Objective(), optimizer=Optimizer(learning_rate=1e-3), noise=0.1, **settings):
        self.sampler, self.policy = make_policy(folder, **settings), make_policy(folder, **settings)
        self.policy.load_adapter(noisy_adapter(self.policy, scale=noise))
        self.learner = Learner(self.policy, objective, optimizer)

    def rollout(self, groups=2, size=4, steps=3, length=9) -> list[ScoredGroup]:
        self.sampler.load_adapter(self.learner.adapter)
        iteration = self.learner.adapter.version
        scored = []
        for i in range(groups):
            group = sample_group(self.sampler, size, steps, seed=(0, 0, iteration, i), text=TRAINING[i % 4], length=length)
            scored.append(ScoredGroup(group, group.outputs[:, :length].mean(axis=(1, 2))))
        return scored

    def digest(self) -> str:
        return arrays_digest(self.policy.adapter_state())

    def gradients(self) -> list[torch.Tensor]:
        return [parameter.grad.clone() for parameter in self.policy.parameters()]


@pytest.fixture
def run(mdm_folder):
    return Run(mdm_folder)


def with_rewards(entry: ScoredGroup, rewards) -> ScoredGroup:
    return dataclasses.replace(entry, rewards=np.asarray(rewards, np.float32))


@pytest.mark.parametrize("settings", [{}, {"guidance": 1.0}, {"lora_rank": 0}, {"activation_checkpointing": True, "respacing": "5"}])
def test_invariant_01_the_ratio_is_exactly_one_before_every_first_update(mdm_folder, settings):
    noise = 0.02 if "lora_rank" in settings else 0.1
    run = Run(mdm_folder, noise=noise, **settings)
    digests = {run.digest()}
    for iteration in range(3):
        update = run.learner.update(run.rollout(steps=2))
        assert update.metrics["log_prob_gap"] == 0 and update.metrics["mean_ratio"] == 1 and update.metrics["clip_fraction"] == 0
        assert update.metrics["mean_log_prob_current"] == update.metrics["mean_log_prob_old"] != update.metrics["mean_log_prob_ref"]
        assert update.metrics["adapter_version"] == iteration and update.adapter.version == iteration + 1
        assert update.metrics["grad_norm"] > 0
        digests.add(run.digest())
    assert len(digests) == 4


def test_invariant_11_only_the_adapter_changes_and_the_base_digest_is_constant(mdm_folder, run):
    digest = run.policy.base_digest()
    before = run.policy.adapter_state()
    for _ in range(3):
        run.learner.update(run.rollout())
        assert run.policy.base_digest() == digest
    after = run.policy.adapter_state()
    assert all(not np.array_equal(before[name], after[name]) for name in before)
    base = load_checkpoint(mdm_folder).denoiser.state_dict()
    held = {name.replace("base_model.model.", "").replace(".base_layer", ""): p for name, p in run.policy.denoiser.named_parameters()}
    assert all(torch.equal(held[name], value) for name, value in base.items())


@pytest.mark.parametrize(
    "change", [{"adapter_version": 1}, {"adapter_version": -1}, {"adapter_sha256": "0" * 64}, {"adapter_version": 1, "adapter_sha256": "0" * 64}]
)
def test_a_group_of_other_weights_is_refused_before_anything_changes(run, change):
    first, second = run.rollout()
    before = run.digest()
    stale = dataclasses.replace(second, group=dataclasses.replace(second.group, **change))
    with pytest.raises(SyncError, match="the learner holds version 0"):
        run.learner.update([first, stale])
    assert run.digest() == before and not run.learner.optimizer.state and run.learner.adapter.version == 0
    run.learner.update([first, second])


def test_a_group_of_the_previous_iteration_is_refused(run):
    old = run.rollout()
    run.learner.update(old)
    before = run.digest()
    with pytest.raises(SyncError, match="sampled under adapter version 0 .*, the learner holds version 1"):
        run.learner.update(old)
    assert run.digest() == before


def corrupted(group, what: str):
    actions = {name: value.copy() for name, value in group.actions.items()}
    log_probs = group.log_probs.copy()
    if what == "log_prob":
        log_probs[2, 1] = np.nextafter(log_probs[2, 1], np.float32(9))
    elif what == "NaN log_prob":
        log_probs[2, 1] = np.nan
    elif what == "NaN x_t":
        actions["x_t"][1, 1, 0, 0] = np.nan
    elif what == "t":
        actions["t"][2, 1] += 1
    elif what == "text":
        arrays = {"text": group.conditioning.arrays["text"] * np.float32(0.99)}
        return dataclasses.replace(group, conditioning=dataclasses.replace(group.conditioning, arrays=arrays))
    elif what == "length":
        prompt = dataclasses.replace(group.conditioning.prompt, length=8)
        return dataclasses.replace(group, conditioning=dataclasses.replace(group.conditioning, prompt=prompt))
    else:
        actions[what][3, 1, 2, 5] += 0.01
    return dataclasses.replace(group, actions=actions, log_probs=log_probs)


@pytest.mark.parametrize("what", ["log_prob", "NaN log_prob", "x_t", "NaN x_t", "x_prev", "mean", "t", "text", "length"])
def test_what_the_weights_do_not_explain_stops_the_learner(run, what):
    first, second = run.rollout()
    before = run.digest()
    bad = dataclasses.replace(second, group=corrupted(second.group, what))
    with pytest.raises(SyncError, match="recomputed log-probs differ .*'a person walks left', adapter version 0"):
        run.learner.update([first, bad])
    assert run.digest() == before and not run.learner.optimizer.state and run.learner.adapter.version == 0


def test_where_a_device_may_be_inexact_the_largest_gap_is_reported(run):
    first, second = run.rollout()
    run.learner.tolerance = 0.1
    log_probs = first.group.log_probs.copy()
    log_probs[1, 0] += 0.05
    update = run.learner.update([dataclasses.replace(first, group=dataclasses.replace(first.group, log_probs=log_probs)), second])
    assert update.metrics["log_prob_gap"] == pytest.approx(0.05, rel=1e-4)


def test_after_a_refusal_the_right_groups_give_the_right_update(mdm_folder, run):
    first, second = run.rollout()
    with pytest.raises(SyncError):
        run.learner.update([first, dataclasses.replace(second, group=corrupted(second.group, "x_t"))])
    fresh = Run(mdm_folder)
    assert run.learner.update([first, second]).adapter.sha256 == fresh.learner.update(fresh.rollout()).adapter.sha256


def test_invariant_12_groups_without_spread_are_counted_and_give_no_gradient(mdm_folder):
    run, alone = (Run(mdm_folder, Objective(kl_penalty=0.1)) for _ in range(2))
    first, second = run.rollout()
    update = run.learner.update([with_rewards(first, np.full(4, 0.3)), second])
    assert update.metrics["zero_std_fraction"] == 0.5 and not update.advantages[0].any() and update.advantages[1].any()
    expected = alone.learner.update(alone.rollout()[1:])
    assert expected.adapter.sha256 == update.adapter.sha256
    assert expected.metrics["loss"] == update.metrics["loss"] != 0 and expected.metrics["grad_norm"] == update.metrics["grad_norm"]


def test_invariant_12_when_no_group_teaches_nothing_moves(run):
    before = run.digest()
    update = run.learner.update([with_rewards(entry, np.full(4, 0.3)) for entry in run.rollout()])
    assert run.digest() == before and update.adapter.version == 1 and not run.learner.optimizer.state
    assert update.metrics["zero_std_fraction"] == 1 and update.metrics["grad_norm"] == 0 and update.metrics["mean_reward"] == pytest.approx(0.3)
    assert all(np.isfinite(value) for value in update.metrics.values()) and not np.concatenate(update.advantages).any()
    run.learner.update(run.rollout())
    assert run.digest() != before


def test_a_failed_sample_fails_alone(run):
    first, second = run.rollout()
    rewards = first.rewards.copy()
    rewards[1] = np.nan
    update = run.learner.update([with_rewards(first, rewards), second])
    assert update.metrics["failed_samples"] == 1 and update.metrics["zero_std_fraction"] == 0
    assert update.metrics["mean_reward"] == pytest.approx(np.nanmean([rewards, second.rewards]), rel=1e-5)
    assert update.advantages[0][1] == 0 and np.count_nonzero(np.concatenate(update.advantages)) == 7
    assert all(np.isfinite(value) for value in update.metrics.values()) and np.isfinite(update.adapter.buffer).all()


def test_an_iteration_of_failed_samples_stops_the_run(run):
    with pytest.raises(RuntimeError, match="reward failed on every sample"):
        run.learner.update([with_rewards(entry, np.full(4, np.nan)) for entry in run.rollout()])


def test_invariant_17_advantages_are_normalised_group_by_group(run):
    first, second = run.rollout()
    plain = run.learner.update([first, second])
    np.testing.assert_allclose([a.sum() for a in plain.advantages], 0, atol=1e-5)
    shifted = [with_rewards(entry, 100 * (i + 1) + (i + 1) * entry.rewards) for i, entry in enumerate(run.rollout())]
    found = run.learner.update(shifted)
    for advantage, entry in zip(found.advantages, shifted):
        centred = entry.rewards.astype(np.float64) - entry.rewards.mean(dtype=np.float64)
        np.testing.assert_allclose(advantage, centred / (entry.rewards.astype(np.float64).std() + 1e-4), atol=1e-4)


@pytest.mark.parametrize("objective", [Objective(), Objective(kl_penalty=0.1), Objective(ratio="raw"), Objective(kind="trajectory")])
def test_invariant_18_the_same_groups_give_the_same_adapter(mdm_folder, objective):
    digests = set()
    for seed in (0, 1):
        torch.manual_seed(seed)  # the global generator must not matter
        run = Run(mdm_folder, objective, noise=0.001)
        for _ in range(2):
            run.learner.update(run.rollout())
        digests.add(run.learner.adapter.sha256)
    assert len(digests) == 1


def test_groups_add_up_in_any_order(mdm_folder):
    """The gradient of an iteration is the mean over its groups, whichever comes first."""
    wide = Optimizer(learning_rate=1e-3, grad_clip=1e9)
    runs = [Run(mdm_folder, optimizer=wide) for _ in range(4)]
    first, second = runs[0].rollout()
    for run, entries in zip(runs, ([first, second], [second, first], [first], [second])):
        run.learner.update(entries)
    forward, backward, one, two = (run.gradients() for run in runs)
    for f, b, x, y in zip(forward, backward, one, two):
        torch.testing.assert_close(f, b, rtol=1e-4, atol=1e-7)
        torch.testing.assert_close(f, (x + y) / 2, rtol=1e-4, atol=1e-7)


def test_gradients_accumulate_one_step_of_one_group_at_a_time(run, monkeypatch):
    scored, alive = run.rollout(), []
    score_step = run.policy.score_step

    def watched(group, step, reference):
        alive.append(sum(parameter.grad is not None for parameter in run.policy.parameters()))
        return score_step(group, step, reference)

    monkeypatch.setattr(run.policy, "score_step", watched)
    run.learner.update(scored)
    # Before the second step is recomputed, the first has gone backward: its graph is free.
    assert len(alive) == 6 and alive[0] == 0 and all(alive[1:])


@pytest.mark.parametrize("settings", [{}, {"lora_rank": 0}])
def test_activation_checkpointing_gives_the_same_update(mdm_folder, settings):
    plain, saving = (Run(mdm_folder, noise=0.02, activation_checkpointing=value, **settings) for value in (False, True))
    assert plain.learner.update(plain.rollout()).adapter.sha256 == saving.learner.update(saving.rollout()).adapter.sha256


def test_full_fine_tuning_goes_through_the_same_path(mdm_folder):
    run = Run(mdm_folder, Objective(kl_penalty=0.1), Optimizer(learning_rate=1e-4), noise=0, lora_rank=0)
    digest, before = run.policy.base_digest(), run.policy.adapter_state()
    first, second = (run.learner.update(run.rollout()) for _ in range(2))
    assert first.metrics["kl"] == first.metrics["kl_penalty"] == 0 and first.metrics["mean_log_prob_ref"] == first.metrics["mean_log_prob_old"]
    assert second.metrics["kl"] > 0 and second.metrics["kl_penalty"] == pytest.approx(0.1 * second.metrics["kl"], rel=1e-5)
    assert run.policy.base_digest() == digest
    assert all(not np.array_equal(before[name], value) for name, value in run.policy.adapter_state().items())
    base = load_checkpoint(mdm_folder).denoiser
    assert arrays_digest({name: p.detach().numpy() for name, p in base.named_parameters()}) == digest


def test_the_average_for_evaluation(mdm_folder):
    run = Run(mdm_folder, optimizer=Optimizer(learning_rate=1e-2, ema_decay=0.75))
    start = run.learner.adapter.tensors()
    first = run.learner.update(run.rollout()).adapter.tensors()
    second = run.learner.update(run.rollout()).adapter.tensors()
    average = run.learner.evaluation_adapter()
    assert average.version == 2
    for name, value in average.tensors().items():
        np.testing.assert_allclose(value, 0.5625 * start[name] + 0.1875 * first[name] + 0.25 * second[name], atol=1e-6)
    run.sampler.load_adapter(average)


def test_without_an_average_the_adapter_itself_is_evaluated(run):
    update = run.learner.update(run.rollout())
    assert run.learner.evaluation_adapter() is run.learner.adapter is update.adapter


def test_several_updates_of_one_rollout(mdm_folder):
    once, thrice = (Run(mdm_folder, Objective(updates_per_rollout=n)) for n in (1, 3))
    scored = thrice.rollout()
    one, three = once.learner.update(once.rollout()), thrice.learner.update(scored)
    assert one.metrics["mean_ratio"] == 1 and one.metrics["clip_fraction"] == 0
    assert three.metrics["log_prob_gap"] == 0 and three.metrics["mean_ratio"] != 1 and three.metrics["clip_fraction"] > 0.2
    assert three.metrics["mean_log_prob_current"] != three.metrics["mean_log_prob_old"]
    assert three.adapter.version == 1 and three.adapter.sha256 != one.adapter.sha256
    steps = {int(state["step"]) for state in thrice.learner.optimizer.state.values()}
    assert steps == {3}


def test_a_gradient_that_is_not_finite_stops_before_its_step(mdm_folder):
    run = Run(mdm_folder, Objective(updates_per_rollout=2, ratio="raw"), Optimizer(learning_rate=1e30))
    with pytest.raises(SyncError, match="gradient norm is nan"):
        run.learner.update(run.rollout())
    assert {int(state["step"]) for state in run.learner.optimizer.state.values()} == {1}


def test_the_gradient_norm_is_reported_whole_and_applied_clipped(mdm_folder):
    free, held = (Run(mdm_folder, optimizer=Optimizer(learning_rate=1e-3, grad_clip=clip)) for clip in (1e9, 1e-3))
    norms = [run.learner.update(run.rollout()).metrics["grad_norm"] for run in (free, held)]
    assert norms[0] == norms[1] > 1e-2
    applied = [torch.cat([gradient.ravel() for gradient in run.gradients()]).norm().item() for run in (free, held)]
    assert applied == pytest.approx([norms[0], 1e-3], rel=1e-3)


@pytest.mark.parametrize("objective", [Objective(), Objective(kl_penalty=0.2), Objective(kind="trajectory"), Objective(ratio="raw", step_weight="none")])
def test_every_metric_of_an_iteration_is_there_and_finite(mdm_folder, objective):
    run = Run(mdm_folder, objective, noise=0.001)
    scored = run.rollout()
    metrics = run.learner.update(scored).metrics
    assert ISSUE_METRICS <= metrics.keys() and all(type(value) is float and np.isfinite(value) for value in metrics.values())
    rewards = np.concatenate([entry.rewards for entry in scored])
    for name, value in (("mean", rewards.mean()), ("std", rewards.std()), ("min", rewards.min()), ("max", rewards.max())):
        assert metrics[f"{name}_reward"] == pytest.approx(value, rel=1e-5)
    assert metrics["loss"] == pytest.approx(metrics["policy_loss"] + metrics["kl_penalty"], abs=1e-6)
    assert metrics["mean_log_prob_old"] == pytest.approx(np.mean([entry.group.log_probs for entry in scored]), rel=1e-5)
    assert abs(metrics["mean_advantage"]) < 1e-6 and metrics["std_advantage"] == pytest.approx(1, abs=0.05)
    assert metrics["learning_rate"] == 1e-3 and metrics["staleness"] == 0 and metrics["kl"] > 0
    if objective.kl_penalty:
        assert metrics["kl_penalty"] == pytest.approx(0.2 * metrics["kl"], rel=1e-4)


def test_the_trajectory_objective_trains_through_the_same_update(mdm_folder):
    run = Run(mdm_folder, Objective(kind="trajectory", clip_epsilon=0.2), Optimizer(learning_rate=1e-4), noise=0)
    first = run.learner.update(run.rollout())
    assert first.metrics["mean_ratio"] == 1 and first.metrics["grad_norm"] > 0 and first.metrics["log_prob_gap"] == 0
    second = run.learner.update(run.rollout())
    assert second.metrics["mean_ratio"] != 1 and second.metrics["log_prob_gap"] == 0  # the ratio is to the reference, the gap is not


@pytest.mark.parametrize(
    "objective",
    [Objective(), Objective(ratio="raw"), Objective(updates_per_rollout=3, clip_epsilon=0.02), Objective(updates_per_rollout=2, kl_penalty=0.01)],
)
def test_invariant_16_a_linear_policy_with_a_quadratic_reward_improves_at_every_iteration(objective):
    policy, sampler = LinearPolicy(), LinearPolicy()
    learner = Learner(policy, objective, Optimizer(learning_rate=0.01))
    conditionings = policy.prepare([Prompt(text, 1) for text in TARGETS])
    expected = [policy.expected_reward()]
    for iteration in range(40):
        sampler.load_adapter(learner.adapter)
        groups = [sampler.sample(Request(c, 64, (0, iteration, i), 1)) for i, c in enumerate(conditionings)]
        assert learner.update([ScoredGroup(group, reward(group)) for group in groups]).metrics["log_prob_gap"] == 0
        expected.append(policy.expected_reward())
    assert (np.diff(expected) > 0).all() and expected[-1] - expected[0] > 0.3


def test_a_motion_policy_learns_a_reward_it_can_reach(mdm_folder):
    """The mean of the first 4 features, measured under noise that training never saw."""
    run = Run(mdm_folder, optimizer=Optimizer(learning_rate=1e-2), noise=0)

    def measured() -> float:
        run.sampler.load_adapter(run.learner.adapter)
        groups = [sample_group(run.sampler, 32, 0, seed=(9, 9, 9, i), text=TRAINING[i]) for i in range(2)]
        return np.mean([group.outputs[..., :4].mean() for group in groups])

    before = measured()
    for _ in range(5):
        entries = run.rollout(size=16, steps=4)
        run.learner.update([with_rewards(entry, entry.group.outputs[..., :4].mean(axis=(1, 2))) for entry in entries])
    # The spread of a sample is 0.4, that of the mean of 64 is 0.05.
    assert measured() - before > 0.2
