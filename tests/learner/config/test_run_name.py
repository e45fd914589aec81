"""The same command, given again with --run_name, goes on with its run: it begins, resumes or finds that nothing is left to do."""

import json
import logging

import pytest

from cluster.launch.__main__ import main as launch
from learner.config.parse import parse_config, write_config
from learner.main import main
from learner.run.checkpoint import Checkpoint, Checkpoints
from learner.run.folder import RunFolder, locked
from learner.run.keeper import Keeper
from learner.run.plan import Plan
from rollout.io.errors import InputError

COMMAND = ["--seed", "3", "--iterations", "20", "--reward.components.calm.path", "jerk", "--run_name", "mine"]


@pytest.fixture
def begun(tmp_path, monkeypatch):
    """The folder of the run that COMMAND began here."""
    monkeypatch.chdir(tmp_path)
    config = parse_config(COMMAND)
    folder = RunFolder.create(config.run_dir).path
    write_config(config, folder / "config.yaml")
    return folder


def refused(*argv) -> str:
    with pytest.raises(InputError) as caught:
        parse_config([*COMMAND, *map(str, argv)])
    return str(caught.value)


def test_one_that_has_not_begun_begins_beside_run_dir(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for flags, folder in (([], tmp_path / "runs/mine"), (["--run_dir", "/claim/runs/first"], "/claim/runs/mine")):
        config = parse_config([*COMMAND, *flags])
        assert (config.run_dir, config.resume) == (str(folder), None)


def test_one_that_has_begun_goes_on(begun):
    config = parse_config(COMMAND)
    assert (config.run_dir, config.resume, config.seed) == (str(begun), str(begun), 3)


def test_a_copied_working_directory_is_no_stranger(begun, tmp_path_factory, monkeypatch):
    """Where a job submitted again works. What the run's settings would import, the command itself asks for."""
    monkeypatch.chdir(tmp_path_factory.mktemp("copy"))
    file = tmp_path_factory.mktemp("config") / "own.yaml"
    file.write_text("reward: {components: {mine: {path: 'rewards.motion.physics:Jerk'}}}\n")
    own = ["--config", str(file), "--run_name", "mine", "--run_dir", str(begun)]
    write_config(parse_config([*own[:2], "--run_dir", str(begun)]), begun / "config.yaml")
    assert parse_config(own).resume == str(begun)


def test_a_run_of_other_settings_is_refused_by_name_even_where_the_command_says_less(begun):
    assert "mine/config.yaml says otherwise of seed 3 -> 4;" in refused("--seed", 4)
    with pytest.raises(InputError, match=r"mine/config.yaml says otherwise of seed 3 -> 0, reward\.components\.calm\.path"):
        parse_config(["--iterations", "20", "--run_name", "mine"])
    with pytest.raises(InputError, match='says otherwise of family "motion" -> "language"'):
        parse_config(["--family", "language", "--run_name", "mine"])
    assert parse_config([*COMMAND, "--iterations", "30", "--cluster.samplers", "7"]).iterations == 30


@pytest.mark.parametrize("what", ["notes.txt", "config.yaml", "rollouts/000000.parquet"])
def test_a_folder_that_is_no_run_is_refused_by_name(tmp_path, monkeypatch, what):
    monkeypatch.chdir(tmp_path)
    (file := tmp_path / "runs/mine" / what).parent.mkdir(parents=True)
    file.write_text("")
    assert refused() == f"run_name: {tmp_path}/runs/mine is no run folder (it has no run.json), expected a name that nothing else has"


def test_a_file_of_that_name_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs/mine").write_text("")
    assert "runs/mine is no run folder" in refused()


@pytest.mark.parametrize("name", ["..", "a/b", "/runs/mine"])
def test_a_name_is_no_path(name):
    assert refused("--run_name", name) == f"--run_name: found {name!r}, expected the name of a folder, without /"


def test_a_name_and_a_folder_to_resume_are_one_too_many(begun):
    assert refused("--resume", begun).startswith(f"run_name: found mine, expected none beside --resume {begun}")


def test_the_settings_that_a_run_keeps_name_no_run(begun):
    assert parse_config(["--resume", str(begun)]).run_name is None
    assert parse_config(["--config", str(begun / "config.yaml")]).run_name is None


@pytest.mark.parametrize(
    "status, code, words",
    [("finished", 0, "mine has finished already"), ("stopped", 3, "mine has stopped already; --resume goes on")],
)
def test_one_that_has_ended_is_left_as_it_is(begun, capsys, monkeypatch, status, code, words):
    (begun / "summary.json").write_text(json.dumps({"status": status, "iterations": 20}))
    before = sorted((path, path.stat().st_mtime_ns) for path in begun.rglob("*"))
    assert main(COMMAND) == code
    assert words in capsys.readouterr().out
    monkeypatch.setattr("os.execv", lambda *_: pytest.fail("the run began"))
    assert launch(["--nodes", "9", "--", *COMMAND]) == 0  # or a job that is tried again would be tried once more
    assert words in capsys.readouterr().out
    assert sorted((path, path.stat().st_mtime_ns) for path in begun.rglob("*")) == before


class Holder(logging.Handler):
    """Another driver of the run in `folder`, which does its last `act` once it is waited for."""

    def __init__(self, folder, act):
        super().__init__()
        self.taken, self.act, self.said = locked(folder, "run_dir"), act, []

    def emit(self, record):
        self.said.append(record.getMessage())
        self.act(self.taken)


@pytest.fixture
def held(begun, monkeypatch):
    """Says how the run ends elsewhere; gives what is said of waiting for that."""
    log = logging.getLogger("learner.run.folder")
    monkeypatch.setenv("RAY_ADDRESS", "none")  # no run begins here, whatever it did not wait for

    def held(act):
        holder = Holder(begun, act)
        monkeypatch.setattr(log, "handlers", [holder])
        return holder.said

    return held


def test_one_that_another_driver_finishes_meanwhile_is_over(begun, held, capsys):
    def finish(lock):
        (begun / "summary.json").write_text(json.dumps({"status": "finished", "iterations": 20}))
        lock.close()

    said = held(finish)
    assert main(COMMAND) == 0
    assert "mine has finished already" in capsys.readouterr().out
    assert len(said) == 1 and said[0].endswith("; waiting for up to 120 s")


def test_only_one_that_goes_on_by_its_name_waits_for_another_driver(begun, held, monkeypatch, capsys):
    """A node that died may leave its lock on the file server for a while, and a retried job finds it."""
    monkeypatch.setattr("learner.main.LOST_S", 0.1)
    said = held(lambda lock: None)
    assert main(COMMAND) == 2 and len(said) == 1
    assert main(["--resume", str(begun)]) == 2 and len(said) == 1
    assert capsys.readouterr().err.count("mine is in use by process") == 2


@pytest.mark.parametrize("left", [[], ["config.yaml"]])
def test_one_that_was_killed_before_its_first_checkpoint_begins_anew(tiny, tmp_path, left):
    """Where it was, in the folder that it had claimed."""
    command = ["--config", str(tiny.write_run_config(tmp_path / "tiny")), "--run_dir", str(tmp_path / "x"), "--run_name", "mine"]
    folder = RunFolder.create(parse_config(command).run_dir).path
    for name in left:
        write_config(parse_config(command), folder / name)
    (folder / "rollouts" / "000000.parquet").write_bytes(b"")
    config = parse_config(command)
    claimed = RunFolder.reopen(config.resume)
    keeper = Keeper(Plan.make(config), claimed)
    assert (keeper.first, keeper.found, keeper.tracked, list(claimed.rollouts.iterdir())) == (0, None, None, [])
    with pytest.raises(InputError, match="mine is in use by process"):  # of two drivers one works there
        RunFolder.reopen(config.resume)
    Checkpoints(folder / "checkpoints", 2).save(Checkpoint(1, {}, {"standing": {}, "good": 1}))
    with pytest.raises(InputError, match="resume: changed since the run began"):  # with a checkpoint it would go on
        Keeper(keeper.plan, claimed)
