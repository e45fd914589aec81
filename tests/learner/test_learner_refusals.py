"""What the learner refuses or leaves out: other weights, what it cannot recompute, no spread, failed samples."""

import dataclasses

import numpy as np
import pytest

from learner.config.settings import Objective, Optimizer
from learner.learner import SyncError
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


@pytest.mark.parametrize(
    "what", ["log_prob", "NaN log_prob", "x_t", "NaN x_t", "x_prev", "mean", "t", "text", "length"]
)
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
    update = run.learner.update(
        [dataclasses.replace(first, group=dataclasses.replace(first.group, log_probs=log_probs)), second]
    )
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
    with pytest.raises(SyncError, match="gradient norm is nan"):
        run.learner.update(run.rollout())
    assert {int(state["step"]) for state in run.learner.optimizer.state.values()} == {1}
