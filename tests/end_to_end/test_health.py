"""What the monitor finds is acted on: a run goes back to where it was still well, or on with other settings."""

from learner.learner import State, part
from learner.run.checkpoint import Checkpoints


def test_a_run_that_explodes_is_rolled_back_to_where_it_was_well(train, head):
    flags = ["--iterations", 12, "--objective.kind", "trajectory", "--optimizer.learning_rate", 3e-3, "--health.preset", "original_ladder"]
    run = train("exploding", *flags, "--evaluate.prompts", 1, head=head)
    assert (run.done.returncode, run.done.stderr) == (3, "") and run.summary["status"] == "stopped"
    first, *_, last = run.metrics
    assert (first["mean_ratio"], run.summary["max_log_prob_gap"]) == (1, 0) and first["grad_norm"] > 0  # until then it is exact, of whole trajectories
    assert last["max_abs_log_ratio"] >= 20 and len(run.metrics) == run.summary["iterations"] < 12
    said = run.summary["warnings"][-1]
    assert said.startswith(f"log_ratio at iteration {len(run.metrics)}: the largest log-ratio is")
    assert said.endswith("the run stops and goes back to its last good checkpoint") and f"warning: {said}" in run.done.stdout
    kept = Checkpoints(run.folder / "checkpoints", 2)
    good = kept.latest()
    assert good.iterations < len(run.metrics) and kept.saved()[-1] == good.iterations
    assert State(part(good.arrays, "learner"), good.facts["learner"]).adapter().sha256 == run.summary["adapter_sha256"]
    assert run.rollouts[good.iterations][0]["adapter_sha256"] == run.summary["adapter_sha256"]


def test_a_run_that_adapts_trains_on_with_the_settings_that_it_told(train, head):
    """Hardly a ratio lies inside this clip after a step; every iteration goes one rung down the ladder, to the last."""
    flags = ["--iterations", 3, "--objective.updates_per_rollout", 8, "--objective.clip_epsilon", 1e-9, "--health.clip_fraction", "adapt"]
    run = train("adapting", *flags, "--evaluate.prompts", 1, head=head)
    assert (run.done.returncode, run.done.stderr) == (0, "")
    first, second, third = (row["learning_rate"] for row in run.metrics)
    assert (second, third) == (first * 0.1, first * 0.05)
    assert "; from here on learning_rate " in run.summary["warnings"][0]
