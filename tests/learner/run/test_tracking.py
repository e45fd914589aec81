"""MLflow runs in a real sqlite store, read back through MLflow's own client."""

import contextlib
import math
import sqlite3
import subprocess
import sys

import pytest

from learner.config.parse import flatten, parse_config
from learner.run import tracking
from learner.run.tracking import Tracker
from rollout.io.errors import InputError


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A runs folder whose store exists already; making one takes seconds."""
    folder = tmp_path_factory.mktemp("runs")
    Tracker.start(parse_config([]), folder / "first").finish("FINISHED")
    return folder


@pytest.fixture(autouse=True)
def no_store_from_outside(monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


def read(tracker):
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=tracker.uri)
    return client, client.get_run(tracker.run_id)


def test_default_store_lies_beside_the_run_folder(runs):
    assert (runs / "mlflow.db").stat().st_size > 0


def test_every_setting_is_a_parameter(runs):
    config = parse_config(["--seed", "5", "--lora.targets", "q,v"])
    _, run = read(Tracker.start(config, runs / "params"))
    assert run.info.run_name == "params"
    assert set(run.data.params) == set(flatten(config))
    assert run.data.params["seed"] == "5"
    assert run.data.params["lora.targets"] == '["q", "v"]'
    assert run.data.params["run_dir"] == "null"


def test_metrics_keep_their_iteration(runs):
    tracker = Tracker.start(parse_config([]), runs / "metrics")
    tracker.log(1, {"mean_reward": 0.5, "loss": -0.1})
    tracker.log(2, {"mean_reward": 0.75})
    client, run = read(tracker)
    assert [(m.step, m.value) for m in client.get_metric_history(tracker.run_id, "mean_reward")] == [(1, 0.5), (2, 0.75)]
    assert run.data.metrics["loss"] == -0.1


def test_a_warning_is_a_tag_of_the_run(runs):
    tracker = Tracker.start(parse_config([]), runs / "warned")
    tracker.warn("reward and judge part")
    assert read(tracker)[1].data.tags["warning"] == "reward and judge part"


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_number_that_is_not_finite_is_visible_under_its_own_name(runs, value):
    tracker = Tracker.start(parse_config([]), runs / "nonfinite")
    tracker.log(1, {"loss": value, "mean_reward": 0.5})
    assert read(tracker)[1].data.metrics == {"loss_nonfinite": 1.0, "mean_reward": 0.5}


def test_artifacts_are_files_and_folders_in_the_runs_folder(runs, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "adapter").mkdir()
    (tmp_path / "adapter" / "weights.bin").write_bytes(b"123")
    (tmp_path / "reward.png").write_bytes(b"png")
    tracker = Tracker.start(parse_config([]), runs / "artifacts")
    tracker.finish("FINISHED", [tmp_path / "reward.png", tmp_path / "adapter"], "**It learned**")
    client, run = read(tracker)
    shown = f"![reward.png](get-artifact?path=reward.png&run_uuid={tracker.run_id})"
    assert run.data.tags["mlflow.note.content"] == f"**It learned**\n\n{shown}"
    tracker.finish("FINISHED", [tmp_path / "reward.png"], "x" * 6000)
    told = read(tracker)[1].data.tags["mlflow.note.content"]
    assert len(told) == 5000 and told.endswith(shown)
    assert {item.path for item in client.list_artifacts(tracker.run_id)} == {"adapter", "reward.png"}
    assert [item.path for item in client.list_artifacts(tracker.run_id, "adapter")] == ["adapter/weights.bin"]
    assert run.info.artifact_uri.startswith((runs / "mlartifacts").as_uri())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["adapter", "reward.png"]


@pytest.mark.parametrize("status", ["FINISHED", "FAILED", "KILLED"])
def test_status_at_the_end(runs, status):
    tracker = Tracker.start(parse_config([]), runs / "status")
    assert read(tracker)[1].info.status == "RUNNING"
    tracker.finish(status.lower())
    assert read(tracker)[1].info.status == status


def test_unknown_status_is_refused(runs):
    with pytest.raises(ValueError, match="expected FINISHED"):
        Tracker.start(parse_config([]), runs / "status").finish("DONE")


def test_config_and_environment_choose_the_store(runs, tmp_path, monkeypatch):
    uri = f"sqlite:///{runs / 'mlflow.db'}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    assert Tracker.start(parse_config([]), tmp_path / "elsewhere" / "run").uri == uri
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:1")
    assert Tracker.start(parse_config(["--tracking.uri", uri]), tmp_path / "elsewhere" / "run").uri == uri
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize("uri", ["nonsense://x", "sqlite:////proc/nowhere/mlflow.db"])
def test_unusable_store_is_one_line(uri, tmp_path):
    with pytest.raises(InputError, match=r"tracking\.uri: cannot use the store") as caught:
        Tracker.start(parse_config(["--tracking.uri", uri]), tmp_path / "run")
    assert "\n" not in str(caught.value)


def history(tracker):
    """Steps and values of every metric of the run."""
    client, run = read(tracker)
    return {name: [(m.step, m.value) for m in client.get_metric_history(tracker.run_id, name)] for name in run.data.metrics}


def test_a_run_that_goes_on_has_every_step_once(runs):
    config = parse_config([])

    def metrics(iteration):
        return {"mean_reward": iteration / 3, "loss": math.nan if iteration == 4 else 1.0, **({"judge": 2.0} if iteration % 2 else {})}

    tracker = Tracker.start(config, runs / "killed")
    for iteration in range(6):
        tracker.log(iteration, metrics(iteration))
    again = Tracker.resume(config, runs / "killed", tracker.run_id)
    for iteration in range(3, 9):
        again.log(iteration, metrics(iteration))
        again.log(iteration, metrics(iteration))
    assert history(again) == {
        "mean_reward": [(i, i / 3) for i in range(9)],
        "loss": [(i, 1.0) for i in range(9) if i != 4],
        "loss_nonfinite": [(4, 1.0)],
        "judge": [(i, 2.0) for i in range(1, 9, 2)],
    }


def test_what_a_run_lacks_of_a_step_can_be_filled(runs):
    config = parse_config([])
    tracker = Tracker.start(config, runs / "gaps")
    tracker.log(0, {"mean_reward": 0.0})  # a part of what the step has
    again = Tracker.resume(config, runs / "gaps", tracker.run_id)
    for iteration in (0, 1):
        again.log(iteration, {"mean_reward": float(iteration), "loss": 1.0})
    assert history(again) == {"mean_reward": [(0, 0.0), (1, 1.0)], "loss": [(0, 1.0), (1, 1.0)]}


def test_a_run_that_goes_on_is_running_and_tells_what_changed(runs):
    tracker = Tracker.start(parse_config([]), runs / "ended")
    tracker.finish("KILLED")
    again = Tracker.resume(parse_config(["--iterations", "70"]), runs / "ended", tracker.run_id)
    run = read(again)[1]
    assert (again.run_id, run.info.status) == (tracker.run_id, "RUNNING")
    assert run.data.params["iterations"] == "60"
    assert {key: value for key, value in run.data.tags.items() if key.startswith("resumed.")} == {"resumed.iterations": "70"}
    again.finish("FINISHED")
    assert read(again)[1].info.status == "FINISHED"


def test_a_store_without_the_run_is_one_line(runs, tmp_path):
    tracker = Tracker.start(parse_config([]), runs / "deleted")
    tracker._client.delete_run(tracker.run_id)
    for folder, run_id, why in [
        (runs / "lost", "0" * 32, "not found"),
        (runs / "deleted", tracker.run_id, "was deleted"),
        (tmp_path / "run", tracker.run_id, "no such file"),
    ]:
        with pytest.raises(InputError, match=rf"tracking\.uri: cannot use the store .*{why}") as caught:
            Tracker.resume(parse_config([]), folder, run_id)
        assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("uri", ["nonsense://me:sesame@host/db", "sqlite://me:sesame@host/db"])
def test_no_message_shows_the_credentials_of_the_store(uri, tmp_path, monkeypatch, caplog, capfd):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    with pytest.raises(InputError, match=r"cannot use the store \w+://\*\*\*@host/db") as caught:
        Tracker.start(parse_config([]), tmp_path / "run")
    assert "sesame" not in "".join([str(caught.value), caplog.text, *capfd.readouterr()])


def test_a_database_that_takes_nothing_for_a_while_gets_all_of_it_later(runs, monkeypatch):
    monkeypatch.setattr(tracking, "PATIENCE", 0)
    said = []
    tracker = Tracker.start(parse_config([]), runs / "full", said.append)
    with contextlib.closing(sqlite3.connect(runs / "mlflow.db")) as other:
        other.execute("CREATE TRIGGER full BEFORE INSERT ON metrics BEGIN SELECT RAISE(FAIL, 'database or disk is full'); END")
        tracker.log(0, {"mean_reward": 0.0})
        other.execute("DROP TRIGGER full")
    assert len(said) == 1 and "disk is full" in said[0]
    tracker.log(1, {"mean_reward": 1.0})
    assert said[1:] == ["the tracking store has caught up"] and history(tracker) == {"mean_reward": [(0, 0.0), (1, 1.0)]}


def test_two_runs_may_make_a_new_store_at_once_and_say_nothing(tmp_path):
    code = "import sys; from pathlib import Path; from learner.config.parse import parse_config; from learner.run.tracking import Tracker\n"
    code += "t = Tracker.start(parse_config([]), Path(sys.argv[1])); t.log(1, {'loss': 1.0}); t.finish('FINISHED')"
    both = [
        subprocess.Popen([sys.executable, "-c", code, str(tmp_path / name)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        for name in ("a", "b")
    ]
    output = [process.communicate(timeout=120)[0].decode() for process in both]
    assert [process.returncode for process in both] == [0, 0], output
    assert output == ["", ""]
