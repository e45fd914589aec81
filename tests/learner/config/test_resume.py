"""A run goes on with the settings it began with: what would change a result is refused, by name."""

import json
import re

import pytest
import yaml

from learner.config.parse import parse_config, write_config
from learner.config.resume import MAY_CHANGE, MAY_CHANGE_IN_WORDS, require_work_left
from learner.evaluate.motion.settings import EvaluateConfig
from learner.run.folder import FORMAT, RunFolder
from rollout.io.errors import InputError

BEGUN = ["--seed", "3", "--iterations", "20", "--learning_rate", "2e-4", "--reward.components.calm.path", "jerk"]


@pytest.fixture
def run(tmp_path):
    """The folder of a run that began with BEGUN."""
    folder = RunFolder.create(tmp_path / "runs" / "first").path
    write_config(parse_config([*BEGUN, "--run_dir", str(folder)]), folder / "config.yaml")
    return folder


def refused(*argv):
    with pytest.raises(InputError) as caught:
        parse_config([str(word) for word in argv])
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_the_settings_are_those_of_the_run(run, monkeypatch):
    monkeypatch.chdir(run.parent)
    config = parse_config(["--resume", "first"])
    assert config == parse_config([*BEGUN, "--run_dir", str(run), "--resume", str(run)])
    assert (config.seed, config.optimizer.learning_rate, list(config.reward.components)) == (3, 2e-4, ["calm"])
    assert config.run_dir == config.resume == str(run)


def test_the_command_it_began_with_may_be_typed_again(run, tmp_path):
    file = tmp_path / "my.yaml"
    file.write_text("seed: 3\noptimizer: {learning_rate: 2.0e-4}\n")
    again = ["--config", str(file), "--iterations", "20", *BEGUN[-2:], "--run_dir", str(run), "--resume", str(run)]
    assert parse_config(again) == parse_config(["--resume", str(run)])


def test_a_shorthand_may_be_typed_again_too(run):
    write_config(parse_config(["--reward_model_type", "t2m"]), run / "config.yaml")
    config = parse_config(["--reward_model_type", "t2m", "--resume", str(run)])
    assert list(config.reward.components) == ["t2m", "foot_skate"]
    assert "reward.components.tmr.path null" in refused("--reward_model_type", "tmr", "--resume", run)


def test_what_changes_no_result_may_change(run):
    flags = {
        "iterations": "30", "checkpoint.every": "5", "checkpoint.keep": "9", "checkpoint.path": "mock://elsewhere",
        "cluster.samplers": "2..7", "cluster.reward_actors": "3", "cluster.gpus_per_actor": "0.5", "cluster.wait_s": "9",
        "cluster.device": "1",
        "cluster.reward_deadline": "9.5", "cluster.sampler_deadline": "9", "cluster.learner_deadline": "9", "rollout.keep": "none",
    }  # fmt: skip
    assert set(flags) == set(MAY_CHANGE)
    config = parse_config(["--resume", str(run), "--dry_run", *(word for key, value in flags.items() for word in (f"--{key}", value))])
    assert (config.iterations, config.checkpoint.path, str(config.cluster.samplers), config.dry_run) == (30, "mock://elsewhere", "2..7", True)
    assert config.seed == 3


@pytest.mark.parametrize(
    "flags, change",
    [
        ("--learning_rate 1e-3", "optimizer.learning_rate 0.0002 -> 0.001;"),
        ("--seed 4 --group_size 4", "seed 3 -> 4, rollout.group_size 16 -> 4;"),
        ("--reward.components.calm.weight 0.5", "reward.components.calm.weight null -> 0.5;"),
        ("--cluster.sampler_cpus 2", "cluster.sampler_cpus 1 -> 2;"),
        ("--cluster.precision bf16", 'cluster.precision "fp32" -> "bf16";'),
        ("--cluster.max_staleness 1", "cluster.max_staleness 0 -> 1;"),
        ("--cluster.gpus_per_actor 0", "cluster.gpus_per_actor null -> 0.0;"),
        ("--tracking.uri sqlite:///other.db", 'tracking.uri null -> "sqlite:///other.db";'),
    ],
)
def test_what_may_change_a_result_is_refused_with_both_values(run, flags, change):
    message = refused("--resume", run, "--cluster.samplers", 4, *flags.split())
    assert message.startswith(f"resume: {run}/config.yaml says otherwise of {change} only iterations, ")
    assert message.endswith(f"only {MAY_CHANGE_IN_WORDS} may change")


def test_a_change_in_a_file_is_refused_as_in_a_flag(run, tmp_path):
    (tmp_path / "other.yaml").write_text("seed: 4\n")
    assert "seed 3 -> 4;" in refused("--resume", run, "--config", tmp_path / "other.yaml")


def test_a_folder_that_moved_is_the_run_still(run, tmp_path):
    run.rename(tmp_path / "moved")
    assert parse_config(["--resume", str(tmp_path / "moved")]).run_dir == str(tmp_path / "moved")


def test_another_run_dir_is_refused(run, tmp_path):
    assert refused("--resume", run, "--run_dir", tmp_path).startswith(f"run_dir: found {tmp_path}, expected none beside --resume {run}")


def test_a_folder_that_is_no_run_is_refused(tmp_path):
    for path in (tmp_path, tmp_path / "nowhere"):
        assert refused("--resume", path) == f"resume: {path} is no run folder (it has no config.yaml)"
    assert "unknown flag --resume" in str(pytest.raises(InputError, parse_config, ["--resume", "x"], kind=EvaluateConfig).value)


@pytest.mark.parametrize(
    "said, message",
    [
        (None, "has run folder format none, expected 3: only an earlier version of this project can go on with it"),
        ({"format": FORMAT + 1}, "has run folder format 4, expected 3: only a later version of this project can go on with it"),
        ({"format": "old"}, "has run folder format old, expected 3: only an earlier version of this project can go on with it"),
        ([], "/run.json: expected the format of the run folder, and who began it"),
        ({}, "/run.json: expected the format of the run folder, and who began it"),
    ],
)
def test_a_folder_of_another_version_is_refused_by_name(run, said, message):
    (run / "run.json").unlink() if said is None else (run / "run.json").write_text(json.dumps(said))
    between = "" if message.startswith("/") else " "
    assert refused("--resume", run) == f"resume: {run}{between}{message}"


def test_damaged_settings_are_one_line(run):
    (run / "config.yaml").write_text("seed: [")
    assert refused("--resume", run).startswith(f"{run}/config.yaml: line ")


def test_no_file_makes_a_run_resume(run, tmp_path):
    config = parse_config(["--resume", str(run), "--iterations", "30"])
    write_config(config, run / "config.yaml")
    assert yaml.safe_load((run / "config.yaml").read_text())["resume"] is None
    fresh = parse_config(["--config", str(run / "config.yaml"), "--run_dir", "other"])
    assert (fresh.resume, fresh.seed, fresh.iterations) == (None, 3, 30)
    assert parse_config(["--resume", str(run)]).iterations == 30
    (tmp_path / "sly.yaml").write_text(f"resume: {run}\n")
    assert "expected it as the flag --resume" in refused("--config", tmp_path / "sly.yaml")


def test_a_dry_run_is_not_carried_over(run):
    settings = yaml.safe_load((run / "config.yaml").read_text())
    (run / "config.yaml").write_text(yaml.safe_dump(settings | {"dry_run": True}))
    assert parse_config(["--resume", str(run)]).dry_run is False


@pytest.mark.parametrize(
    "done, wanted, summary, message",
    [
        (None, 20, None, "has no checkpoint, so there is nothing to go on from"),
        (12, 11, None, "iterations: found 11, expected at least the 12 that .* has done"),
        (20, 20, {"status": "finished", "iterations": 20}, "has finished its 20 iterations; nothing to do unless --iterations"),
        (20, 20, {"status": "finished"}, "summary.json: expected the summary of a run"),
    ],
)
def test_nothing_to_do_is_said(run, done, wanted, summary, message):
    if summary:
        (run / "summary.json").write_text(json.dumps(summary))
    with pytest.raises(InputError, match=message) as caught:
        require_work_left(run, done, wanted)
    assert re.fullmatch(r"[^\n]+", str(caught.value))


@pytest.mark.parametrize(
    "done, wanted, summary",
    [
        (12, 20, None),
        (20, 20, None),  # killed in its last evaluation
        (20, 20, {"status": "killed", "iterations": 20}),
        (20, 30, {"status": "finished", "iterations": 20}),
        (25, 30, {"status": "finished", "iterations": 20}),  # went on to 30 and was killed
    ],
)
def test_a_run_with_work_left_goes_on(run, done, wanted, summary):
    if summary:
        (run / "summary.json").write_text(json.dumps(summary))
    require_work_left(run, done, wanted)
    with pytest.raises(InputError, match=f"iterations: found {done - 1}, expected at least the {done}"):
        require_work_left(run, done, done - 1)
    (run / "summary.json").write_text(json.dumps({"status": "finished", "iterations": wanted}))
    with pytest.raises(InputError, match=f"has finished its {wanted} iterations"):
        require_work_left(run, done, wanted)


@pytest.mark.parametrize(
    "flags",
    [
        "--tracking.uri postgresql://me:sesame@host/db",
        "--tracking.uri postgresql://me:se/same@host/db",
        "--tracking.uri https://host/?a=1&password=sesame",
        "--checkpoint.path s3://key:sesame@bucket/run",
        "--reward.components.mine.path http://me:sesame@host/score",
        "--reward.components.mine.path my:Reward --reward.components.mine.url http://:sesame@host",
        "--reward.components.mine.path my:Reward --reward.components.mine.deep [http://me:sesame@host]",
    ],
)
def test_credentials_in_a_setting_are_refused_and_not_shown(flags):
    message = refused(*flags.split())
    key = re.search(r"(\S+) [^-]\S+$", flags)[1].removeprefix("--")
    assert message.removeprefix("--").startswith(key) and "expected them in the environment" in message
    assert "sesame" not in message and "same@" not in message and "***" in message


@pytest.mark.parametrize("uri", ["http://host:5000/path@x", "https://me@host/", "s3://bucket/a:b", "abfs://box@account/x", "http://h/?q=a:b@c"])
def test_addresses_without_credentials_are_settings(uri):
    assert parse_config(["--tracking.uri", uri]).tracking.uri == uri
