"""Whole evaluations on tiny models: the table does not depend on the cluster, and nothing changes a row but its weights."""

import itertools
import json
import math
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from mlflow import MlflowClient

from learner.config.parse import parse_config
from learner.evaluate.__main__ import main
from learner.evaluate.motion.measures import METRICS
from learner.evaluate.motion.settings import EvaluateConfig
from tests.end_to_end.conftest import DEADLINE_S, ROOT, wait_for
from tests.tiny import WORDS, make_policy, noisy_adapter, write_evaluate_config, write_prompts

COMMAND = [sys.executable, "-m", "learner.evaluate"]


@pytest.fixture(scope="module")
def evaluate_file(tmp_path_factory):
    """Beside it: the adapters `zero`, as a run starts, and `tuned`."""
    path = write_evaluate_config(tmp_path_factory.mktemp("evaluate"))
    policy = make_policy(path.parent / "mdm")
    policy.save_adapter(path.parent / "zero" / "adapter")
    policy.load_adapter(noisy_adapter(policy))
    policy.save_adapter(path.parent / "tuned" / "adapter")
    return path


@pytest.fixture(scope="module")
def words(evaluate_file, runs):
    """The flags of an evaluation of `adapters` into `runs`/name."""

    def words(name: str, adapters: tuple[str, ...], *flags: str) -> list[str]:
        given = [word for each in adapters for word in ("--adapter", str(evaluate_file.parent / each / "adapter"))]
        return ["--config", str(evaluate_file), *given, "--out", str(runs / name), *flags]

    return words


@pytest.fixture(scope="module")
def evaluated(words, runs, environment, head):
    """Two evaluations of one seed: one sampler in a Ray of its own and no MultiModality, most of whose motions are its
    alone, with further prompts; and two samplers on a cluster, for which one adapter does. Their folders and what they printed."""
    odd = write_prompts(runs / "odd.txt", [" ".join(each) for each in itertools.product(WORDS, repeat=2)])
    more = ["--cluster.samplers", "1", "--multimodality", "0", "--prompts", f"odd={odd}"]
    command = [*COMMAND, *words("evaluated1", ("zero", "tuned"), *more)]
    alone = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=DEADLINE_S)
    cluster = head.run(main, *words("evaluated2", ("tuned",), "--cluster.samplers", "2"))
    assert (alone.returncode, alone.stderr) == (cluster.returncode, cluster.stderr) == (0, "")
    return {samplers: (runs / f"evaluated{samplers}", done.stdout) for samplers, done in (("1", alone), ("2", cluster))}


def rows(folder: Path) -> dict[str, dict]:
    return {row["name"]: row for row in json.loads((folder / "evaluation.json").read_text())["rows"]}


def test_real_motion_comes_first_then_the_base_then_each_adapter(evaluated):
    rest = ["base on odd", "base best of 4", "zero", "zero on odd", "tuned", "tuned on odd"]
    assert list(rows(evaluated["1"][0])) == ["ground truth", "base", *rest]
    folder, printed = evaluated["2"]
    found = rows(folder)
    assert list(found) == ["ground truth", "base", "base best of 4", "tuned"]
    for name, row in found.items():
        metrics = [metric for metric in METRICS if metric != "multimodality" or name in ("base", "tuned")]
        assert list(row["metrics"]) == metrics
        for metric, entry in row["metrics"].items():
            assert len(entry["values"]) == (1 if metric == "multimodality" else 2)
            assert all(math.isfinite(value) for value in entry["values"])
    for line in (folder / "table.md").read_text().splitlines():
        assert line.removeprefix("* ") in printed
    assert sorted(path.name for path in folder.iterdir()) == ["config.yaml", "evaluation.json", "evaluation.png", "table.md"]


def test_one_sampler_or_two_give_identical_numbers(evaluated):
    one, two = (rows(folder) for folder, _ in evaluated.values())
    for row in two.values():
        row["metrics"].pop("multimodality", None)
    assert {name: one[name] for name in two} == two


def test_an_adapter_of_zeros_is_the_base_and_another_is_not(evaluated):
    found = rows(evaluated["1"][0])
    assert found["zero"]["metrics"] == found["base"]["metrics"] != found["tuned"]["metrics"]


def test_further_prompts_are_measured_beside_without_fid(evaluated):
    folder, printed = evaluated["1"]
    found = rows(folder)
    assert found["zero on odd"]["metrics"] == found["base on odd"]["metrics"] != found["tuned on odd"]["metrics"]
    assert found["base on odd"]["metrics"].keys() == found["base"]["metrics"].keys() - {"fid", "fid_unit"}
    assert all(math.isfinite(value) for entry in found["base on odd"]["metrics"].values() for value in entry["values"])
    assert found["base on odd"]["metrics"]["mm_dist"] != found["base"]["metrics"]["mm_dist"]
    assert "| base on odd" in printed and "odd: 36 prompts of" in printed


def test_the_settings_it_kept_are_read_back(evaluated):
    folder, _ = evaluated["2"]
    config = parse_config(["--config", str(folder / "config.yaml")], EvaluateConfig)
    assert (config.cluster.samplers.plain, len(config.adapter), config.samples) == (2, 1, 320)


def test_mlflow_has_the_rows_and_the_files(evaluated, runs):
    client = MlflowClient(f"sqlite:///{runs / 'mlflow.db'}")
    (experiment,) = [each for each in client.search_experiments() if each.name == "motion-grpo"]
    (run,) = [each for each in client.search_runs([experiment.experiment_id]) if each.info.run_name == "evaluated2"]
    found = rows(evaluated["2"][0])
    assert run.info.status == "FINISHED"
    for name, row in found.items():
        for metric, entry in row["metrics"].items():
            assert run.data.metrics[f"{name}/{metric}"] == pytest.approx(entry["mean"])
    assert "table.md" in {file.path for file in client.list_artifacts(run.info.run_id)}


@pytest.mark.parametrize(
    "flags, message",
    [
        (["--adapter", "nowhere"], "adapter_config.json: not found"),
        (["--samples", "300"], "--samples: found 300"),
        (["--out", "/proc/none/out"], "out: cannot write in /proc/none/out"),
        (["--cluster.samplers", "999"], "cluster.samplers: 999 of 1 CPU each need 999 CPUs"),
    ],
    ids=lambda value: "_".join(value) if isinstance(value, list) else "",
)
def test_bad_input_is_one_line_and_leaves_nothing(evaluate_file, tmp_path, head, flags, message):
    done = head.run(main, "--config", evaluate_file, "--out", tmp_path / "out", *flags)
    assert done.returncode == 2 and done.stderr.startswith("error: ") and done.stderr.count("\n") == 1
    assert message.removeprefix("--") in done.stderr
    assert not (tmp_path / "out").exists()


def test_on_what_ships_real_motion_is_better_than_generated_and_that_is_better_than_chance(runs, head):
    done = head.run(main, "--replications", 2, "--multimodality", 0, "--samples", 320, "--out", runs / "shipped")
    assert done.returncode == 0, done.stderr
    real, base = (row["metrics"] for row in rows(runs / "shipped").values())
    assert real["r_at_3"]["mean"] > base["r_at_3"]["mean"] > 0.3 > 3 / 32
    assert real["tmr_score"]["mean"] > base["tmr_score"]["mean"] > 0.6
    for metric in ("fid", "mm_dist", "foot_skate", "ground_penetration"):
        assert real[metric]["mean"] < base[metric]["mean"]


def test_a_stopped_evaluation_keeps_its_finished_rows_and_goes_on(words, runs, environment, head, evaluated):
    flags = words("stopped_evaluation", ())
    command = [*COMMAND, *flags]  # the row of the base model has MultiModality, and so takes its time
    process = subprocess.Popen(command, cwd=ROOT, env=head.joined(environment), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        wait_for(lambda: len([*(runs / "stopped_evaluation" / "parts").glob("*/*-*")]) > 3 or process.poll() is not None)
        process.send_signal(signal.SIGTERM)
        stdout, stderr = process.communicate(timeout=DEADLINE_S)
    finally:
        process.kill()
    assert (process.returncode, stderr) == (143, "")
    assert f"the same command with --out {runs / 'stopped_evaluation'} goes on with what there is\n" in stdout
    found = json.loads((runs / "stopped_evaluation" / "evaluation.json").read_text())
    assert found["status"] == "killed" and found["rows"][0]["name"] == "ground truth"
    assert head.run(main, *flags, "--seed", "1").stderr.endswith("was begun otherwise: seed 0 -> 1; another --out begins anew\n")
    done = head.run(main, *flags)
    assert (done.returncode, done.stderr) == (0, "") and "going on with what" in done.stdout
    assert rows(runs / "stopped_evaluation")["base"] == rows(evaluated["2"][0])["base"]
    assert not (runs / "stopped_evaluation" / "parts").exists()
