"""`make docs-check`: the commands of README and the pages are run, in order, on what ships or on small files where a reader has larger ones.

Training is planned only (`--dry_run`); one short run of the demo stands for every run that a page names. Evaluations are small, benchmarks
and what wants a cluster say their help (tests/end_to_end/test_launch.py runs the latter), a page that is served is written instead.
"""

import json
import re
import shutil
import subprocess
import sys

import pytest

from tests import tiny
from tests.end_to_end.test_recipes import checkout  # noqa: F401
from tests.test_docs import PAGES, ROOT, commands

ONLY_THE_READERS = {"Qwen2.5-VL-7B": "a released checkpoint", "IntentBench/qa.json": "IntentBench's videos"}
SHORT = {
    "learner.main": ["--dry_run"],
    "learner.evaluate": ["--samples", "320", "--replications", "2", "--multimodality", "0"],
    "learner.pretrain": ["--help"],
}
ROW = {"problem": "q", "problem_type": "multiple choice", "data_type": "image", "path": "x", "solution": "<answer>A</answer>", "completion": "A"}
COMMANDS = [(page, module, words) for page in PAGES for module, words in commands(page) if module != "venv"]


def run(words, folder, environment=None, well=(0,)) -> None:
    done = subprocess.run([sys.executable, "-m", *words], cwd=folder, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode in well, f"{' '.join(words)}\n{done.stdout[-2000:]}{done.stderr[-2000:]}"


@pytest.fixture(scope="module")
def world(checkout, environment):  # noqa: F811
    """An MDM checkout with a run of the demo in it under every name that a page gives one, and what else a page takes for granted."""
    flags = ["--iterations", "1", "--evaluate.prompts", "8", "--evaluate.samples_per_prompt", "2", "--rollout.prompts_per_iteration", "2"]
    run(["learner.main", *flags, "--run_dir", str(checkout / "RUN")], ROOT, environment)
    for name in ("seed0", "seed1", "seed2", "20261120T210000Z-seed0"):
        shutil.copytree(checkout / "RUN", checkout / "runs" / name)
    official = tiny.make_policy(checkout / "save/humanml_enc_512_50steps")
    official.save_adapter(checkout / "OFFICIAL" / "adapter")
    tiny.write_prompts(checkout / "prompts.txt", ["a person walks forward", "a person jumps"])
    tiny.write_motions(checkout / "dataset/HumanML3D")  # as many as an evaluation asks for
    tiny.write_prompts(checkout / "heldout.txt", tiny.HELDOUT)
    (checkout / "my.yaml").write_text("iterations: 2\n")
    (checkout / "metrics.json").write_text(json.dumps([{"iteration": i, "reward_mean": 0.1 * i, "loss": 0.0} for i in range(3)]))
    (checkout / "votes.json").write_text(json.dumps({"format": 2, "adapters": {}, "votes": []}))
    for name in ("ROWS.jsonl", "answers.jsonl"):
        (checkout / name).write_text(f"{json.dumps(ROW)}\n")
    home = checkout.parent
    (home / "HumanML3D").symlink_to(checkout / "dataset/HumanML3D")
    shutil.copytree(checkout / "save/humanml_enc_512_50steps", checkout / "save/humanml_trans_enc_512")
    return checkout, {**environment, "HOME": str(home), "PYTHONPATH": str(ROOT)}


@pytest.mark.parametrize("page, module, words", COMMANDS, ids=lambda value: getattr(value, "name", None) or str(value)[:90])
@pytest.mark.timeout(700)
def test_it_runs(world, page, module, words):
    folder, environment = world
    for file, what in ONLY_THE_READERS.items():
        if file in words:
            pytest.skip(f"reads {what}")
    blocks = re.findall(r"```python\n(.*?)```", page.read_text(), re.S)
    blocks += re.findall(r"```python\n(.*?)```", (ROOT / "docs/rewards.md").read_text(), re.S)
    (folder / "my_reward.py").write_text(next(block for block in blocks if "class RaisedHands" in block))
    official = any("save/" in word for word in words)
    names = {"runs/...": "RUN", "runs/first": "RUN", "DIR": "save/humanml_enc_512_50steps"}
    names |= {f"runs/{name}/adapter": f"{'OFFICIAL' if official else 'RUN'}/adapter" for name in ("...", "first", "mdm50")}
    words = [names.get(word, word).replace("~", str(folder.parent)) for word in words if word != "--serve"]
    if page.name == "original.md" and official:  # the small evaluator knows few words
        words += ["--rollout.prompts", "prompts.txt", "--evaluate.heldout", "heldout.txt"]
    if module.startswith("benchmarks") or module == "cluster.launch" and not {"--slurm", "--kuberay"} & {*words}:
        words = ["--help"]
    elif module == "learner.main" and "--resume" in words:
        words += ["--iterations", "2"]
    if module in SHORT and "--help" not in words:
        words += [word for word in SHORT[module] if word not in words]
    if module == "learner.evaluate" and "--family" in words:
        pytest.skip("an evaluation of answers reads an adapter of such a run: tests/end_to_end/test_evaluate_answers.py has one")
    for made in ("out", "exported"):
        if module.startswith("rollout."):
            shutil.rmtree(folder / made, ignore_errors=True)
    if official and module == "learner.evaluate":
        words = [("12" if before == "--model.frames" else word) for before, word in zip(["", *words], words)]
    run([module, *words], folder, environment, (0, 1) if module == "rewards.inspect" else (0,))  # 1: it found faults
