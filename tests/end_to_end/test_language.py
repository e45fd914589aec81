"""The language family goes through the loop of motion as it is: any number of samplers, killed and resumed, one rollout ahead."""

import dataclasses
import json
import subprocess
import sys

import numpy as np
import pytest

from learner.main import main
from learner.report.meanings import OTHER, meaning_of
from rollout.language.record import COLUMNS
from rollout.record import read_rollout
from tests.end_to_end.conftest import ROOT, Run
from tests.tiny_language import picture, write_checkpoint

ROWS = {"train": ["what is it", "who is there", "how many"], "heldout": ["where is it", "when was it"]}


@dataclasses.dataclass(frozen=True)
class LanguageRun(Run):
    @property
    def rollouts(self):
        return [read_rollout(path, COLUMNS) for path in sorted((self.folder / "rollouts").iterdir())]


@pytest.fixture(scope="module")
def flags(tmp_path_factory):
    folder = tmp_path_factory.mktemp("language")
    write_checkpoint(folder / "model")
    for name, problems in ROWS.items():
        rows = []
        for i, problem in enumerate(problems):
            picture(10 * len(name) + i).save(folder / f"{name}{i}.png")
            rows.append({"problem": problem, "problem_type": "free-form", "data_type": "image", "path": f"{name}{i}.png", "solution": "<answer>x</answer>"})
        (folder / f"{name}.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return [
        "--family", "language", "--iterations", "4", "--model.path", folder / "model", "--rollout.prompts", folder / "train.jsonl",
        "--evaluate.heldout", folder / "heldout.jsonl", "--rollout.prompts_per_iteration", "3", "--rollout.group_size", "4",
        "--rollout.max_new_tokens", "12", "--lora.r", "4", "--optimizer.learning_rate", "0.01",
        "--reward.components.letters.path", "tests.language_rewards:Letters", "--evaluate.prompts", "2", "--evaluate.samples_per_prompt", "2",
    ]  # fmt: skip


@pytest.fixture(scope="module")
def words(flags, runs):
    return lambda name, samplers: [*flags, "--run_dir", runs / name, "--cluster.samplers", samplers, "--cluster.max_staleness", 1]


@pytest.fixture(scope="module")
def one(words, runs, head):
    return LanguageRun(runs / "language1", head.run(main, *words("language1", 1)))


def same(run):
    return [{name: value for name, value in row.items() if not name.startswith("seconds_")} for row in run.metrics]


def alike(run, other):
    assert run.done.returncode == other.done.returncode == 0, run.done.stderr + other.done.stderr
    assert same(run) == same(other) and run.summary["adapter_sha256"] == other.summary["adapter_sha256"]
    for rows, others in zip(run.rollouts, other.rollouts, strict=True):
        for row, another in zip(rows, others, strict=True):
            for name in row:
                np.testing.assert_array_equal(row[name], another[name])


def test_a_run_of_answers_is_exact_and_leaves_what_a_person_can_read(one):
    assert one.done.returncode == 0, one.done.stderr
    assert one.summary["max_log_prob_gap"] == 0 and one.metrics[0]["mean_ratio"] == 1 and [row["staleness"] for row in one.metrics] == [0, 1, 1, 1]
    assert [name for name in {**one.metrics[0], **one.metrics[-1]} if meaning_of(name) is OTHER] == ["iteration"]
    assert all(row["grad_norm"] > 0 and 0 < row["max_decode_gap"] < 1e-4 and "truncated_fraction" in row for row in one.metrics)
    (row, *_), *_ = one.rollouts
    assert row["token_ids"].shape == row["log_probs"][: row["length"]].shape and isinstance(row["text"], str)
    assert "what" in (one.folder / "before_after.html").read_text() or "when" in (one.folder / "before_after.html").read_text()
    assert (one.folder / "before_after_1.png").is_file() and (one.folder / "adapter" / "adapter_model.safetensors").is_file()


def test_three_samplers_whose_run_was_killed_make_the_same_run(one, words, runs, environment, head):
    folder, full = runs / "language3", {**head.joined(environment), "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
    process = subprocess.Popen(
        [sys.executable, "-m", "learner.main", *map(str, words("language3", 3))], cwd=ROOT, env=full, stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    for line in process.stdout:
        if line.startswith("iteration 2/"):
            process.kill()
    process.wait(240)
    killed = LanguageRun(folder, head.run(main, "--resume", folder))
    alike(killed, one)
    assert killed.summary["resumed_at"] is not None and killed.summary["samplers"] == 3
