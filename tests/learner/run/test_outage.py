"""A tracking store that fails: at start one line, later never the end of a run, and what it missed is sent once it is back."""

import socket

import pytest

from learner.config.parse import parse_config
from learner.run import tracking
from learner.run.tracking import Tracker
from rollout.io.errors import InputError
from tests.learner.run.store import running


@pytest.fixture(autouse=True)
def at_once(monkeypatch):
    """A store that failed is asked again with the next line of metrics."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    monkeypatch.setattr(tracking, "PATIENCE", 0)


@pytest.fixture
def store(tmp_path):
    with running((tmp_path / "artifacts").as_uri()) as store:
        yield store


def start(uri, tmp_path) -> tuple[Tracker, list[str]]:
    said = []
    return Tracker.start(parse_config(["--tracking.uri", uri]), tmp_path / "run", said.append), said


def test_what_a_store_missed_is_sent_once_it_is_back(store, tmp_path):
    tracker, said = start(store.uri, tmp_path)
    tracker.log(0, {"mean_reward": 0.0})
    store.off()
    tracker.log(1, {"mean_reward": 1.0, "loss": float("nan")})
    tracker.warn("reward and judge part")
    tracker.log(2, {"mean_reward": 2.0})
    assert len(said) == 1 and "cannot use the store" in said[0] and "the run goes on" in said[0] and "\n" not in said[0]
    store.on()
    tracker.log(3, {"mean_reward": 3.0})
    assert said[1:] == ["the tracking store has caught up"]
    assert store.metrics == {("mean_reward", i): [float(i)] for i in range(4)} | {("loss_nonfinite", 1): [1.0]}
    assert store.tags["warning"] == "reward and judge part"
    (tmp_path / "log.txt").write_text("a line")
    tracker.finish("finished", [tmp_path / "log.txt"])
    assert (store.status, len(said)) == ("FINISHED", 2) and (tmp_path / "artifacts" / "log.txt").read_text() == "a line"


def test_what_it_never_got_is_said_and_sent_by_the_run_that_goes_on(store, tmp_path):
    tracker, said = start(store.uri, tmp_path)
    store.off()
    for i in range(3):
        tracker.log(i, {"mean_reward": float(i)})
    tracker.finish("killed", [tmp_path / "log.txt"])
    assert len(said) == 2 and "never got 3 iterations" in said[1] and "--resume" in said[1] and store.status == "RUNNING"
    store.on()
    again = Tracker.resume(parse_config(["--tracking.uri", store.uri]), tmp_path / "run", tracker.run_id, said.append)
    for i in range(4):
        again.log(i, {"mean_reward": float(i)})
    assert store.metrics == {("mean_reward", i): [float(i)] for i in range(4)} and len(said) == 2


def test_a_store_that_hangs_is_left_alone_for_a_while(store, tmp_path, monkeypatch):
    tracker, said = start(store.uri, tmp_path)
    store.off()
    monkeypatch.setattr(tracking, "PATIENCE", 1000)
    with socket.create_server(("127.0.0.1", store.port)) as silent:
        for i in range(50):
            tracker.log(i, {"mean_reward": float(i)})
        silent.settimeout(0.1)
        silent.accept()
        with pytest.raises(TimeoutError):
            silent.accept()  # it was asked once
    store.on()
    tracker.finish("finished")  # whatever it is then, it is asked
    assert len(store.metrics) == 50 and store.status == "FINISHED" and said[1:] == ["the tracking store has caught up"]


def test_more_than_a_store_takes_at_once_goes_in_parts(store, tmp_path):
    tracker, _ = start(store.uri, tmp_path)
    store.off()
    for i in range(30):
        tracker.log(i, {f"metric_{j}": 1.0 for j in range(40)})
    store.on()
    before = store.requests
    tracker.finish("finished")
    assert len(store.metrics) == 1200 and store.requests == before + 4  # 500 + 500 + 200, and the end


@pytest.mark.parametrize("place, why", [("s3://bucket/runs", "boto3"), ("/dev/null/runs", "Not a directory")])
def test_files_that_cannot_be_stored_are_a_warning(place, why, tmp_path):
    with running(place) as store:
        tracker, said = start(store.uri, tmp_path)
        (tmp_path / "log.txt").write_text("a line")
        (tmp_path / "reward.png").write_text("a picture")
        tracker.finish("finished", [tmp_path / "log.txt", tmp_path / "reward.png"])
        assert store.status == "FINISHED" and len(said) == 1
        assert why in said[0] and said[0].endswith("not stored there: log.txt, reward.png")


@pytest.mark.parametrize("answer, why", [((401, "<html>log in"), "401"), ((404, ""), "404"), ((200, "<!doctype html>welcome"), "not in a valid JSON")])
def test_a_server_that_is_no_store_is_one_line_at_start(store, tmp_path, monkeypatch, capfd, answer, why):
    store.answer = answer
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store.uri.replace("127", "me:sesame@127"))
    with pytest.raises(InputError, match=r"tracking\.uri: cannot use the store http://\*\*\*@127") as caught:
        Tracker.start(parse_config([]), tmp_path / "run")
    assert why in str(caught.value) and "sesame" not in str(caught.value) and capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    "uri, why",
    [
        ("mssql+pyodbc://host/db", "No module named 'pyodbc'"), ("mysql://host/db", "No module named 'MySQLdb'"),
        ("sqlite:////dev", "unable to open"), ("databricks", "credential"), ("http://127.0.0.1:1", "Max retries"),
    ],
)  # fmt: skip
def test_a_store_without_driver_credentials_or_server_is_one_line_at_start(uri, why, tmp_path, monkeypatch, capfd):
    monkeypatch.setenv("HOME", str(tmp_path))  # of whose credentials nothing is meant
    with pytest.raises(InputError, match=r"tracking\.uri: cannot use the store") as caught:
        Tracker.start(parse_config(["--tracking.uri", uri]), tmp_path / "run")
    assert why in str(caught.value) and "\n" not in str(caught.value) and capfd.readouterr() == ("", "")
