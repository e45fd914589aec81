"""A run and the terminal it was started from: one that is closed stops the run as SIGTERM does, and under nohup nothing does."""

import json
import os
import pty
import re
import signal
import subprocess

from tests.end_to_end.conftest import ROOT, wait_for
from tests.processes import processes_of


def test_a_terminal_that_is_closed_saves_the_run(command, runs, environment, ray_folder):
    folder, mine = runs / "hung_up", ray_folder / "hung_up"
    words = command("--run_dir", folder, "--iterations", 100_000, "--cluster.samplers", 1)
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(ROOT)
        os.execvpe(words[0], words, {**environment, "RAY_TMPDIR": str(mine), "TERM": "xterm"})
    shown = b""
    while not re.search(rb"iteration [1-9]\d*/100000", shown):  # a live view may have left out the first
        shown += os.read(terminal, 65536)
    assert b"\x1b[" in shown  # it was a live view
    os.close(terminal)
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 75
    wait_for(lambda: not processes_of(mine))
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["status"] == "killed" and summary["iterations"] >= 1
    assert (folder / "log.txt").read_text().splitlines()[-2].startswith(f"results in {folder}")


def test_a_run_under_nohup_outlives_terminal_pipe_and_disk(command, runs, environment, head):
    folder = runs / "nohup"
    with open("/dev/full", "w") as full:
        process = subprocess.Popen(
            ["nohup", *command("--run_dir", folder)], cwd=ROOT, env={**head.joined(environment), "PYTHONUNBUFFERED": "1"},
            stdout=subprocess.PIPE, stderr=full, text=True,
        )  # fmt: skip
    assert process.stdout.readline() == "starting Ray\n"
    process.stdout.close()
    wait_for(lambda: (folder / "metrics.jsonl").exists())
    process.send_signal(signal.SIGHUP)
    assert process.wait(240) == 0
    lines = (folder / "log.txt").read_text().splitlines()
    assert lines[0] == "starting Ray" and "run finished" in lines[-3] and len([line for line in lines if line.startswith("iteration")]) == 2
