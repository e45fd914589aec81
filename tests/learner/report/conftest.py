"""One tiny run for all tests of the page, whose folder is read only; those that change something take a copy."""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest

from rollout.record import write_rollout
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


@pytest.fixture
def answers(copied):
    """A run of the language family: what it was asked is what ships with its model."""
    from learner.config.parse import parse_config, write_config
    from learner.run.checkpoint import Checkpoints
    from learner.run.plan import deal
    from rollout.language.items import read_items
    from rollout.language.record import COLUMNS as ANSWERS
    from rollout.language.settings import SHIPPED
    from rollout.policy import arrays_digest

    write_config(parse_config(["--config", "people"]), copied / "config.yaml")
    items = read_items(SHIPPED["people"] / "train.jsonl")
    for iteration in range(2):
        rows = [
            {
                "iteration": iteration, "group": 0, "sample": sample, "prompt": items[deal(0, 8 * iteration, len(items))].text,
                "seed": f"0,0,{iteration},0", "length": 3, "adapter_version": 0, "adapter_sha256": "a" * 64, "advantage": 1.0 - sample,
                "reward": 0.5 - sample, "components": {"accuracy": 1.0}, "log_probs": np.float32([-1, -2, -3, 0, 0]), "truncated": False,
                "text": f"<think>he {'walks' if sample else 'runs'}</think><answer>B</answer>", "token_ids": np.int32([1, 2, 3]),
            } for sample in range(2)
        ]  # fmt: skip
        write_rollout(copied / "rollouts" / f"{iteration:06d}.parquet", rows, ANSWERS)
        (copied / "evaluations" / f"{iteration:06d}.parquet").unlink(missing_ok=True)
    (copied / "evaluations" / "000002.parquet").unlink(missing_ok=True)
    place = Checkpoints(copied / "checkpoints", 2)
    last = place.latest()
    last.facts["standing"]["training prompts"] = ["those that ship", arrays_digest({}, repr(items))]
    place.save(last)
    return copied, items[deal(0, 8, len(items))]


@pytest.fixture(scope="session")
def chromium():
    with browser() as opened:
        yield opened
