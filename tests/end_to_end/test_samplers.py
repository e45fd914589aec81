"""How the samples are made does not change what is learned; what is asked for does. Runs on a cluster that is there."""

import math

import numpy as np

from learner.config.parse import parse_config
from learner.learner import Learner
from learner.report.meanings import OTHER, meaning_of
from learner.run.plan import Plan
from learner.tally import ScoredGroup
from rollout.motion.adapter_folder import load_policy
from rollout.motion.family import MOTION, policy_settings
from rollout.policy import arrays_digest


def digests(run) -> list[str]:
    """Of all motions and their log-probs, iteration by iteration."""
    return [arrays_digest({f"{i}-{k}": row[k] for i, row in enumerate(rows) for k in ("motion", "log_probs")}) for rows in run.rollouts]


def test_two_samplers_on_a_cluster_learn_what_one_learned_alone(first, train, head):
    second = train("second", "--seed", 7, "--cluster.samplers", 2, head=head)
    assert (second.done.returncode, second.done.stderr) == (0, "")
    assert second.summary["samplers"] == 2 and second.summary["max_log_prob_gap"] == 0
    assert second.summary["adapter_sha256"] == first.summary["adapter_sha256"]
    assert digests(second) == digests(first)
    assert all(second.summary[place] == first.summary[place] for place in ("heldout", "trained"))


def test_all_weights_are_trained_the_same_way_on_two_windows(train, head, tiny, tmp_path):
    model = tiny.write_mdm(tmp_path / "dip", arch="trans_dec", mask_frames=True, context_len=4, pred_len=8)
    np.save(tmp_path / "prefix.npy", np.random.default_rng(0).standard_normal((4, 263)))
    windows = ["--model.path", model, "--model.prefix", tmp_path / "prefix.npy", "--model.windows", 2, "--model.frames", 12]
    run = train("full", "--iterations", 1, "--evaluate.prompts", 1, "--lora.enabled", "false", *windows, head=head)
    assert (run.done.returncode, run.done.stderr) == (0, "")
    assert run.summary["status"] == "finished" and run.summary["max_log_prob_gap"] == 0
    (metrics,) = run.metrics
    assert metrics["grad_norm"] > 0 and all(math.isfinite(value) for value in metrics.values())
    trained, recorded = parse_config(["--config", str(run.folder / "config.yaml")]).rollout.trained_steps, run.rollouts[0][0]
    assert all(len(recorded[column]) == 2 * trained for column in ("log_probs", "log_ratio", "kl", "timesteps"))
    kept = {path.name for path in (run.folder / "adapter").iterdir()}
    assert "denoiser.safetensors" in kept and "adapter_config.json" not in kept
    settings = policy_settings(parse_config(["--config", str(run.folder / "config.yaml")]))
    assert load_policy(settings, run.folder / "adapter").loaded[1] == run.summary["adapter_sha256"] != run.rollouts[0][0]["adapter_sha256"]


def test_a_forward_objective_learns_on_a_cluster_what_one_process_learns(train, head):
    quiet = ["--model.ddim_eta", 0, "--model.steps", 4, "--rollout.shared_initial_noise", "false"]
    anchor = ["--objective.anchor", "average", "--objective.kl_penalty", 0.03]
    run = train("awm", "--objective", "awm", *anchor, *quiet, "--evaluate.prompts", 1, "--cluster.samplers", 2, head=head)
    assert (run.done.returncode, run.done.stderr) == (0, "")
    for metrics in run.metrics:
        assert metrics["log_prob_gap"] == 0 and metrics["mean_ratio"] == 1 and metrics["grad_norm"] > 0
    config = parse_config(["--config", str(run.folder / "config.yaml")])
    policy = MOTION.build(config)("cpu")
    learner, plan = Learner(policy, config.objective, config.optimizer), Plan.make(config)
    for iteration, rows in enumerate(run.rollouts):
        groups = [policy.sample(request) for request in plan.rollout_requests(iteration)]
        rewards = np.array([row["reward"] for row in rows], np.float32).reshape(len(groups), -1)
        update = learner.update([ScoredGroup(group, own) for group, own in zip(groups, rewards)])
    assert run.metrics[0]["prediction_norm"] == 1 and run.metrics[1]["kl_loss"] > 0
    assert [name for name in {**run.metrics[0], **run.metrics[-1]} if meaning_of(name) is OTHER] == ["iteration"]
    assert update.adapter.sha256 == run.summary["adapter_sha256"]
