"""A run that was killed goes on, and what it leaves is what it would have left: one rollout ahead, evaluated in between."""

import shutil
import subprocess

import numpy as np
import pytest

from learner.config.parse import parse_config
from learner.main import main
from learner.run.checkpoint import Checkpoints
from learner.run.folder import RunFolder
from learner.run.keeper import Keeper
from learner.run.plan import Plan
from rollout.io.errors import InputError
from rollout.io.machine import cpu_kind
from tests.end_to_end.conftest import ROOT, Run

ITERATIONS = 6
FLAGS = (
    "--iterations", ITERATIONS, "--group_size", 16, "--cluster.max_staleness", 1, "--clip_epsilon", 1e-3, "--evaluate.every", 2, "--seed", 3,
    "--optimizer.ema_decay", 0.5, "--reward.components.tmr.path", "tmr.cosine", "--reward.components.tmr.normalise", "percentile",
)  # fmt: skip


@pytest.fixture(scope="module")
def undisturbed(train, head):
    return train("undisturbed", *FLAGS, head=head)


@pytest.fixture(scope="module")
def killed(command, runs, environment, head):
    """On a cluster that survives it: killed outright in or after its third iteration, then finished."""
    process = subprocess.Popen(
        command("--run_dir", runs / "killed", *FLAGS), cwd=ROOT, env={**head.joined(environment), "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    for line in process.stdout:
        if line.startswith("iteration 3/"):
            process.kill()
    process.communicate()
    return Run(runs / "killed", head.run(main, "--resume", runs / "killed"))


def same(run: Run) -> list[dict]:
    """Metrics without what the clock says."""
    return [{name: value for name, value in row.items() if not name.startswith("seconds_")} for row in run.metrics]


def test_it_ends_as_if_nothing_had_happened(undisturbed, killed):
    for run in (undisturbed, killed):
        assert (run.done.returncode, run.done.stderr) == (0, "")
    for name in ("status", "iterations", "adapter_sha256", "heldout", "trained", "max_log_prob_gap"):
        assert killed.summary[name] == undisturbed.summary[name]
    assert undisturbed.summary["resumed_at"] is None and 2 <= killed.summary["resumed_at"] < ITERATIONS
    assert [row["staleness"] for row in undisturbed.metrics] == [0, *[1] * 5]


def test_metrics_and_rollouts_are_the_same_to_the_last_bit(undisturbed, killed):
    assert same(killed) == same(undisturbed)
    for rows, others in zip(killed.rollouts, undisturbed.rollouts, strict=True):
        for row, other in zip(rows, others, strict=True):
            for name in row:
                np.testing.assert_array_equal(row[name], other[name])


def test_so_are_weights_optimizer_and_everything_else_that_is_kept(undisturbed, killed):
    kept, other = (Checkpoints(run.folder / "checkpoints", 2).latest() for run in (killed, undisturbed))
    assert kept.iterations == other.iterations == ITERATIONS and kept.facts["learner"] == other.facts["learner"]
    assert kept.facts["report"] == other.facts["report"]
    assert {name.split("/")[1] for name in kept.arrays if name.startswith("learner/")} == {
        "adapter", "average", "recent", "exp_avg", "exp_avg_sq", "step",
    }  # fmt: skip
    assert kept.arrays.keys() == other.arrays.keys()
    for name, value in kept.arrays.items():
        np.testing.assert_array_equal(value, other.arrays[name])


def test_mlflow_has_one_run_with_every_step_once(killed, runs):
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=f"sqlite:///{runs / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("motion-grpo").experiment_id
    (run,) = client.search_runs([experiment], filter_string="attributes.run_name = 'killed'")
    assert run.info.status == "FINISHED"
    for name in ("mean_reward", "grad_norm", "seconds_update"):
        assert [metric.step for metric in client.get_metric_history(run.info.run_id, name)] == list(range(ITERATIONS))


def test_a_finished_run_and_a_changed_setting_are_told_apart_in_one_line(killed):
    resume = ["--resume", str(killed.folder)]
    config = parse_config(resume)
    with pytest.raises(InputError, match="has finished its 6 iterations; nothing to do unless --iterations is above that"):
        Keeper(Plan.make(config), RunFolder.reopen(killed.folder))
    with pytest.raises(InputError, match="optimizer.learning_rate 0.001 -> 0.5; .*may change"):
        parse_config([*resume, "--optimizer.learning_rate", "0.5"])


def test_another_kind_of_device_than_the_learner_now_has_is_refused(undisturbed, head, tmp_path):
    folder = shutil.copytree(undisturbed.folder, tmp_path / "moved")
    checkpoints = Checkpoints(folder / "checkpoints", 2)
    last = checkpoints.latest()
    last.facts["learner"]["device"] = "NVIDIA H100, torch 2.13.0"
    checkpoints.save(last)
    done = head.run(main, "--resume", folder, "--iterations", ITERATIONS + 1)
    words = f"device: NVIDIA H100, torch 2.13.0 -> {cpu_kind()}"
    assert (done.returncode, done.stderr) == (2, f"error: resume: changed since the run began, which would go on in other bits: {words}\n")
    assert (folder / "metrics.jsonl").read_bytes() == (undisturbed.folder / "metrics.jsonl").read_bytes()
