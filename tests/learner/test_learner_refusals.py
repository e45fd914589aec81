"""What the learner refuses or leaves out: other weights, what it cannot recompute, no spread, failed samples."""

import copy
import dataclasses

import numpy as np
import pytest

from learner.config.settings import Objective, Optimizer
from learner.gradient import SyncError
from learner.tally import ScoredGroup
from rollout.io.errors import RunFailed
from tests.learner.bench import Run, with_rewards


@pytest.fixture
def run(mdm_folder):
    return Run(mdm_folder)


@pytest.mark.parametrize(
    "change, why",
    [
        ({"adapter_version": 1}, "version 1 .*, which the learner, at version 0, never made"),
        ({"adapter_version": -1}, "version -1 .*, 1 behind the learner's 0; at most 0 may be trained on"),
        ({"adapter_sha256": "0" * 64}, "version 0 .000000000000., whose weights are .*: another run's, or damaged on their way"),
        ({"adapter_version": 1, "adapter_sha256": "0" * 64}, "version 1 .*never made"),
    ],
)
def test_a_group_of_other_weights_is_refused_before_anything_changes(run, change, why):
    first, second = run.rollout()
    before = run.digest()
    stale = dataclasses.replace(second, group=dataclasses.replace(second.group, **change))
    with pytest.raises(SyncError, match=f"a group was sampled under adapter {why}"):
        run.learner.update([first, stale])
    assert run.digest() == before and not run.learner.optimizer.state and run.learner.adapter.version == 0
    run.learner.update([first, second])


def test_a_group_of_the_previous_iteration_is_refused(run):
    old = run.rollout()
    run.learner.update(old)
    before = run.digest()
    with pytest.raises(SyncError, match="sampled under adapter version 0 .*, 1 behind the learner's 1; at most 0"):
        run.learner.update(old)
    assert run.digest() == before


def corrupted(group, what: str):
    actions = {name: value.copy() for name, value in group.actions.items()}
    log_probs = group.log_probs.copy()
    if what == "log_prob":
        log_probs[2, 1] = np.nextafter(log_probs[2, 1], np.float32(9))
    elif what == "NaN x_t":
        actions["x_t"][1, 1, 0, 0] = np.nan
    elif what == "t":
        actions["t"][2, 1] += 1
    else:
        actions[what][3, 1, 2, 5] += 0.01
    return dataclasses.replace(group, actions=actions, log_probs=log_probs)


@pytest.mark.parametrize(
    "what", ["log_prob", "x_t", "NaN x_t", "x_prev", "mean", "t"]
)
def test_what_the_weights_do_not_explain_stops_the_learner(run, what):
    first, second = run.rollout()
    before = run.digest()
    bad = dataclasses.replace(second, group=corrupted(second.group, what))
    with pytest.raises(SyncError, match="recomputed log-probs differ .*'a person walks left', adapter version 0"):
        run.learner.update([first, bad])
    assert run.digest() == before and not run.learner.optimizer.state and run.learner.adapter.version == 0


def other_text(conditioning):
    return dataclasses.replace(conditioning, arrays={"text": conditioning.arrays["text"] * np.float32(0.99)})


def other_length(conditioning):
    return dataclasses.replace(conditioning, prompt=dataclasses.replace(conditioning.prompt, length=8))


def damaged_on_its_way(conditioning):
    """As it arrives when bytes were changed after its digest was taken: no constructor runs then."""
    damaged = copy.copy(conditioning)
    object.__setattr__(damaged, "arrays", {"text": conditioning.arrays["text"] + np.float32(1e-6)})
    assert damaged.digest == conditioning.digest
    return damaged


@pytest.mark.parametrize("change", [other_text, other_length, damaged_on_its_way])
def test_a_group_that_comes_with_another_conditioning_is_refused(run, change):
    first, second = run.rollout()
    before = run.digest()
    swapped = dataclasses.replace(second.group, conditioning=change(second.group.conditioning))
    with pytest.raises(SyncError, match="'a person walks left': the conditioning that came with its group is not what it was sampled from"):
        run.learner.update([first, dataclasses.replace(second, group=swapped)])
    assert run.digest() == before and not run.learner.optimizer.state


def blown_up(group, sample: int):
    """As a sampler sends a motion that is not finite."""
    actions = {name: value.copy() for name, value in group.actions.items()}
    outputs, log_probs = group.outputs.copy(), group.log_probs.copy()
    for array in (outputs, log_probs, *(actions[name] for name in ("x_t", "x_prev", "mean"))):
        array[sample] = np.nan
    return dataclasses.replace(group, outputs=outputs, log_probs=log_probs, actions=actions)


@pytest.mark.parametrize("objective", [Objective(kl_penalty=0.1), Objective(ratio="raw", kl_penalty=0.1), Objective(kind="trajectory", kl_penalty=0.1)])
def test_a_sample_that_is_not_finite_fails_alone(mdm_folder, objective):
    """Its place in the batch stays, so the others are to the bit what they are when that sample only has no reward."""
    run, without = (Run(mdm_folder, objective, noise=0.001) for _ in range(2))
    first, second = run.rollout()
    spoilt = ScoredGroup(blown_up(second.group, 1), second.rewards)
    found = run.learner.update([first, spoilt])
    assert (found.metrics["broken_samples"], found.metrics["failed_samples"], found.metrics["log_prob_gap"]) == (1, 1, 0)
    assert all(np.isfinite(value) for value in found.metrics.values())
    assert np.isnan(found.rewards[1][1]) and found.advantages[1][1] == 0 and np.isfinite(found.advantages[1]).all()
    rewards = second.rewards.copy()
    rewards[1] = np.nan
    expected = without.learner.update([without.rollout()[0], with_rewards(second, rewards)])
    np.testing.assert_array_equal(found.advantages[1], expected.advantages[1])
    # What differs is that means are over three samples of that group, not over four.
    whole, tuned = (np.concatenate([t.ravel() for t in update.adapter.tensors().values()]) for update in (expected, found))
    start = np.concatenate([t.ravel() for t in Run(mdm_folder, objective, noise=0.001).learner.adapter.tensors().values()])
    assert np.corrcoef(whole - start, tuned - start)[0, 1] > 0.9


def test_where_nothing_that_is_watched_counts_the_other_metrics_stand(run):
    """As where all answers of a watched part were cut off."""
    scored = run.rollout()
    for i, entry in enumerate(scored):
        mask = np.ones_like(entry.group.log_probs, bool)
        mask[:, i] = False  # the column whose reference is recomputed
        scored[i] = dataclasses.replace(entry, group=dataclasses.replace(entry.group, mask=mask))
    metrics = run.learner.update(scored).metrics
    assert all(np.isfinite(value) for value in metrics.values()) and metrics["kl"] == 0 and metrics["grad_norm"] > 0
    assert metrics["mean_log_prob_ref"] == metrics["mean_log_prob_current"] != 0


def test_a_group_whose_samples_are_all_broken_teaches_nothing(run):
    first, second = run.rollout()
    group = second.group
    for sample in range(4):
        group = blown_up(group, sample)
    found = run.learner.update([first, ScoredGroup(group, second.rewards)])
    assert found.metrics["broken_samples"] == 4 and found.metrics["zero_std_fraction"] == 0.5 and found.metrics["dropped_groups"] == 1
    assert all(np.isfinite(value) for value in found.metrics.values())


@pytest.mark.parametrize("shift", [0.0, 0.03])
def test_the_gap_of_groups_one_version_behind_is_measured(mdm_folder, shift):
    run = Run(mdm_folder, max_staleness=1)
    old = run.rollout()
    run.learner.update(run.rollout())
    run.policy.tolerance = 0.1
    shifted = [dataclasses.replace(e, group=dataclasses.replace(e.group, log_probs=e.group.log_probs + np.float32(shift))) for e in old]
    update = run.learner.update(shifted)
    assert update.metrics["staleness"] == 1 and update.metrics["log_prob_gap"] == pytest.approx(shift, rel=1e-3)
    assert update.metrics["mean_ratio"] != 1, "what older weights sampled is no rounding"


def test_where_a_device_is_inexact_the_ratio_is_one_all_the_same(run):
    """The learner's own first recompute stands for the sampled log-probs, and what differs is the gap."""
    first, second = run.rollout()
    run.policy.tolerance = 0.1
    log_probs = first.group.log_probs + np.float32(0.02)
    mean = first.group.actions["mean"] + np.float32(1e-3)
    other = dataclasses.replace(first.group, log_probs=log_probs, actions={**first.group.actions, "mean": mean})
    update = run.learner.update([dataclasses.replace(first, group=other), second])
    assert update.metrics["mean_ratio"] == 1 and update.metrics["clip_fraction"] == update.metrics["max_abs_log_ratio"] == 0
    assert update.metrics["log_prob_gap"] == pytest.approx(0.02, rel=1e-3)


def test_where_a_device_may_be_inexact_the_largest_gap_is_reported(run):
    first, second = run.rollout()
    run.policy.tolerance = 0.1
    log_probs = first.group.log_probs.copy()
    log_probs[1, 0] += 0.05
    update = run.learner.update(
        [dataclasses.replace(first, group=dataclasses.replace(first.group, log_probs=log_probs)), second]
    )
    assert update.metrics["log_prob_gap"] == pytest.approx(0.05, rel=1e-4) and update.metrics["log_prob_tolerance"] == 0.1


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
    assert (
        expected.metrics["loss"] == update.metrics["loss"] != 0
        and expected.metrics["grad_norm"] == update.metrics["grad_norm"]
    )


def test_invariant_12_when_no_group_teaches_nothing_moves(run):
    before = run.digest()
    update = run.learner.update([with_rewards(entry, np.full(4, 0.3)) for entry in run.rollout()])
    assert run.digest() == before and update.adapter.version == 1 and not run.learner.optimizer.state
    assert (
        update.metrics["zero_std_fraction"] == 1
        and update.metrics["grad_norm"] == 0
        and update.metrics["mean_reward"] == pytest.approx(0.3)
    )
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


def test_a_gradient_that_is_not_finite_stops_before_its_step(mdm_folder):
    run = Run(mdm_folder, Objective(updates_per_rollout=2, ratio="raw"), Optimizer(learning_rate=1e30))
    with pytest.raises(RunFailed, match="gradient norm is nan") as caught:
        run.learner.update(run.rollout())
    assert not isinstance(caught.value, SyncError)  # no sampler is at fault
    assert {int(state["step"]) for state in run.learner.optimizer.state.values()} == {1}
