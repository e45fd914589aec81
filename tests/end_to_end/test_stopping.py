"""SIGTERM: what is there is kept, nothing runs on, and the record says what happened."""

import json
import signal
import subprocess

import pytest

from tests.end_to_end.conftest import ROOT, wait_for
from tests.processes import processes_of


@pytest.fixture
def start(command, runs, environment, ray_folder):
    """Starts a run that would last for days, most of it waiting for actors."""
    started = []

    def start(name: str, *flags):
        mine = ray_folder / name
        mine.mkdir(exist_ok=True)
        words = command("--run_dir", runs / name, "--iterations", 100_000, "--cluster.samplers", 1, "--group_size", 96)
        words = [*words[:3], *flags] if flags else words
        full = {**environment, "RAY_TMPDIR": str(mine), "PYTHONUNBUFFERED": "1"}
        process = subprocess.Popen(words, cwd=ROOT, env=full, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        started.append(process)
        return process, runs / name, mine

    yield start
    for process in started:
        process.kill()


def stop(process) -> tuple[int, str]:
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=120)
    return process.returncode, errors


def test_a_run_that_is_stopped_keeps_what_it_did(start, runs):
    process, folder, ray_files = start("stopped")
    for line in process.stdout:
        if line.startswith("iteration") and "     3/100000" in line:
            break
    assert stop(process) == (75, "")
    wait_for(lambda: not processes_of(ray_files))
    summary = json.loads((folder / "summary.json").read_text())
    kept = (folder / "metrics.jsonl").read_text().splitlines()
    assert summary["status"] == "killed" and summary["iterations"] >= 3
    # It may have been stopped between writing one and the other.
    assert summary["iterations"] <= len(kept) <= len(list((folder / "rollouts").iterdir())) <= summary["iterations"] + 1
    assert "run killed" in (folder / "log.txt").read_text()

    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=f"sqlite:///{runs / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("motion-grpo").experiment_id
    (run,) = client.search_runs([experiment], filter_string="attributes.run_name = 'stopped'")
    assert run.info.status == "KILLED"
    assert {item.path for item in client.list_artifacts(run.info.run_id)} >= {"summary.json", "metrics.jsonl"}

    process, folder, ray_files = start("stopped", "--resume", str(folder))
    wait_for(lambda: any("gcs_server" in line for line in processes_of(ray_files)))
    assert stop(process) == (75, "")  # stopped while Ray starts, it can still be resumed
    wait_for(lambda: not processes_of(ray_files))
    assert summary == json.loads((folder / "summary.json").read_text())


def test_a_run_that_is_stopped_while_ray_starts_leaves_nothing(start, runs):
    process, folder, ray_files = start("early")
    wait_for(lambda: any("gcs_server" in line for line in processes_of(ray_files)))
    assert folder.exists()
    assert stop(process) == (143, "")
    wait_for(lambda: not processes_of(ray_files))
    assert not folder.exists()
