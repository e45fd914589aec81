"""What is only asked or mistyped is answered at once: no command imports the heavy libraries before its settings are good."""

import json
import subprocess
import sys
from importlib import metadata

import pytest

HEAVY = "torch ray peft mlflow transformers matplotlib pyarrow scipy sqlalchemy PIL rich".split()
RUN = (
    "import json, runpy, sys\n"
    "command = sys.argv.pop(1)\n"
    "try:\n    runpy.run_module(command, run_name='__main__', alter_sys=True)\n"
    f"finally:\n    print(json.dumps([name for name in {HEAVY} if name in sys.modules]))"
)
# A value that is wrong of its own, for each command.
COMMANDS = {
    "learner.main": ["--optimizer.learning_rate", "-1"],
    "learner.evaluate": ["--samples", "1"],
    "learner.diagnose": ["run", "--out"],
    "learner.pretrain": ["--data", "x", "--parts", "hands"],
    "rollout.sample": ["--prompts", "x", "--out", "y", "--samples", "0"],
    "rollout.export": ["--adapter", "a", "--out", "."],
    "rewards.inspect": ["motions", "--reward.components.it.path", "beauty"],
}


def ran(command: str, *flags: str) -> tuple[int, str, list[str]]:
    """Exit status and stderr of a command, and which of HEAVY it imported."""
    done = subprocess.run([sys.executable, "-c", RUN, command, *flags], capture_output=True, text=True)
    return done.returncode, done.stderr, json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("command", COMMANDS)
def test_help_imports_nothing_heavy(command):
    assert ran(command, "--help") == (0, "", [])


@pytest.mark.parametrize("command", ["learner.main", "cluster.launch"])
def test_every_command_says_its_version(command):
    done = subprocess.run([sys.executable, "-m", command, "--version"], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"motion-grpo {metadata.version('motion-grpo')}\n", "")


@pytest.mark.parametrize("command", ["learner.main", "learner.evaluate"])
def test_help_of_the_other_family_does_not_either(command):
    assert ran(command, "--family", "language", "--help") == (0, "", [])
    assert ran(command, "--family", "language", "--model.frames", "0") == (2, "error: --model.frames: found 0, expected at least 1\n", [])


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("what", ["an unknown flag", "a wrong value"])
def test_a_mistake_imports_nothing_heavy(command, what):
    status, stderr, imported = ran(command, *COMMANDS[command], *(["--colour", "red"] if what == "an unknown flag" else []))
    assert (status, imported) == (2, [])
    assert stderr.startswith("error: ") and stderr.count("\n") == 1


LOADED = """
import sys
import numpy as np
from learner.learner import Learner
from learner.config.parse import parse_config
from rewards.family import rewards_of
from cluster.device import compute_exactly
from rollout.family import family
compute_exactly(gpu=False)
config = parse_config([])
policy = family("motion").build(config)("cpu")
rewards_of("motion").load(config, "cpu", None)
learner = Learner(policy, config.objective, config.optimizer)
learner.step([np.ones(sum(parameter.numel() for parameter in policy.parameters()), np.float32)], first=True)
print([name for name in ("sympy", "torch._dynamo") if name in sys.modules])
"""


def test_an_actor_that_reads_weights_and_a_learner_that_steps_do_not_import_the_compiler():
    """More than a second of every process. Checking names and shapes asks torch for nothing but shapes."""
    done = subprocess.run([sys.executable, "-c", LOADED], capture_output=True, text=True)
    assert done.stdout == "[]\n", done.stderr
