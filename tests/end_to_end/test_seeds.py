"""`--seeds`: runs of several seeds by the same actors, each the one it is alone, and what they say together."""

import json
import subprocess

import pytest

from learner.diagnose.__main__ import main as diagnose
from learner.main import main
from tests.end_to_end.conftest import ROOT, Run
from tests.end_to_end.test_resume import same

FLAGS = ("--seeds", "7,3", "--cluster.samplers", 1, "--evaluate.every", 2)


@pytest.fixture(scope="module")
def stopped(command, runs, environment, head):
    """Stopped by SIGTERM once both seeds have one iteration, then finished."""
    process = subprocess.Popen(
        command("--run_dir", runs / "seeds", *FLAGS), cwd=ROOT, env={**head.joined(environment), "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    for line in process.stdout:
        if line.startswith("seed3  iteration 1/"):
            process.terminate()
    _, errors = process.communicate()
    assert (process.returncode, errors) == (75, "")
    places = (".", "seed7", "seed3")
    assert [json.loads((runs / "seeds" / place / "summary.json").read_text())["status"] for place in places] == ["killed"] * 3
    return Run(runs / "seeds", head.run(main, "--resume", runs / "seeds"))


def of(stopped: Run, seed: int) -> Run:
    return Run(stopped.folder / f"seed{seed}", stopped.done)


def test_a_seed_beside_another_is_its_run_alone_to_the_last_bit_through_a_stop_too(stopped, first):
    """Evaluations, in between too, are of its own weights."""
    assert (stopped.done.returncode, stopped.done.stderr) == (0, "")
    alone, beside, other = first, of(stopped, 7), of(stopped, 3)
    for name in ("status", "iterations", "seed", "adapter_sha256", "heldout", "trained", "max_log_prob_gap"):
        assert beside.summary[name] == alone.summary[name]
    assert same(beside) == same(alone)
    assert other.summary["adapter_sha256"] != beside.summary["adapter_sha256"] and other.summary["seed"] == 3
    assert [len(run.metrics) for run in (beside, other)] == [2, 2] and beside.summary["resumed_at"] in (1, 2)


def test_each_has_a_folder_as_of_a_run_alone_and_all_have_one_together(stopped, first):
    files = {str(path.relative_to(first.folder)) for path in first.folder.rglob("*") if path.is_file()}
    for seed in (7, 3):
        folder = stopped.folder / f"seed{seed}"
        assert {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()} == files
    assert {path.name for path in stopped.folder.iterdir()} == {
        "run.json", "config.yaml", "log.txt", "summary.json", "summary.md", "seeds.png", "report.html", "seed7", "seed3", ".lock",
    }  # fmt: skip


def test_the_summary_is_over_seeds(stopped):
    summary, (one, two) = stopped.summary, (of(stopped, seed).summary for seed in (7, 3))
    assert (summary["status"], summary["iterations"], summary["seeds"]) == ("finished", 2, [7, 3])
    assert summary["adapters"] == {"7": one["adapter_sha256"], "3": two["adapter_sha256"]}
    gain, gains = summary["heldout"]["reward"]["gain"], [each["heldout"]["reward"]["gain"]["mean"] for each in (one, two)]
    assert gain["mean"] == pytest.approx(sum(gains) / 2) and gain["ci95"] == pytest.approx(12.7062 * abs(gains[0] - gains[1]) / 2, rel=1e-4)
    said = stopped.done.stdout.splitlines()
    for beginning in ("all seeds  held-out reward", "seed3  iteration 2/2"):
        assert any(line.startswith(beginning) for line in said)


def test_mlflow_has_a_run_of_all_with_one_of_each_under_it(stopped, runs):
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=f"sqlite:///{runs / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("motion-grpo").experiment_id
    (above,) = client.search_runs([experiment], filter_string="attributes.run_name = 'seeds'")
    under = client.search_runs([experiment], filter_string=f"tags.`mlflow.parentRunId` = '{above.info.run_id}'")
    assert {run.info.run_name for run in under} == {"seed7", "seed3"}
    assert {run.info.status for run in (above, *under)} == {"FINISHED"}
    assert {item.path for item in client.list_artifacts(above.info.run_id)} >= {"summary.json", "summary.md", "seeds.png", "report.html"}


def test_a_run_of_seeds_that_has_finished_says_so_and_one_of_them_goes_on_alone(stopped, head, capsys):
    assert main(["--resume", str(stopped.folder)]) == 2
    assert "has finished its 2 iterations; nothing to do unless --iterations is above that" in capsys.readouterr().err
    assert main(["--resume", str(stopped.folder / "seed3"), "--dry_run"]) == 0
    assert diagnose([str(stopped.folder)]) == 2
    assert capsys.readouterr().err == f"error: {stopped.folder}: found runs of seeds 7, 3, expected one of them: its folder seed*\n"
