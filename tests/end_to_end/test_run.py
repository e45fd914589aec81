"""`python -m learner.main` to its end: what a person sees, and everything that is kept."""

import numpy as np
import pytest
from PIL import Image

from learner.config.parse import flatten, parse_config
from rewards.motion.physics import ALL_PHYSICS
from rollout.motion.adapter_folder import load_policy
from rollout.motion.family import policy_settings

METRICS = (
    "loss policy_loss kl_loss broken_samples mean_reward std_reward min_reward max_reward mean_advantage std_advantage"
    " mean_log_prob_current mean_log_prob_old mean_log_prob_ref mean_ratio clip_fraction zero_std_fraction grad_norm"
    " learning_rate clip_epsilon adapter_version staleness log_prob_gap dropped_groups failed_samples"
    " mean_log_ratio max_abs_log_ratio length_entropy"
    " component_tmr_mean component_tmr_std component_tmr_failed component_foot_skate_mean"
    " seconds_rollout seconds_reward seconds_update seconds_publish seconds_evaluate"
).split()
GROUPS, SIZE = 2, 4  # of an iteration
SUMMARY = {
    "status", "iterations", "seed", "samplers", "wall_seconds", "resumed_at", "adapter_sha256", "max_log_prob_gap", "warnings",
    "advisories", "heldout", "trained", "best_of_base",
}  # fmt: skip


@pytest.fixture(scope="module")
def tracked(first):
    """MLflow's client, and the run as it knows it."""
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=f"sqlite:///{first.folder.parent / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("motion-grpo").experiment_id
    (run,) = client.search_runs([experiment], filter_string="attributes.run_name = 'first'")
    return client, run


def test_it_ends_well_and_says_so_in_plain_lines(first):
    assert (first.done.returncode, first.done.stderr) == (0, "")
    lines = first.done.stdout.splitlines()
    assert [line.split("  ")[0] for line in lines if line.startswith("iteration")] == ["iteration 1/2", "iteration 2/2"]
    assert lines[-2].startswith(f"results in {first.folder}: adapter/") and "run finished" in lines[-3]
    assert lines[-1] == f"all of it on one page: {first.folder / 'report.html'}"
    assert "\x1b" not in first.done.stdout and "ray" not in first.done.stdout.replace(str(first.folder), "")
    assert (first.folder / "log.txt").read_text() == first.done.stdout


def test_every_result_is_there(first):
    names = {str(path.relative_to(first.folder)) for path in first.folder.rglob("*") if path.is_file()}
    assert names == {
        "run.json", "config.yaml", "metrics.jsonl", "summary.json", "log.txt", "reward.png", "heldout.png", "before_after.png",
        "before_after.gif", "report.html", "trace.json", "spans.jsonl", "evaluations/000000.parquet", "evaluations/000002.parquet",
        "rollouts/000000.parquet", "rollouts/000001.parquet",
        "checkpoints/000001.safetensors", "checkpoints/000002.safetensors",
        "adapter/adapter_config.json", "adapter/adapter_model.safetensors", ".lock",
    }  # fmt: skip


def test_the_config_is_resolved_and_repeats_the_run(first):
    _, _, command, *asked = first.done.args
    assert command == "learner.main" and asked[-6:] == "--seed 7 --cluster.samplers 1 --evaluate.every 2".split()
    assert parse_config(["--config", str(first.folder / "config.yaml")]) == parse_config(asked)


def test_the_summary_has_what_was_promised(first):
    summary = first.summary
    assert summary.keys() == SUMMARY
    assert [summary[name] for name in ("status", "iterations", "seed", "samplers")] == ["finished", 2, 7, 1]
    assert summary["max_log_prob_gap"] == 0 and 0 < summary["wall_seconds"] < 240
    assert summary["heldout"].keys() == {"reward", "judge", "components", "fid", "fid_unit", "diversity", *ALL_PHYSICS}
    assert summary["trained"].keys() == {"reward", "judge", "components"}
    for place in ("heldout", "trained"):
        for name in ("reward", "judge"):
            entry = summary[place][name]
            assert entry.keys() == {"before", "after", "gain"}
            assert entry["gain"]["mean"] == pytest.approx(entry["after"]["mean"] - entry["before"]["mean"], abs=1e-6)
            assert all(part.keys() == {"mean", "ci95"} and part["ci95"] >= 0 for part in entry.values())
        assert 0 < summary[place]["reward"]["before"]["mean"] < 1 and summary[place]["judge"]["before"]["mean"] < 0
        assert summary[place]["reward"]["gain"]["mean"] != 0
    assert summary["heldout"]["fid"] == {"before": None, "after": None}  # real statistics are the shipped judge's only
    assert summary["best_of_base"].keys() == {"samples", "reward", "judge"} and summary["best_of_base"]["samples"] == 2
    assert summary["best_of_base"]["reward"]["before"]["mean"] > summary["heldout"]["reward"]["before"]["mean"]
    for name in ("diversity", "foot_skate"):
        assert all(summary["heldout"][name][when] > 0 for when in ("before", "after"))
    gain = {name: entry["gain"] for name, entry in (summary["heldout"] | summary["heldout"]["components"]).items() if "gain" in entry}
    assert gain.keys() == {"reward", "judge", "tmr", *ALL_PHYSICS} and all(each["ci95"] >= 0 for each in gain.values())
    skate = summary["heldout"]["foot_skate"]
    assert skate["gain"]["mean"] == pytest.approx(skate["after"] - skate["before"], abs=1e-6)


def test_every_metric_of_every_iteration_is_kept(first):
    for iteration, entry in enumerate(first.metrics):
        assert entry["iteration"] == entry["adapter_version"] == iteration
        assert not [name for name in METRICS if not np.isfinite(entry[name])]
        assert (entry["mean_ratio"], entry["log_prob_gap"], entry["clip_fraction"], entry["staleness"]) == (1, 0, 0, 0)
        assert entry["mean_log_prob_current"] == entry["mean_log_prob_old"]
        assert entry["grad_norm"] > 0 and entry["learning_rate"] == 1e-3
    assert len(first.metrics) == 2
    heldout = {"reward", "judge", "diversity", "component_tmr", "component_foot_skate", "parted", *ALL_PHYSICS}
    found = [{name.removeprefix("heldout_") for name in entry if name.startswith("heldout_")} for entry in first.metrics]
    assert found == [set(), heldout]  # no FID: real statistics are the shipped judge's only
    assert first.metrics[0]["mean_log_prob_ref"] == first.metrics[0]["mean_log_prob_current"] != first.metrics[1]["mean_log_prob_ref"]


def test_an_evaluation_in_between_is_of_that_iterations_adapter(first):
    """After the last iteration it is the evaluation at the end: same prompts, noise and weights."""
    after = {name: first.summary["heldout"][name]["after"]["mean"] for name in ("reward", "judge")}
    after |= {name: first.summary["heldout"][name]["after"] for name in ("diversity", *ALL_PHYSICS)}
    assert after == pytest.approx({name: first.metrics[1][f"heldout_{name}"] for name in after}, rel=1e-6)
    assert first.summary["warnings"] == []  # the default reward


def test_the_rollouts_explain_the_metrics(first):
    for entry, rows in zip(first.metrics, first.rollouts, strict=True):
        assert [(row["group"], row["sample"]) for row in rows] == [(g, i) for g in range(GROUPS) for i in range(SIZE)]
        rewards = np.array([row["reward"] for row in rows])
        found = [entry[name] for name in ("mean_reward", "std_reward", "min_reward", "max_reward")]
        assert found == pytest.approx([rewards.mean(), rewards.std(), rewards.min(), rewards.max()], rel=1e-4)
        assert {row["iteration"] for row in rows} == {row["adapter_version"] for row in rows} == {entry["iteration"]}
        for row in rows:
            assert row["components"].keys() == {"tmr", "foot_skate"}
            assert row["reward"] == pytest.approx(row["components"]["tmr"] + 0.5 * row["components"]["foot_skate"], rel=1e-6)
        assert np.mean([row["log_probs"].mean() for row in rows]) == pytest.approx(entry["mean_log_prob_old"], rel=1e-4)
        for group in np.split(np.array([row["advantage"] for row in rows]), GROUPS):
            assert group.mean() == pytest.approx(0, abs=1e-5) and group.std() > 0.5
        for row in rows:
            assert row["motion"].shape == (row["length"], 263) and np.isfinite(row["motion"]).all()
    digests = [{row["adapter_sha256"] for row in rows} for rows in first.rollouts]
    assert len(digests[0]) == len(digests[1]) == 1 and len(digests[0] | digests[1] | {first.summary["adapter_sha256"]}) == 3


def test_the_adapter_that_is_kept_is_the_one_that_was_evaluated(first):
    settings = policy_settings(parse_config(["--config", str(first.folder / "config.yaml")]))
    assert load_policy(settings, first.folder / "adapter").loaded[1] == first.summary["adapter_sha256"]


def test_the_pictures_can_be_opened(first):
    sizes = {name: Image.open(first.folder / name).size for name in ("reward.png", "before_after.png", "before_after.gif")}
    assert min(min(size) for size in sizes.values()) > 300
    assert Image.open(first.folder / "before_after.gif").n_frames == 12


def test_mlflow_has_the_whole_run(first, tracked):
    client, run = tracked
    assert run.info.status == "FINISHED"
    assert run.data.params.keys() == flatten(parse_config(["--config", str(first.folder / "config.yaml")])).keys()
    assert (run.data.params["seed"], run.data.params["lora.r"]) == ("7", "4")
    for name in METRICS:
        history = {metric.step: metric.value for metric in client.get_metric_history(run.info.run_id, name)}
        assert history == {entry["iteration"]: entry[name] for entry in first.metrics}
    kept = {item.path for item in client.list_artifacts(run.info.run_id)}
    assert kept == {path.name for path in first.folder.iterdir()} - {"rollouts", "evaluations", "checkpoints", ".lock"}
    assert len(client.list_artifacts(run.info.run_id, "adapter")) == 2
