"""One tiny run for all tests of the page, whose folder is read only; those that change something take a copy."""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tests.browser import browser

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="session")
def run(tiny, tmp_path_factory):
    """The folder of a finished run of two iterations, evaluated after each."""
    folder, config = tmp_path_factory.mktemp("page") / "run", tiny.write_run_config(tmp_path_factory.mktemp("config"))
    temporary = Path(tempfile.mkdtemp(prefix="ray", dir="/tmp"))  # a short name: a long path breaks Ray's sockets
    outside = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "MLFLOW_"))}
    full = {**outside, "RAY_TMPDIR": str(temporary), "RAY_worker_niceness": "0"}
    words = [sys.executable, "-m", "learner.main", "--config", str(config), "--run_dir", str(folder), "--evaluate.every", "1"]
    try:
        done = subprocess.run(words, cwd=ROOT, env=full, capture_output=True, text=True, timeout=240)
        assert done.returncode == 0, done.stderr
        yield folder
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


@pytest.fixture
def copied(run, tmp_path):
    """The same run, to be changed."""
    return Path(shutil.copytree(run, tmp_path / "run"))


@pytest.fixture(scope="session")
def chromium():
    with browser() as opened:
        yield opened
