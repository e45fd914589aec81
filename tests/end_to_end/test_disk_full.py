"""No room for a rollout, and then none for a checkpoint: one line, exit code 1, nothing half-written, and the run can go on.

A limit on the size of a file stands for the disk: what is small can still be written.
"""

import json
import resource
import subprocess
import sys

import pytest

from learner.run.checkpoint import Checkpoints
from rollout.motion.record import read_rollout
from tests.end_to_end.conftest import ROOT

BIG = ("--rollout.group_size", 250, "--lora.r", 512)  # a rollout of 2.4 MB; a checkpoint of 1.7 MB, and of 5 MB once the optimizer has moments


@pytest.fixture(scope="module")
def limited(command, runs, environment, head):
    """Two processes of one run: no file above 2 MB, then none above 4 MB."""
    folder = runs / "full_disk"

    def until_it_fails(words, limit: int) -> tuple[int, str]:
        process = subprocess.Popen(
            words, cwd=ROOT, env={**head.joined(environment), "PYTHONUNBUFFERED": "1"}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        for line in process.stdout:
            if line.startswith("evaluating before training"):  # what its actors write has no limit
                resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (limit, limit))
                break
        _, errors = process.communicate(timeout=240)
        left = sorted(str(path.relative_to(folder)) for part in ("rollouts", "checkpoints") for path in (folder / part).iterdir())
        return process.returncode, errors, left, json.loads((folder / "summary.json").read_text())

    first = until_it_fails(command("--run_dir", folder, *BIG), 2_000_000)
    return folder, first, until_it_fails([sys.executable, "-m", "learner.main", "--resume", str(folder)], 4_000_000)


def assert_one_line(code: int, errors: str, summary: dict, folder) -> None:
    assert code == 1 and errors.count("\n") == 1 and errors.startswith("error: ")
    assert "File too large" in errors and f"once that is mended, --resume {folder} goes on" in errors
    assert summary["status"] == "failed" and "File too large" in summary["reason"]


def test_a_rollout_that_has_no_room_is_not_there_and_the_run_can_go_on(limited):
    folder, (code, errors, left, summary), _ = limited
    assert_one_line(code, errors, summary, folder)
    assert left == ["checkpoints/000000.safetensors"] and summary["iterations"] == 0


def test_a_checkpoint_that_has_no_room_leaves_the_one_before(limited):
    folder, _, (code, errors, left, summary) = limited
    assert_one_line(code, errors, summary, folder)
    assert left == ["checkpoints/000000.safetensors", "rollouts/000000.parquet"]
    assert len(read_rollout(folder / "rollouts" / "000000.parquet")) == 500 and summary["iterations"] == 1
    assert Checkpoints(folder / "checkpoints", 2).latest().iterations == 0
