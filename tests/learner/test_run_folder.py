"""A run folder belongs to one run, and its files are whole at any moment."""

import json
import subprocess
import sys

import numpy as np
import pytest

from learner.run_folder import RunFolder
from rollout.errors import InputError


def test_a_new_folder_holds_the_named_places(tmp_path):
    folder = RunFolder.create(tmp_path / "deep" / "run")
    assert folder.path == tmp_path / "deep" / "run"
    assert folder.rollouts.is_dir() and folder.adapter.is_dir()
    names = [path.name for path in (folder.config, folder.metrics, folder.summary, folder.log, folder.rollouts, folder.adapter)]
    assert names == ["config.yaml", "metrics.jsonl", "summary.json", "log.txt", "rollouts", "adapter"]


def test_an_empty_folder_is_taken_and_a_relative_path_becomes_absolute(tmp_path, monkeypatch):
    (tmp_path / "run").mkdir()
    monkeypatch.chdir(tmp_path)
    assert RunFolder.create("run").path == tmp_path / "run"


def test_without_a_path_it_is_named_by_time_and_seed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = RunFolder.create(None, seed=7).path
    assert path.parent == tmp_path / "runs" and path.name.endswith("Z-seed7")


def test_a_folder_with_anything_in_it_is_refused_and_left_alone(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match="is not empty, expected a new or empty folder"):
        RunFolder.create(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_a_run_never_shares_the_folder_of_another(tmp_path):
    RunFolder.create(tmp_path / "run")
    with pytest.raises(InputError, match="not empty"):
        RunFolder.create(tmp_path / "run")


@pytest.mark.parametrize("path, why", [("file", "is a file"), ("file/below", "cannot write"), ("/proc/run", "cannot write")])
def test_a_path_that_cannot_be_a_folder_is_one_line(tmp_path, path, why):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=f"run_dir: .*{why}") as caught:
        RunFolder.create(tmp_path / path)
    assert "\n" not in str(caught.value)


def test_of_two_runs_that_want_one_folder_exactly_one_gets_it(tmp_path):
    code = (
        "import sys\nfrom learner.run_folder import RunFolder\nfrom rollout.errors import InputError\n"
        "print('ready', flush=True); sys.stdin.readline()\n"
        "for n in range(300):\n"
        "    try:\n        RunFolder.create(f'{sys.argv[1]}/{n}'); print(n)\n    except InputError:\n        pass"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    runs = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    assert [run.stdout.readline() for run in runs] == ["ready\n", "ready\n"]
    for run in runs:
        run.stdin.write("go\n")
        run.stdin.flush()
    got = [int(line) for run in runs for line in run.communicate(timeout=60)[0].split()]
    assert sorted(got) == list(range(300))


def test_metrics_are_strict_json_lines_that_lose_nothing(tmp_path):
    folder = RunFolder.create(tmp_path / "run")
    folder.append_metrics(1, {"mean_reward": np.float32(0.5), "loss": float("nan"), "adapter_version": 1})
    folder.append_metrics(2, {"mean_reward": 0.75, "grad_norm": float("-inf")})
    lines = [json.loads(line, parse_constant=pytest.fail) for line in folder.metrics.read_text().splitlines()]
    assert lines == [
        {"iteration": 1, "mean_reward": 0.5, "loss": "nan", "adapter_version": 1},
        {"iteration": 2, "mean_reward": 0.75, "grad_norm": "-inf"},
    ]


def test_the_summary_is_replaced_whole(tmp_path):
    folder = RunFolder.create(tmp_path / "run")
    folder.write_summary({"status": "failed", "heldout": {"reward": {"gain": {"mean": np.float64(0.1), "ci95": float("inf")}}}})
    with pytest.raises(TypeError):
        folder.write_summary({"status": "finished", "heldout": object()})
    assert json.loads(folder.summary.read_text()) == {
        "status": "failed",
        "heldout": {"reward": {"gain": {"mean": 0.1, "ci95": "inf"}}},
    }
    folder.write_summary({"status": "finished"})
    assert json.loads(folder.summary.read_text()) == {"status": "finished"}
    assert not list(folder.path.glob("*.writing"))


@pytest.mark.parametrize("was_there", [False, True])
def test_a_discarded_folder_is_as_before(tmp_path, was_there):
    if was_there:
        (tmp_path / "run").mkdir()
    folder = RunFolder.create(tmp_path / "run")
    folder.config.write_text("seed: 1")
    folder.log.write_text("starting Ray")
    folder.discard()
    assert (tmp_path / "run").exists() == was_there
    assert not was_there or not list((tmp_path / "run").iterdir())
