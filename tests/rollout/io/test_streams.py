"""A command whose standard output or error goes away does its work, ends with its own exit code, and says nothing else."""

import os
import pwd
import subprocess
import sys
from pathlib import Path

import pytest

from rollout.io.command import exit_code

CODE = """
import os
import sys
from rollout.io.command import exit_code
from rollout.io.errors import InputError

def run():
    for _ in range(10_000):
        print("a line of what it does", flush=True)
    print("spoken", file=sys.stderr, flush=True)
    with open(sys.argv[1], "w") as file:
        file.write("done")
        os.write(1, b"what a library says")
    if sys.argv[2] == "refused":
        raise InputError("no")
    return "finished"

sys.exit(exit_code(run))
"""


def command(tmp_path, ending="finished"):
    return [sys.executable, "-c", CODE, str(tmp_path / "done"), ending]


@pytest.mark.parametrize("ending, code", [("finished", 0), ("refused", 2)])
def test_a_pipe_that_closes_after_a_line(tmp_path, ending, code):
    with subprocess.Popen(command(tmp_path, ending), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "a line of what it does\n"
        process.stdout.close()
        errors = process.stderr.read()
    assert (process.returncode, errors) == (code, "spoken\n" + "error: no\n" * (code == 2))
    assert (tmp_path / "done").exists()


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="this system has no /dev/full")
def test_a_disk_that_is_full(tmp_path):
    with open("/dev/full", "w") as full:
        done = subprocess.run(command(tmp_path), stdout=full, stderr=full, timeout=60)
    assert done.returncode == 0 and (tmp_path / "done").exists()


def test_streams_that_were_closed_from_the_beginning(tmp_path):
    """Its file is then not the one that is printed to."""
    words = " ".join(f"'{word}'" for word in command(tmp_path, "refused"))
    assert subprocess.run(["sh", "-c", f"{words} >&- 2>&-"], timeout=60).returncode == 2
    assert (tmp_path / "done").read_text() == "done"


def test_a_user_without_home_or_entry_among_the_users_reads_the_help():
    code = "import pwd, runpy, sys\n\ndef nobody(uid):\n    raise KeyError(uid)\n\npwd.getpwuid = nobody\nsys.argv = ['main', '--help']\n"
    homeless = {name: value for name, value in os.environ.items() if name != "HOME"}
    words = [sys.executable, "-c", f"{code}runpy.run_module('learner.main', run_name='__main__')"]
    done = subprocess.run(words, env=homeless, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0 and "exit status" in done.stdout and "Traceback" not in done.stderr


def test_a_user_without_home_gets_one_while_the_command_runs(monkeypatch):
    monkeypatch.setenv("HOME", "/")  # which is put back
    monkeypatch.delenv("HOME")
    monkeypatch.setattr(pwd, "getpwuid", {}.__getitem__)  # nobody has an entry
    assert exit_code(lambda: str(Path.home().is_dir() and "finished")) == 0


def test_an_error_of_the_system_is_one_line(tmp_path):
    code = "import sys\nfrom rollout.io.command import exit_code\nsys.exit(exit_code(lambda: open('/dev/null/none').read()))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (1, "error: [Errno 20] Not a directory: '/dev/null/none'\n")
