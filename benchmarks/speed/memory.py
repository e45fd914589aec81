"""f: what a group's gradient needs of memory, each measurement in a process of its own: `python -m benchmarks.speed.memory GROUP STEPS FRAMES GROUPS`."""

import json
import subprocess
import sys
from pathlib import Path

import torch

from benchmarks.speed.models import demo
from learner.config.settings import Objective, Optimizer
from learner.learner import Learner
from learner.tally import ScoredGroup


def peak_mb() -> float:
    """Of this program alone: the peak that `getrusage` knows begins with that of the process which started it."""
    return int(next(line.split()[1] for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))) / 1024


def measured(group: int, steps: int, frames: int, groups: int) -> float:
    """Peak MB above what the process held with its model loaded."""
    import dataclasses

    torch.set_num_threads(1)
    size = demo()
    size = dataclasses.replace(size, model=size.model.replace(frames=frames), group=group, trained_steps=steps)
    policy = size.policy()
    learner = Learner(policy, Objective(), Optimizer())
    before = peak_mb()
    made = [policy.sample(request) for request in size.requests(groups)]
    learner.update([ScoredGroup(each, torch.linspace(0, 1, group).numpy()) for each in made])
    return peak_mb() - before


def growth() -> dict[str, float]:
    """MB by "group x steps x frames x groups": one of each doubled."""
    found = {}
    for case in ((16, 5, 40, 1), (32, 5, 40, 1), (16, 7, 40, 1), (16, 5, 58, 1), (16, 5, 40, 4)):
        done = subprocess.run([sys.executable, "-m", "benchmarks.speed.memory", *map(str, case)], capture_output=True, text=True, check=True)
        found[" x ".join(map(str, case))] = json.loads(done.stdout)
    return found


if __name__ == "__main__":
    print(json.dumps(measured(*map(int, sys.argv[1:]))))
