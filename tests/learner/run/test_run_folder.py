"""A run folder belongs to one run, and its files are whole at any moment."""

import json
import math
import os
import resource
import subprocess
import sys
import threading

import numpy as np
import pytest

from cluster.spans import Timing
from learner.run.folder import RunFolder
from rollout.io.errors import InputError


def test_a_new_folder_holds_the_named_places(tmp_path):
    folder = RunFolder.create(tmp_path / "deep" / "run")
    assert folder.path == tmp_path / "deep" / "run"
    assert folder.rollouts.is_dir() and folder.evaluations.is_dir() and folder.adapter.is_dir()
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
        "import sys\nfrom learner.run.folder import RunFolder\nfrom rollout.io.errors import InputError\n"
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


def test_what_is_under_way_takes_the_place_of_what_was_and_ends_no_run(tmp_path):
    folder = RunFolder.create(tmp_path / "run")
    for done in range(3):
        folder.show_present({"done": done})
    assert json.loads((tmp_path / "run" / "present.json").read_text()) == {"done": 2}
    assert not [path for path in folder.path.iterdir() if path.name.startswith("present.json.")]
    folder.present.unlink()
    folder.present.mkdir()
    folder.show_present({"done": 3})


def test_one_process_at_a_time_works_in_a_folder(tmp_path, caplog):
    first = RunFolder.create(tmp_path / "run")
    with pytest.raises(InputError, match=rf"run_dir: {tmp_path}/run is in use by process {os.getpid()} on "):
        RunFolder.reopen(tmp_path / "run")
    del first
    code = "import sys; from learner.run.folder import RunFolder; folder = RunFolder.reopen(sys.argv[1]); print('in', flush=True); input()"
    words = [sys.executable, "-c", code, str(tmp_path / "run")]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout.readline() == "in\n"
        for wait_s in (0, 0.1):
            assert not caplog.records
            with pytest.raises(InputError, match=f"in use by process {other.pid} on "):
                RunFolder.reopen(tmp_path / "run", wait_s=wait_s)
        assert caplog.messages[0].startswith(f"run_dir: {tmp_path}/run is in use by process {other.pid} on ")
        assert caplog.messages[0].endswith("; waiting for up to 0.1 s")
        threading.Timer(0.3, other.kill).start()
        again = RunFolder.reopen(tmp_path / "run", wait_s=60)
    assert again.path == tmp_path / "run" and again.rollouts.is_dir()


def test_a_folder_that_cannot_be_reopened_is_one_line(tmp_path):
    with pytest.raises(InputError, match="run_dir: cannot write in .*nowhere"):
        RunFolder.reopen(tmp_path / "nowhere")


def test_no_run_ends_for_want_of_spans_or_of_what_it_is_at(tmp_path):
    folder = RunFolder.create(tmp_path / "run")
    for path in (folder.spans, folder.present):
        path.mkdir()  # nothing can be written there
    folder.append_spans(0, [Timing("learner", "step", 7.0, 8.0)])
    folder.show_present({"done": 1})
    assert folder.spans.is_dir() and folder.present.is_dir()


def test_a_reopened_folder_is_never_discarded(tmp_path):
    RunFolder.create(tmp_path / "run").config.write_text("seed: 1")
    RunFolder.reopen(tmp_path / "run").discard()
    assert (tmp_path / "run" / "config.yaml").read_text() == "seed: 1"


def begun(tmp_path, iterations):
    """A folder with what so many iterations leave."""
    folder = RunFolder.create(tmp_path / "run")
    for iteration in range(iterations):
        folder.append_metrics(iteration, {"mean_reward": iteration / 3, "loss": float("nan"), "gap": float("-inf"), "version": iteration})
        folder.append_spans(iteration, [Timing("sampler 0", "sample", 5.0, 7.0), Timing("learner", "step", 7.0, 8.0)])
        (folder.rollouts / f"{iteration:06d}.parquet").write_bytes(b"rows")
    return folder


def test_rewound_it_holds_the_first_iterations_and_gives_their_metrics_back(tmp_path):
    folder = begun(tmp_path, 5)
    (folder.rollouts / "000005.parquet.writing").write_bytes(b"half")
    for iterations in (0, 3, 4):
        (folder.evaluations / f"{iterations:06d}.parquet").write_bytes(b"")
    (folder.path / "summary.json.writing").write_text("{")
    (folder.adapter / "adapter_config.json.writing").write_text("{")
    with open(folder.spans, "a") as file:
        file.write('{"iteration": 1, "actor": "sam')  # cut off
    rows = folder.rewind(3)
    spans = [json.loads(line) for line in folder.spans.read_text().splitlines()]
    assert [span["iteration"] for span in spans] == [0, 0, 1, 1, 2, 2]
    assert spans[1] == {"iteration": 0, "actor": "learner", "what": "step", "start": 7.0, "end": 8.0}
    assert [(row["iteration"], row["mean_reward"], row["version"]) for row in rows] == [(0, 0.0, 0), (1, 1 / 3, 1), (2, 2 / 3, 2)]
    assert all(math.isnan(row["loss"]) and row["gap"] == -math.inf for row in rows)
    assert sorted(path.name for path in folder.rollouts.iterdir()) == [f"{i:06d}.parquet" for i in range(3)]
    assert [json.loads(line)["iteration"] for line in folder.metrics.read_text().splitlines()] == [0, 1, 2]
    assert sorted(path.name for path in folder.evaluations.iterdir()) == ["000000.parquet", "000003.parquet"]  # after 3 iterations: of these
    assert not list(folder.path.glob("*.writing")) and not list(folder.adapter.iterdir())
    folder.append_metrics(3, {"mean_reward": 1.0})
    assert [row["iteration"] for row in folder.rewind(4)] == [0, 1, 2, 3]


def test_rewound_to_where_it_is_nothing_is_written(tmp_path):
    folder = begun(tmp_path, 2)
    before = os.stat(folder.metrics)
    folder.rewind(2)
    assert os.stat(folder.metrics) == before
    assert RunFolder.create(tmp_path / "new").rewind(0) == []


@pytest.mark.parametrize("rest", ['{"iteration": 2, "mean_re', "{", '{"iteration": 2}', "\0\0\0", "12", "[]"])
def test_a_last_line_that_was_cut_off_is_dropped(tmp_path, rest):
    folder = begun(tmp_path, 2)
    whole = folder.metrics.read_text()
    folder.metrics.write_text(whole + rest)
    assert [row["iteration"] for row in folder.rewind(2)] == [0, 1]
    assert folder.metrics.read_text() == whole


def test_a_last_line_without_only_its_end_is_kept_and_ended(tmp_path):
    folder = begun(tmp_path, 2)
    whole = folder.metrics.read_text()
    folder.metrics.write_text(whole[:-1])
    assert len(folder.rewind(2)) == 2 and folder.metrics.read_text() == whole


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda lines: lines[:1] + lines[2:], "found iteration 2 where iteration 1 should be"),
        (lambda lines: lines[:2] + lines[1:], "found iteration 1 where iteration 2 should be"),
        (lambda lines: lines[:2], "found nothing where iteration 2 should be, of 3 that were done"),
        (lambda lines: lines + lines[2:], "found iteration 2 where iteration 3 should be"),
        (lambda lines: [lines[0], "{", *lines[2:]], "line 2 is no JSON object with an iteration"),
        (lambda lines: [], "found nothing where iteration 0 should be"),
    ],
)
def test_metrics_with_a_gap_or_a_double_are_refused_and_left_alone(tmp_path, change, message):
    folder = begun(tmp_path, 3)
    damaged = "".join(f"{line}\n" for line in change(folder.metrics.read_text().splitlines()))
    folder.metrics.write_text(damaged)
    with pytest.raises(InputError, match=f"metrics.jsonl: {message}") as caught:
        folder.rewind(3)
    assert "\n" not in str(caught.value)
    assert folder.metrics.read_text() == damaged and len(list(folder.rollouts.iterdir())) == 3


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


def test_on_a_full_disk_nothing_is_left(tmp_path):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, limits[1]))
    try:
        with pytest.raises(InputError, match=f"run_dir: cannot write in {tmp_path}/run "):
            RunFolder.create(tmp_path / "run")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert not (tmp_path / "run").exists()


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
