"""A run on a reward that can be gamed: its judge falls, the run says so and ends there with its adapter."""

import json

import pytest


@pytest.fixture(scope="module")
def gamed(train_shipped):
    """The shipped model taught to move less and less: an evaluation after each of at most sixteen iterations."""
    flags = {
        "iterations": 16, "reward.components.smooth.path": "tests.gameable:RawSmoothness",
        "optimizer.learning_rate": 1e-2, "rollout.prompts_per_iteration": 4, "rollout.group_size": 8, "cluster.samplers": 1,
        "evaluate.every": 1, "evaluate.patience": 2, "evaluate.on_divergence": "stop", "evaluate.prompts": 16,
        "evaluate.samples_per_prompt": 2,
    }  # fmt: skip
    return train_shipped("gamed", *(word for key, value in flags.items() for word in (f"--{key}", value)))


def test_a_gamed_reward_is_warned_of_everywhere(gamed, runs):
    from mlflow import MlflowClient

    assert gamed.done.returncode == 3
    (warning,) = [words for words in gamed.summary["warnings"] if words.startswith("reward and judge")]  # a busy machine may add its own
    assert warning.startswith("reward and judge part: after ") and warning.endswith("stopped there (evaluate.on_divergence)")
    assert f"warning: {warning}" in gamed.done.stdout.splitlines() and f"warning: {warning}" in (gamed.folder / "log.txt").read_text()
    client = MlflowClient(tracking_uri=f"sqlite:///{runs / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("motion-grpo").experiment_id
    (run,) = client.search_runs([experiment], filter_string="attributes.run_name = 'gamed'")
    assert warning in run.data.tags["warning"]
    assert run.data.metrics["heldout_parted"] == 2


def test_it_stops_there_with_everything_saved(gamed):
    assert gamed.summary["status"] == "stopped" and gamed.summary["iterations"] == len(gamed.metrics) < 16
    assert f"after {len(gamed.metrics)} iterations" in gamed.summary["warnings"][0]
    assert gamed.summary["heldout"]["reward"]["gain"]["mean"] > 0 > gamed.summary["heldout"]["judge"]["gain"]["mean"]
    assert json.loads((gamed.folder / "adapter" / "adapter_config.json").read_text()) and (gamed.folder / "heldout.png").stat().st_size > 0
