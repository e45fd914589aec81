"""What the driver prepares is the same to the last bit on one visible core and on all of them."""

import os
import shutil
import subprocess
import sys

import pytest

from tests.test_names import ROOT

PLAN = """
import torch
from learner.config.parse import parse_config
from learner.run.plan import Plan
from rollout.policy import arrays_digest

threads, plan = torch.get_num_threads(), Plan.make(parse_config(["--iterations", "1"]))
print(threads)
print([conditioning.digest for conditioning in [*plan.training.values(), *plan.heldout]])
for name, known in plan.shared.items():
    print(name, len(known), arrays_digest({str(caption): embedding for caption, embedding in known.items()}))
"""


@pytest.mark.skipif(not shutil.which("taskset") or os.cpu_count() < 2, reason="no two cores of which one can be hidden")
def test_prompts_are_encoded_and_embedded_alike_on_one_core_and_on_all():
    free = {name: value for name, value in os.environ.items() if name not in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")}
    words = [sys.executable, "-c", PLAN]
    started = [subprocess.Popen([*before, *words], cwd=ROOT, env=free, stdout=subprocess.PIPE, text=True) for before in ([], ["taskset", "-c", "0"])]
    (on_all, *told), (on_one, *others) = (process.communicate(timeout=120)[0].splitlines() for process in started)
    assert int(on_all) > int(on_one) == 1
    assert len(told) == 4 and told == others
