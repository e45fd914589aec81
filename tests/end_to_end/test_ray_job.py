"""`ray job submit -- python -m learner.main` on a real head: what docs/cluster.md shows."""

import json
import subprocess

import pytest

from tests.end_to_end.conftest import DEADLINE_S, ROOT, Run


@pytest.fixture(scope="module")
def job(head, environment, config_file, runs):
    """Seed 8, else like the first run."""
    flags = ["--config", config_file, "--run_dir", runs / "job", "--seed", 8, "--cluster.samplers", 1]
    words = ["ray", "job", "submit", "--working-dir", ".", "--", "python", "-m", "learner.main", *map(str, flags)]
    full = {**environment, **head.environment}
    return Run(runs / "job", subprocess.run(words, cwd=ROOT, env=full, capture_output=True, text=True, timeout=DEADLINE_S))


def test_the_job_runs_to_its_end_and_its_log_shows_the_iterations(job):
    assert job.done.returncode == 0, job.done.stdout + job.done.stderr
    for iteration in ("iteration 1/2  reward", "iteration 2/2  reward"):
        assert sum(line.startswith(iteration) for line in job.done.stdout.splitlines()) == 1
    assert "succeeded" in job.done.stdout + job.done.stderr


def test_results_lie_where_run_dir_says(job):
    summary = job.summary
    assert [summary[name] for name in ("status", "iterations", "seed", "max_log_prob_gap")] == ["finished", 2, 8, 0]
    assert json.loads((job.folder / "adapter" / "adapter_config.json").read_text())["r"] == 4
    assert len(job.metrics) == len(job.rollouts) == 2


def test_another_seed_learns_something_else(job, first):
    assert job.summary["adapter_sha256"] != first.summary["adapter_sha256"]


def test_the_cluster_gets_the_code_and_its_assets_and_nothing_else(job, head):
    (package,) = (head.temporary / "session_latest/runtime_resources/working_dir_files").glob("_ray_pkg_*/")
    tracked = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True)
    if tracked.returncode:
        pytest.skip("not a git checkout: what belongs to the project is not known")
    sent = {str(path.relative_to(package)) for path in package.rglob("*") if path.is_file() and "__pycache__" not in path.parts}
    ours = set(tracked.stdout.splitlines())
    assert sent <= ours
    assert {"learner/main.py", *(name for name in ours if "/assets/" in name)} <= sent
