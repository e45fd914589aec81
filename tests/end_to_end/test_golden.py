"""Golden digests: what the tiny configuration and the shipped demo compute, to the last bit, on the machines it was recorded on.

What should not change a result changes none of these. `GOLDEN=record` in the environment records this machine's instead;
a commit that does so says why they moved.
"""

import hashlib
import json
import os
from pathlib import Path

import pytest

from rollout.io.machine import cpu_kind
from rollout.policy import arrays_digest

RECORDED = Path(__file__).with_name("golden.json")


def outcome(run) -> dict:
    """The adapter, every metric that is not a time, and the first rollout: what was sampled, and what became of it."""
    assert run.done.returncode == 0, run.done.stderr
    rows = run.rollouts[0]
    numbers = [[row["reward"], row["advantage"], row["components"], row["log_probs"].tolist()] for row in rows]
    return {
        "adapter": run.summary["adapter_sha256"],
        "metrics": [{name: value for name, value in row.items() if not name.startswith("seconds_")} for row in run.metrics],
        "numbers": hashlib.sha256(json.dumps(numbers, sort_keys=True).encode()).hexdigest(),
        "motions": arrays_digest({str(i): row["motion"] for i, row in enumerate(rows)}),
    }


@pytest.fixture(scope="module")
def demo(train_shipped):
    """The shipped demo's first two iterations, with a short evaluation and one sampler."""
    return train_shipped("golden", "--iterations", 2, "--cluster.samplers", 1, "--evaluate.prompts", 4, "--evaluate.samples_per_prompt", 2)


def test_the_demo_is_judged_by_its_joints_and_beside_choosing_too(demo):
    heldout, chosen = demo.summary["heldout"], demo.summary["best_of_base"]
    assert all(0 < heldout["judge_joints"][when] < 1 for when in ("before", "after")) and "ci95" in heldout["judge_joints"]["gain"]
    assert heldout["fid_unit"] == {"before": "too few motions", "after": "too few motions"}
    assert chosen.keys() == {"samples", "reward", "judge", "judge_joints"} and chosen["samples"] == 2
    assert chosen["reward"]["before"]["mean"] > heldout["reward"]["before"]["mean"]
    assert "beside best of 2 of the base: judge_joints" in demo.done.stdout


@pytest.mark.parametrize("name", ["first", "demo"])
def test_the_result_is_what_was_recorded(name, request):
    recorded = json.loads(RECORDED.read_text())
    if os.environ.get("GOLDEN") != "record" and cpu_kind() not in recorded:
        pytest.skip(f"golden digests were recorded on {' and '.join(sorted(recorded)) or 'no machine'}; this is {cpu_kind()}")
    found = outcome(request.getfixturevalue(name))
    if os.environ.get("GOLDEN") == "record":
        recorded.setdefault(cpu_kind(), {})[name] = found
        RECORDED.write_text(json.dumps(recorded, indent=1, sort_keys=True) + "\n")
    assert found == recorded[cpu_kind()][name]
