"""What a person can get wrong ends in one clear line, exit code 2 and no run folder. And `--dry_run`."""

import shutil
from pathlib import Path

import pytest
import ray

from learner.main import main
from tests.tiny import TRAINING, write_prompts


@pytest.fixture
def own_config(tiny, tmp_path):
    """A config whose files a test may damage."""
    return tiny.write_run_config(tmp_path / "config")


def corrupt(path: Path, keep: int) -> None:
    path.write_bytes(path.read_bytes()[:keep])


def written(path: Path, texts: list[str]) -> str:
    return str(write_prompts(path, texts))


@pytest.mark.parametrize(
    "spoil, flags, message",
    [
        (lambda c: (c / "mdm" / "model000000123.pt").unlink(), [], "mdm: no modelNNNNNNNNN.pt found"),
        (lambda c: corrupt(c / "mdm" / "model000000123.pt", 9000), [], "model000000123.pt: not a readable weights file"),
        (lambda c: corrupt(c / "tmr" / "last_weights" / "motion_encoder.pt", 5000), [], "motion_encoder.pt: not a readable weights"),
        (lambda c: corrupt(c / "t2m" / "finest.tar", 5000), [], "finest.tar: not a readable weights file"),
        (lambda c: shutil.rmtree(c / "tmr"), [], "tmr/config.json: file not found"),
        (lambda c: (c / "run.yaml").write_text("rollout:\n  grop_size: 4\n"), [], "unknown key rollout.grop_size (did you mean rollout.group_size?)"),
        (lambda c: (c / "run.yaml").unlink(), [], "run.yaml not found"),
        (None, ["--model.path", "9" * 300], "9...: the name is too long for a file"),
        (None, ["--grop_size", "4"], "unknown flag --grop_size (did you mean --group_size?)"),
        (lambda c: written(c / "training.txt", []), [], "no prompts in"),
        (lambda c: (c / "training.txt").unlink(), [], "training.txt: prompt file not found"),
        (lambda c: written(c / "training.txt", [TRAINING[0], "zyzzyva qwerty"]), [], "'zyzzyva qwerty': none of its words is in the voc"),
        (lambda c: written(c / "heldout.txt", [TRAINING[1]]), [], "is a training prompt, such as 'a person walks left'"),
        (None, ["--group_size", "1"], "group_size: found 1, expected at least 2"),
        (None, ["--learning_rate", "-1e-4"], "learning_rate: found -1e-4, expected a number above 0"),
        (None, ["--reward_type", "combined"], "--reward_type: found 'combined', tmr has cosine, matching"),
        (None, ["--model.frames", "100"], "frames: found 100, the model has 99 positions"),
        (None, ["--run_dir", "/proc/none/run"], "run_dir: cannot write in /proc/none/run"),
    ],
    ids=lambda value: value.replace(" ", "_") if isinstance(value, str) else "",
)  # fmt: skip
def test_bad_input_is_one_line(own_config, tmp_path, capsys, spoil, flags, message):
    if spoil:
        spoil(own_config.parent)
    assert main(["--config", str(own_config), "--run_dir", str(tmp_path / "run"), *flags]) == 2
    stdout, stderr = capsys.readouterr()
    assert stdout == "" and stderr.startswith("error: ") and stderr.count("\n") == 1
    assert message in stderr
    assert not (tmp_path / "run").exists() and not ray.is_initialized()


def test_the_folder_of_another_run_is_left_alone(config_file, tmp_path, capsys):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "summary.json").write_text("theirs")
    assert main(["--config", str(config_file), "--run_dir", str(tmp_path / "run")]) == 2
    stderr = capsys.readouterr().err
    assert stderr == f"error: run_dir: {tmp_path / 'run'} is not empty, expected a new or empty folder (a run never shares one)\n"
    assert [(path.name, path.read_text()) for path in (tmp_path / "run").iterdir()] == [("summary.json", "theirs")]


def assert_one_line(run, message: str) -> None:
    assert run.done.returncode == 2
    assert run.done.stderr.startswith("error: ") and run.done.stderr.count("\n") == 1 and message in run.done.stderr
    assert not run.folder.exists()


def test_the_command_itself_says_it_too(train, tmp_path):
    prompts = written(tmp_path / "unknown.txt", ["zyzzyva qwerty"])
    assert_one_line(train("unknown", "--rollout.prompts", prompts), "none of its words is in the vocabulary")


def test_more_samplers_than_the_cluster_has_cpus(train, head):
    run = train("crowd", "--cluster.samplers", 4, head=head)
    assert_one_line(run, "cluster.samplers: 4 of 1 CPU each need 4 CPUs, the cluster has 3")
    assert run.done.stdout == "starting Ray\n"


def test_a_store_that_cannot_be_used_is_found_after_the_folder_was_made(train, head):
    assert_one_line(train("store", "--tracking.uri", "nonsense://x", head=head), "tracking.uri: cannot use the store nonsense://x")


def test_a_dry_run_says_what_would_run_and_starts_nothing(config_file, tmp_path, capsys):
    flags = ["--config", str(config_file), "--run_dir", str(tmp_path / "run"), "--dry_run", "--iterations", "30", "--evaluate.every", "7"]
    assert main(flags) == 0
    stdout, stderr = capsys.readouterr()
    assert stderr == ""
    lines = {line.split()[0]: line for line in stdout.splitlines()}
    assert list(lines) == ["model", "prompts", "iteration", "run", "memory", "dry"]
    assert "10 steps, 12 frames" in lines["model"] and lines["model"].endswith("passes in fp32")
    assert "4 for training (4 of them in this run), 2 held out" in lines["prompts"]
    assert "2 prompts x 4 samples" in lines["iteration"] and "30 iterations and two evaluations of 8 samples, 4 of 4 between:" in lines["run"]
    assert "nothing was started" in lines["dry"]
    assert not (tmp_path / "run").exists() and not ray.is_initialized()
