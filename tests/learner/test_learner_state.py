"""What a learner keeps between iterations: it goes on from it bit for bit; and groups that lag behind its weights."""

import dataclasses
import json

import numpy as np
import pytest

from learner.config.settings import Objective, Optimizer
from learner.gradient import SyncError
from learner.learner import Learner, State
from rollout.io.errors import InputError, RunFailed
from tests.learner.bench import Run

EVERYTHING = Optimizer(learning_rate=1e-3, weight_decay=0.01, ema_decay=0.5)


def as_kept(state: State) -> State:
    """What a file would give back."""
    return State({name: value.copy() for name, value in state.arrays.items()}, json.loads(json.dumps(state.facts)))


@pytest.mark.parametrize("settings", [{}, {"lora_rank": 0}])
def test_a_fresh_learner_goes_on_from_the_state_of_another(mdm_folder, settings):
    run, other = (Run(mdm_folder, Objective(), EVERYTHING, noise=noise, **settings) for noise in (0.01, 0.02))
    for _ in range(2):
        run.learner.update(run.rollout())
    run.learner.adapt({"learning_rate": 5e-4, "kl_penalty": 0.1, "clip_epsilon": 2e-5})
    other.learner.load(as_kept(run.learner.state()))
    for _ in range(2):
        one, two = (each.learner.update(each.rollout()) for each in (run, other))
        assert one.metrics == two.metrics and one.adapter.version == two.adapter.version
        assert one.metrics["learning_rate"] == 5e-4 and one.metrics["clip_epsilon"] == 2e-5 and one.metrics["kl_loss"] > 0
        assert one.adapter.sha256 == two.adapter.sha256
        assert run.learner.evaluation_adapter().sha256 == other.learner.evaluation_adapter().sha256 != one.adapter.sha256
    kept, again = run.learner.state(), other.learner.state()
    assert kept.facts == again.facts and kept.arrays.keys() == again.arrays.keys()
    for name, value in kept.arrays.items():
        np.testing.assert_array_equal(value, again.arrays[name])


def test_a_state_is_a_copy(run):
    run.learner.update(run.rollout())
    state = run.learner.state()
    before = {name: value.copy() for name, value in state.arrays.items()}
    run.learner.update(run.rollout())
    assert all(np.array_equal(before[name], value) for name, value in state.arrays.items())


def test_the_state_before_the_first_update_is_enough(mdm_folder):
    run, other = Run(mdm_folder, noise=0.01), Run(mdm_folder, noise=0.02)
    other.learner.load(as_kept(run.learner.state()))
    assert run.learner.update(run.rollout()).adapter.sha256 == other.learner.update(other.rollout()).adapter.sha256


def test_a_state_of_other_tensors_or_another_digest_is_refused(mdm_folder, run):
    state = run.learner.state()
    with pytest.raises(InputError, match="do not match the policy"):
        Run(mdm_folder, lora_targets=("q",)).learner.load(state)
    name = next(name for name in state.arrays if name.startswith("adapter/"))
    changed = as_kept(state)
    changed.arrays[name].flat[0] += 1
    with pytest.raises(SyncError, match="a state of adapter version 0 holds weights"):
        run.learner.load(changed)


@pytest.fixture
def run(mdm_folder):
    return Run(mdm_folder)


@pytest.fixture
def ahead(mdm_folder):
    """May be one version ahead of the groups it trains on."""
    return Run(mdm_folder, Objective(clip_epsilon=0.1), noise=0.01, max_staleness=1)


def test_groups_one_version_behind_are_trained_on_and_counted(ahead):
    first = ahead.rollout()
    ahead.learner.update(ahead.rollout())
    before = ahead.digest()
    update = ahead.learner.update(first)
    assert update.metrics["staleness"] == 1 and update.metrics["adapter_version"] == 1
    assert update.metrics["mean_ratio"] != 1 and 0 < update.metrics["max_abs_log_ratio"] < 0.5
    assert update.metrics["mean_log_prob_current"] != update.metrics["mean_log_prob_old"] and update.metrics["log_prob_gap"] == 0
    assert update.adapter.version == 2 and ahead.digest() != before
    with pytest.raises(SyncError, match="version 0 .*, 2 behind the learner's 2; at most 1 may be trained on"):
        ahead.learner.update(first)


@pytest.mark.parametrize("damage", ["log_probs", "x_t"])
def test_what_older_weights_do_not_explain_is_refused_and_the_learner_keeps_its_own(ahead, damage):
    first, second = ahead.rollout()
    ahead.learner.update(ahead.rollout())
    before = ahead.digest()
    if damage == "log_probs":
        group = dataclasses.replace(second.group, log_probs=np.nextafter(second.group.log_probs, np.float32(9)))
    else:
        group = dataclasses.replace(second.group, actions={**second.group.actions, "x_t": second.group.actions["x_t"] + 1})
    with pytest.raises(SyncError, match="recomputed log-probs differ .* adapter version 0"):
        ahead.learner.update([first, dataclasses.replace(second, group=group)])
    assert ahead.digest() == before and ahead.learner.adapter.version == 1


def test_older_weights_survive_a_restart(ahead, mdm_folder):
    old = ahead.rollout()
    ahead.learner.update(ahead.rollout())
    other = Run(mdm_folder, Objective(clip_epsilon=0.1), noise=0.02, max_staleness=1)
    other.learner.load(as_kept(ahead.learner.state()))
    assert other.learner.update(old).adapter.sha256 == ahead.learner.update(old).adapter.sha256


def test_weights_that_the_update_destroyed_are_no_adapter(run):
    run.learner = Learner(run.policy, Objective(), Optimizer(learning_rate=1e37, weight_decay=1e3))
    with pytest.raises(RunFailed, match="the update destroyed the weights: .* contains NaN or infinity"):
        run.learner.update(run.rollout())
