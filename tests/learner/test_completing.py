"""A prefix-completion model (DiP) is trained on single windows, which all continue one motion."""

import numpy as np
import pytest
import torch

from learner.config.parse import parse_config
from learner.learner import Learner
from learner.run.plan import Plan
from learner.tally import ScoredGroup
from rollout.io.errors import InputError
from rollout.motion.family import MOTION
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
