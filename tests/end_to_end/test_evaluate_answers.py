"""Whole evaluations of answers: every number follows from the answers that are kept, whoever made them, and a stop leaves finished rows."""

import json
import math
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from mlflow import MlflowClient
from PIL import Image

from learner.config.parse import parse_config
from learner.evaluate.__main__ import main
from learner.evaluate.family import settings_of
from tests.end_to_end.conftest import DEADLINE_S, ROOT, wait_for
from tests.rewards.language.rows import whole
from tests.tiny_language import INSIDE, LEFT_OF_IT, make_policy, noisy_adapter, picture, write_scene, write_speaking

POINTS = {(): 0.5, tuple(LEFT_OF_IT): 800 / 1200, tuple(INSIDE): 0.0}  # what one negative makes of a scene's IoU
PHRASES = [whole("A"), whole("B"), whole("Yes"), *(f'<answer>{{"negative_points": {[list(at)] if at else []}}}</answer>' for at in POINTS)]


def row_of(number: int, kind: str, answer: str) -> dict:
    return {"problem": f"what is {number}", "problem_type": kind, "data_type": "image", "path": f"{number}.png", "answer": answer}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A model that answers with one of PHRASES, whatever it is asked; the adapters `zero` and `tuned`; items, of which one has a picture
    that is broken and one a truth that is none; and general ones."""
    folder = tmp_path_factory.mktemp("answers")
    write_speaking(folder / "model", PHRASES, seed=3)  # whose base names no point of a scene, and whose tuned one a wrong one
    policy = make_policy(folder / "model")
    policy.save_adapter(folder / "zero" / "adapter")
    policy.load_adapter(noisy_adapter(policy, scale=0.2))
    policy.save_adapter(folder / "tuned" / "adapter")
    for number in range(13):
        picture(number).save(folder / f"{number}.png")
    (folder / "4.png").write_bytes(b"no picture")
    own = [row_of(number, "multiple choice", "AB"[number % 2]) for number in range(6)]
    own += [row_of(6, "judge", "Yes"), row_of(7, "judge", "No"), row_of(8, "numerical", "ten")]
    own += [write_scene(folder, name) for name in ("one", "two", "three")]
    for name, rows in (("items", own), ("general", [row_of(number, "multiple choice", "A") for number in range(9, 13)])):
        (folder / f"{name}.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return folder


@pytest.fixture(scope="module")
def words(place, runs):
    def words(name: str, adapters: tuple[str, ...], *flags) -> list[str]:
        given = [word for each in adapters for word in ("--adapter", place / each / "adapter")]
        files = ["--model.path", place / "model", "--data", place / "items.jsonl", "--general", place / "general.jsonl"]
        return list(map(str, ["--family", "language", *files, "--max_new_tokens", 1, "--out", runs / name, *given, *flags]))

    return words


@pytest.fixture(scope="module")
def evaluated(words, runs, head):
    """Folder, and what was printed."""
    done = head.run(main, *words("answers2", ("tuned", "zero"), "--cluster.samplers", 2, "--batch", 3))
    assert (done.returncode, done.stderr) == (0, "")
    return runs / "answers2", done.stdout


def content(folder: Path) -> dict:
    return json.loads((folder / "evaluation.json").read_text())


def rows(folder: Path) -> dict[str, dict]:
    return {row["name"]: row for row in content(folder)["rows"]}


def lines(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "answers.jsonl").read_text().splitlines()]


def said(text: str) -> str | None:
    found = re.search("<answer>(.*?)</answer>", text)
    return found and found[1]


def accuracy(line: dict, text: str) -> float | None:
    truth = said(line["solution"])
    return {"multiple choice": said(text) == truth, "judge": said(text) == truth}.get(line["problem_type"])


def iou(line: dict, text: str) -> float | None:
    try:
        points = json.loads(said(text))["negative_points"] if line["problem_type"] == "segmentation" else None
    except ValueError:
        return None
    return None if points is None else POINTS[tuple(points[0]) if points else ()]


def mean(values) -> float:
    return float(np.mean([value for value in values if value is not None]))


def test_every_number_follows_from_the_answers_that_are_kept(evaluated):
    folder, _ = evaluated
    answers = lines(folder)
    asked = [*(("data", n) for n in range(1, 13) if n != 5), *(("general", n) for n in range(1, 5))]
    assert [(line["set"], line["item"]) for line in answers] == asked
    found = rows(folder)
    assert list(found) == ["base", "tuned", "zero"]
    assert len({line["rows"][name]["answer"] for line in answers for name in found}) >= 3  # or nothing below says much
    for name, row in found.items():
        for part, told in (("data", row), ("general", row["general"])):
            own = [line for line in answers if line["set"] == part]
            assert told["metrics"]["accuracy"]["mean"] == pytest.approx(mean(accuracy(line, line["rows"][name]["answer"]) for line in own))
            for kind in ("multiple choice", "judge") if part == "data" else ("multiple choice",):
                expected = mean(accuracy(line, line["rows"][name]["answer"]) for line in own if line["problem_type"] == kind)
                assert told["by_type"][kind]["accuracy"]["mean"] == pytest.approx(expected)
        own = [line for line in answers if line["set"] == "data"]
        values = [iou(line, line["rows"][name]["answer"]) for line in own]
        assert row["metrics"]["mean_iou"]["mean"] == pytest.approx(mean(values)) == {"base": 0.5, "zero": 0.5, "tuned": 0.0}[name]
        assert row["metrics"]["iou_gain"]["mean"] == pytest.approx(mean(values) - 0.5) and row["metrics"]["iou_gain"]["n"] == 3
        assert row["metrics"]["parsed_rate"]["mean"] == 1
        assert row["failed"] == 1 and "'ten' is no number" in next(iter(row["failures"]))
        assert any(note.startswith(f"{name}: 1 answers could not be scored, the first to ") for note in content(folder)["notes"])
        official = json.loads((folder / f"intentbench_{name}.json").read_text())
        assert official["final_acc"][0]["mean_acc"] == pytest.approx(row["metrics"]["accuracy_intentbench"]["mean"])
        assert len(official["results"]) == row["metrics"]["accuracy_intentbench"]["n"] == 8


def test_an_adapter_of_zeros_changes_nothing_and_another_is_compared_item_by_item(evaluated):
    folder, _ = evaluated
    found = rows(folder)
    changes = {metric: value["change"]["mean"] for metric, value in found["zero"]["metrics"].items() if "change" in value}
    assert {*changes.values()} == {0} and len(changes) >= 6 and "change" not in found["base"]["metrics"]["accuracy"]
    differences = [
        accuracy(line, line["rows"]["tuned"]["answer"]) - accuracy(line, line["rows"]["base"]["answer"])
        for line in lines(folder) if line["set"] == "data" and accuracy(line, "") is not None
    ]  # fmt: skip
    change = found["tuned"]["metrics"]["accuracy"]["change"]
    assert change["mean"] == pytest.approx(np.mean(differences)) and change["n"] == len(differences) == 7
    assert change["ci95"] == pytest.approx(2.4469 * np.std(differences, ddof=1) / math.sqrt(7), rel=1e-3)
    assert any(line["rows"]["base"]["answer"] != line["rows"]["tuned"]["answer"] for line in lines(folder))


def test_what_it_leaves_behind(evaluated, runs):
    folder, printed = evaluated
    kept = {"answers.jsonl", "config.yaml", "evaluation.json", "evaluation.png", "table.md"}
    assert {path.name for path in folder.iterdir()} == kept | {f"intentbench_{name}.json" for name in ("base", "tuned", "zero")}
    for line in (folder / "table.md").read_text().splitlines():
        assert line.removeprefix("* ") in printed
    assert all(words in printed for words in ("| general accuracy ↑ |", "change to base", "accuracy by type", "it is not SAM"))
    told = content(folder)
    assert (told["status"], told["greedy"], told["answers_per_item"], told["items"]) == ("finished", True, 1, 11)
    (skipped,) = told["skipped"]
    assert "items.jsonl, line 5" in skipped and "4.png" in skipped and any(note.startswith("skipped 1 ") for note in told["notes"])
    assert Image.open(folder / "evaluation.png").size[0] > 1000
    config = parse_config(["--config", str(folder / "config.yaml")], settings_of)
    assert (config.family, config.batch, config.cluster.samplers.plain, len(config.adapter)) == ("language", 3, 2, 2)
    client = MlflowClient(f"sqlite:///{runs / 'mlflow.db'}")
    found = client.search_runs([experiment.experiment_id for experiment in client.search_experiments()])
    (run,) = [each for each in found if each.info.run_name == "answers2"]
    metrics = rows(folder)["tuned"]
    assert run.info.status == "FINISHED" and run.data.metrics["tuned/accuracy"] == pytest.approx(metrics["metrics"]["accuracy"]["mean"])
    assert run.data.metrics["tuned/general_accuracy"] == pytest.approx(metrics["general"]["metrics"]["accuracy"]["mean"])


def test_a_stopped_evaluation_keeps_its_finished_rows_and_one_sampler_makes_the_same_answers(evaluated, words, runs, environment, head):
    slow = ["--reward.components.slow.path", "tests.language_rewards:Slow"]
    command = [sys.executable, "-m", "learner.evaluate", *words("stopped_answers", ("tuned",), "--cluster.samplers", 1, "--batch", 3, *slow)]
    process = subprocess.Popen(command, cwd=ROOT, env=head.joined(environment), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        wait_for(lambda: (runs / "stopped_answers" / "evaluation.json").exists() or process.poll() is not None)
        process.send_signal(signal.SIGTERM)
        _, stderr = process.communicate(timeout=DEADLINE_S)
    finally:
        process.kill()
    assert (process.returncode, stderr) == (143, "")
    found = content(runs / "stopped_answers")
    assert found["status"] == "killed" and [row["name"] for row in found["rows"]] == ["base"]
    assert found["rows"][0]["metrics"].keys() - rows(evaluated[0])["base"]["metrics"].keys() == {"slow"}
    for line, other in zip(lines(runs / "stopped_answers"), lines(evaluated[0]), strict=True):
        assert line["rows"]["base"].items() >= other["rows"]["base"].items()
