"""A family that nothing in the product knows goes through the whole loop on Ray: `learner.main` and the cluster as they are."""

import json

import numpy as np
import pytest

from learner.main import main
from learner.run.checkpoint import Checkpoints
from rewards import family as rewards
from rollout import family
from rollout.record import read_rollout
from tests.learner.toy import TARGETS
from tests.toy_family import Nearness

FLAGS = "--family toy --iterations 4 --optimizer.learning_rate 0.1 --rollout.group_size 24 --cluster.samplers 1"


@pytest.fixture
def toy(monkeypatch):
    """It is registered as any family is: by name."""
    monkeypatch.setitem(family.FAMILIES, "toy", "tests.toy_family:TOY")
    monkeypatch.setitem(rewards.FAMILIES, "toy", "tests.toy_family:REWARDS")
    monkeypatch.setitem(rewards.SECTIONS, "toy", "tests.toy_family:SECTIONS")


def test_a_second_family_learns_by_the_same_loop(toy, tmp_path, head):
    run = tmp_path / "run"
    done = head.run(main, *FLAGS.split(), "--run_dir", run, "--evaluate.every", 2, "--optimizer.ema_decay", 0.5)
    assert done.returncode == 0, done.stderr
    summary, rows = json.loads((run / "summary.json").read_text()), [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert (summary["status"], summary["max_log_prob_gap"]) == ("finished", 0) and len(rows) == 4
    assert all(row["mean_ratio"] == 1 and row["grad_norm"] > 0 for row in rows)
    assert summary["trained"]["reward"]["gain"]["mean"] > 0.1 and rows[-1]["mean_reward"] > rows[0]["mean_reward"]
    assert "judge" not in summary["heldout"] and summary["heldout"]["spread"].keys() == {"before", "after"}
    assert "heldout_spread" in rows[1] and "heldout_judge" not in rows[1]
    assert json.loads((run / "changes.json").read_text())[0][0] == "mixed"
    record = read_rollout(run / "rollouts" / "000003.parquet", [])
    assert len(record) == 48 and {row["prompt"] for row in record} == {"up", "down"} and {row["adapter_version"] for row in record} == {3}
    kept = Checkpoints(run / "checkpoints", 2).latest()
    weights = kept.arrays["learner/adapter/weight"]
    up, down = (weights[:, list(TARGETS).index(text)].mean() for text in ("up", "down"))
    assert up > 0.1 > -0.1 > down and np.isfinite(weights).all()
    # Every evaluation is of the moving average, in between as at the end; what trains is another one.
    assert rows[3]["heldout_reward"] == summary["heldout"]["reward"]["after"]["mean"]
    assert kept.facts["learner"]["recent"]["4"] != summary["adapter_sha256"]
    np.testing.assert_array_equal(np.load(run / "adapter" / "weight.npy"), kept.arrays["learner/average/weight"])


class Fragile(Nearness):
    """Which has no score of a sample that lies far out: seed 11 has one in its first iteration, seed 0 none."""

    def __call__(self, samples):
        return np.where(samples.values.max(axis=1) > 1.7, np.nan, super().__call__(samples))


def test_what_health_stops_is_the_run_of_that_seed_alone(toy, tmp_path, head):
    near = {"near": {"path": "tests.end_to_end.test_toy_family:Fragile"}}
    (tmp_path / "fragile.yaml").write_text(json.dumps({"reward": {"components": near}, "health": {"failed_samples": "stop"}}))
    own = ("--config", tmp_path / "fragile.yaml", "--iterations", 2, "--seeds", "0,11", "--run_dir", tmp_path / "run")
    done = head.run(main, *FLAGS.split(), *own)
    assert (done.returncode, done.stderr) == (3, "")
    kept, other, together = (json.loads((tmp_path / "run" / name / "summary.json").read_text()) for name in ("seed0", "seed11", "."))
    assert [(each["status"], each["iterations"]) for each in (kept, other, together)] == [("finished", 2), ("stopped", 1), ("stopped", 1)]
    said = "seed11  warning: failed_samples at iteration 1: 1 samples have no reward"
    assert any(line.startswith(said) for line in done.stdout.splitlines())
    assert together["warnings"] == [f"seed 11: {text}" for text in other["warnings"]] and kept["warnings"] == []


def test_a_family_that_is_not_there_is_one_line(capsys):
    assert main(["--family", "speech"]) == 2
    assert capsys.readouterr().err == "error: --family: found 'speech', expected one of motion, language\n"
