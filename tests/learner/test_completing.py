"""A prefix-completion model (DiP) is trained on one window, or on several of which each continues the one before."""

import dataclasses

import numpy as np
import pytest
import torch

from learner.config.parse import parse_config
from learner.gradient import SyncError
from learner.learner import Learner
from learner.run.plan import Plan
from learner.tally import ScoredGroup
from rollout.io.errors import InputError
from rollout.motion.family import MOTION
from rollout.motion.prompts import MotionPrompt
from rollout.policy import Request
from tests.tiny import FRAMES, write_mdm, write_run_config

CONTEXT, WINDOW = 4, 8


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("dip")
    model = write_mdm(folder / "dip", arch="trans_dec", mask_frames=True, context_len=CONTEXT, pred_len=WINDOW)
    write_run_config(folder, model={"path": str(model)})
    for name, seed in (("one", 1), ("two", 2)):
        np.save(folder / f"{name}.npy", np.random.default_rng(seed).standard_normal((6, 263)))
    return folder


def config_of(folder, *flags):
    return parse_config(["--config", str(folder / "run.yaml"), *map(str, flags)])


@pytest.mark.parametrize("flags", [[], ["--objective", "awm"], ["--lora", "false"]])
def test_a_window_is_sampled_and_trained_on_and_all_of_it_is_recomputed_exactly(folder, flags):
    config = config_of(folder, "--model.prefix", folder / "one.npy", *flags)
    requests = Plan.make(config).rollout_requests(0)
    assert all(request.conditioning.prompt.length == WINDOW < FRAMES for request in requests)
    policy = MOTION.build(config)("cpu")
    learner = Learner(policy, config.objective, config.optimizer)
    groups = [policy.sample(request) for request in requests]
    assert all(group.outputs.shape == (4, WINDOW, 263) for group in groups)
    update = learner.update([ScoredGroup(group, np.arange(len(group), dtype=np.float32)) for group in groups])
    assert update.metrics["log_prob_gap"] == 0 and update.metrics["mean_ratio"] == 1 and update.metrics["grad_norm"] > 0
    again = policy.sample(requests[0])
    assert update.adapter.version == 1 and np.abs(again.outputs - groups[0].outputs).max() > 0


THREE = "--model.windows", "3", "--model.frames", "20"  # of 8, 8 and 4 frames


def sampled(folder, *flags):
    config = config_of(folder, "--model.prefix", folder / "one.npy", *THREE, *flags)
    policy = MOTION.build(config)("cpu")
    (conditioning,) = Plan.make(config).family.preparer(config).prepare([MotionPrompt("a person walks", 20)])
    request = Request(conditioning, 4, (0, 0, 0, 0), config.rollout.trained_steps)
    learner = Learner(policy, config.objective, config.optimizer)
    return learner, policy, request, policy.sample(request)


def learnt(learner, group):
    return learner.update([ScoredGroup(group, np.arange(len(group), dtype=np.float32))])


@pytest.mark.parametrize("flags", [[], ["--objective", "awm"], ["--objective", "nft"], ["--rollout.stochastic_steps", "4"]])
@pytest.mark.parametrize("kl", ["0", "0.1"])
def test_every_action_of_several_windows_is_recomputed_exactly(folder, flags, kl):
    learner, policy, request, group = sampled(folder, *flags, "--objective.kl_penalty", kl)
    steps = request.trained_steps
    assert group.outputs.shape == (4, 20, 263) and (group.lengths == 20).all() and group.log_probs.shape == (4, 3 * steps)
    assert group.columns["timesteps"].shape == group.log_probs.shape and group.actions["prefix"].shape == (4, 2, CONTEXT, 263)
    update = learnt(learner, group)
    assert update.metrics["log_prob_gap"] == 0 and update.metrics["mean_ratio"] == 1 and update.metrics["grad_norm"] > 0
    assert update.metrics["max_abs_log_ratio"] == 0
    moved = policy.sample(request)
    assert all(np.abs(moved.outputs - group.outputs)[:, at : at + 4].max() > 0 for at in (0, 8, 16))


def test_each_window_continues_what_was_made_before_it(folder):
    _, policy, request, group = sampled(folder)
    made = (group.outputs - policy.mean) / policy.std
    for window in (1, 2):
        np.testing.assert_allclose(group.actions["prefix"][:, window - 1], made[:, window * WINDOW - CONTEXT : window * WINDOW], atol=1e-5)
    changed = request.conditioning.arrays | {"prefix": request.conditioning.arrays["prefix"] + 1}
    other = policy.sample(dataclasses.replace(request, conditioning=dataclasses.replace(request.conditioning, arrays=changed)))
    assert all(np.abs(other.outputs - group.outputs)[:, at : at + 4].max() > 0.01 for at in (0, 8, 16))
    noise = [(group.actions["x_prev"] - group.actions["mean"])[:, k, :4] for k in (0, request.trained_steps)]
    assert np.abs(noise[0] - noise[1]).max() > 0.01


def test_steps_before_the_noise_are_one_samples_in_the_first_window_alone(folder):
    _, _, request, group = sampled(folder, "--rollout.trained_steps", "3", "--rollout.stochastic_steps", "3")
    for window, shared in ((0, True), (1, False), (2, False)):
        k = window * 3 + group.columns["timesteps"][0, window * 3 : window * 3 + 3].argmax()  # the first that adds noise
        assert (np.ptp(group.actions["x_t"][:, k, :4], axis=0).max() == 0) == shared


@pytest.mark.parametrize("kind", ["grpo", "awm"])
@pytest.mark.parametrize("window", [0, 1])
def test_a_prefix_that_is_not_what_was_sampled_is_caught(folder, kind, window):
    learner, _, _, group = sampled(folder, "--objective", kind)
    prefix = group.actions["prefix"].copy()
    prefix[0, window, 0, 0] += 0.5
    with pytest.raises(SyncError, match="recomputed log-probs differ"):
        learnt(learner, dataclasses.replace(group, actions=group.actions | {"prefix": prefix}))


def test_shorter_prompts_take_fewer_windows_and_parts_of_a_group_are_recomputed_alone(folder):
    _, policy, request, group = sampled(folder)
    short = dataclasses.replace(request.conditioning, prompt=MotionPrompt("a person walks", 8))
    one = policy.sample(dataclasses.replace(request, conditioning=short))
    assert one.log_probs.shape == (4, request.trained_steps) and "prefix" not in one.actions
    np.testing.assert_array_equal(one.log_probs, group.log_probs[:, : request.trained_steps])
    for score in policy.score(group, only=4):
        np.testing.assert_array_equal(score.log_prob.detach(), group.log_probs[:, 4])
    both = [request.conditioning, short]
    assert policy.generate(both, [(1,), (2,)]).shape == (2, 24, 263) and np.isfinite(policy.generate(both, [(1,), (2,)])).all()


def test_windows_that_cannot_be_are_one_line(folder):
    with pytest.raises(InputError, match="model.windows: found 3, expected 1: only a prefix-completion model"):
        config_of(folder, "--model.windows", "3")
    for frames, needed in (("25", 4), ("16", 2)):
        with pytest.raises(InputError, match=f"windows: found 3, expected {needed}: {frames} frames of a model that makes 8 at once"):
            Plan.make(config_of(folder, "--model.prefix", folder / "one.npy", "--model.windows", "3", "--model.frames", frames))


def test_motions_continue_the_last_frames_of_the_prefix_that_is_given(folder):
    made = {name: Plan.make(config_of(folder, "--model.prefix", folder / f"{name}.npy")) for name in ("one", "two")}
    one, two = (plan.rollout_requests(0)[0] for plan in made.values())
    policy = MOTION.build(made["one"].config)("cpu")
    expected = (np.load(folder / "one.npy")[-CONTEXT:].astype(np.float32) - policy.mean) / policy.std
    np.testing.assert_array_equal(one.conditioning.arrays["prefix"], expected)
    assert one.conditioning.digest != two.conditioning.digest
    assert not torch.equal(*(torch.tensor(policy.sample(request).outputs) for request in (one, two)))


def test_a_run_stands_on_its_prefix(folder):
    assert MOTION.files(config_of(folder, "--model.prefix", folder / "one.npy"))["prefix"] == folder / "one.npy"


def test_a_prefix_that_is_missing_or_for_another_model_is_one_line(folder):
    with pytest.raises(InputError, match=r"^model.prefix: missing, expected raw features \(.npy\) .* a model that continues 4 frames$"):
        Plan.make(config_of(folder))
    with pytest.raises(InputError, match="^model.prefix: given, but not for a model that continues 0 frames$"):
        Plan.make(config_of(folder, "--model.prefix", folder / "one.npy", "--model.path", write_mdm(folder / "mdm")))
    with pytest.raises(InputError, match="nowhere.npy: "):
        Plan.make(config_of(folder, "--model.prefix", folder / "nowhere.npy"))
