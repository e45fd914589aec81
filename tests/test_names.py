"""A module of the user by the name of one of our packages is told in one line, and not imported in its place."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
MINE = "raise SystemExit('the file of the user was run')\nclass Mine:\n    def __call__(self, motions): pass\n"
PATH = ["--reward.components.x.path", "rewards:Mine"]


def said(folder, *words):
    full = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    done = subprocess.run([sys.executable, "-m", *words], cwd=folder, env=full, capture_output=True, text=True, timeout=60)
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize("name", ["rewards.py", "rollout.py", "cluster.py", "rewards/__init__.py"])
@pytest.mark.parametrize("command", ["learner.main", "rewards.inspect", "rollout.sample", "learner.diagnose"])
def test_what_has_the_name_of_a_package_is_told(tmp_path, name, command):
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text(MINE)
    if name.startswith(command.partition(".")[0]):
        pytest.skip("Python itself looks for the command in the user's file")
    place = tmp_path / name.partition("/")[0]
    assert said(tmp_path, command, *PATH) == (2, "", f"error: {place} has the name of a package of this project and hides it; give it another\n")


def test_a_command_that_is_hidden_itself_is_told_by_python(tmp_path):
    (tmp_path / "learner.py").write_text("class Mine: pass\n")
    status, out, error = said(tmp_path, "learner.main")
    assert (status, out) == (1, "") and "'learner.main'" in error and error.count("\n") == 1


@pytest.mark.parametrize("name", ["my_rewards.py", "learner/notes.txt"])
def test_other_names_hide_nothing(tmp_path, name):
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text("")
    assert said(tmp_path, "learner.main", "--help")[0] == 0
