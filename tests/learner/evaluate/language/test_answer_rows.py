"""What rows say of answers: every number equals the one worked out by hand, and the answers stand beside it."""

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load, save

from learner.evaluate.language.measures import Measured, Read, Reader
from learner.evaluate.language.plan import Question
from learner.evaluate.language.report import EvaluationReport, Row, table
from learner.evaluate.language.settings import EvaluateConfig
from rewards.language.settings import Reward
from rollout.language.items import Item, read_items
from rollout.policy import Conditioning
from tests.rewards.language.rows import whole
from tests.tiny_language import INSIDE, LEFT_OF_IT, write_scene

CHOICE, JUDGE, NUMBER, SET = "multiple choice", "judge", "regression", "emer_ov_mc"
# Type of problem, truth, answer of the base and of the tuned model, accuracy of both, official accuracy of both.
ASKED = [
    (CHOICE, "A", whole("A"), whole("A"), (1, 1), (1, 1)),
    (CHOICE, "B", whole("A"), whole("B"), (0, 1), (0, 1)),
    (CHOICE, "C", "C", whole("C"), (0, 1), (0, 1)),
    (JUDGE, "No", whole("I know: Yes"), whole("no"), (0, 1), (1, 1)),  # the published one finds "no" in "know"
    (JUDGE, "Yes", whole("Yes."), whole("No"), (1, 0), (1, 0)),
    (NUMBER, "10", whole("8"), whole("10"), (0.6, 1), (0.6, 1)),  # a fifth off: within 1 - t of .5, .55, ... .75
    (SET, "A, B", whole("A,B"), whole("B"), (1, 2 / 3), (0.5, 0)),  # the published one does not strip: " B" is not "B"
]
GENERAL = [(CHOICE, "A", whole("A"), whole("B")), (CHOICE, "B", whole("B"), whole("B"))]


def question(kind: str, truth: str, number: int, general: bool = False) -> Question:
    item = Item(f"question {number}", f"question {number}", kind, (), f"<answer>{truth}</answer>", source=f"file, row {number}")
    return Question(Conditioning(item, {}), general, number)


def points(text) -> str:
    return f"<answer>{json.dumps({'negative_points': text})}</answer>"


def read(questions, *texts, answers=1, **reward) -> Measured:
    outputs = np.array([[text, False] for text in texts], object)
    items = [each.item for each in questions for _ in range(answers)]
    return Measured.of([Reader(Reward(**reward), 5.0, ".", "cpu")(outputs, items)], answers)


def test_what_was_read_comes_back_from_its_file_as_it_was():
    values = {"accuracy": np.array([1, np.nan], np.float32), "truncated": np.zeros(2, np.float32)}
    first = Read(["so \ud800 \u00e4\0", ""], values, {1: "no judge answered"})
    again = Read.read(load(save(first.arrays())))
    assert (again.texts, again.failures) == (first.texts, first.failures) and list(again.values) == ["accuracy", "truncated"]
    for name, value in values.items():
        np.testing.assert_array_equal(again.values[name], value)


@pytest.fixture(scope="module")
def questions():
    own = [question(kind, truth, number) for number, (kind, truth, *_) in enumerate(ASKED, 1)]
    return [*own, *(question(kind, truth, number, True) for number, (kind, truth, *_) in enumerate(GENERAL, 1))]


@pytest.fixture(scope="module")
def rows(questions):
    texts = [[each[2 + row] for each in (*ASKED, *GENERAL)] for row in (0, 1)]
    base = Row("base", None, "ab", questions, read(questions, *texts[0]), None)
    return [base, Row("tuned", "runs/tuned/adapter", "cd", questions, read(questions, *texts[1]), base)]


def half_width(values) -> float:
    """Student's t, by the table: 6 degrees of freedom 2.447, 1 degree 12.706."""
    return {7: 2.4469, 2: 12.7062}[len(values)] * np.std(values, ddof=1) / np.sqrt(len(values))


@pytest.mark.parametrize("row", [0, 1])
def test_accuracy_and_the_official_one_are_those_worked_out_by_hand(rows, row):
    found = rows[row].parts["data"]["metrics"]
    for name, column in (("accuracy", 4), ("accuracy_intentbench", 5)):
        values = [each[column][row] for each in ASKED]
        assert found[name]["mean"] == pytest.approx(np.mean(values)) and found[name]["ci95"] == pytest.approx(half_width(values), rel=1e-3)
        assert found[name]["n"] == 7
    assert found["format_rate"]["mean"] == pytest.approx((6 + row) / 7) and found["truncated"]["mean"] == 0
    # "he" and "they" count; of 20, and "C" alone has no think part
    assert found["people_focus"]["mean"] == pytest.approx((6 + row) / 7 / 20)


def test_each_problem_type_has_its_own_numbers(rows):
    by_type = rows[0].parts["data"]["by_type"]
    assert list(by_type) == [CHOICE, JUDGE, NUMBER, SET] and [by_type[kind]["accuracy"]["n"] for kind in by_type] == [3, 2, 1, 1]
    assert [by_type[kind]["accuracy"]["mean"] for kind in by_type] == pytest.approx([1 / 3, 1 / 2, 0.6, 1])
    assert [by_type[kind]["accuracy_intentbench"]["mean"] for kind in by_type] == pytest.approx([1 / 3, 1, 0.6, 0.5])
    assert by_type[NUMBER]["accuracy"]["ci95"] is None  # of one item there is none


def test_a_change_is_paired_by_item(rows):
    base, tuned = (row.parts["data"]["metrics"]["accuracy"] for row in rows)
    differences = [each[4][1] - each[4][0] for each in ASKED]
    assert "change" not in base and tuned["change"]["mean"] == pytest.approx(np.mean(differences)) and tuned["change"]["n"] == 7
    assert tuned["change"]["ci95"] == pytest.approx(half_width(differences), rel=1e-3)


def test_what_is_forgotten_shows_apart(rows):
    base, tuned = (row.parts["general"]["metrics"]["accuracy"] for row in rows)
    assert (base["mean"], tuned["mean"], base["n"]) == (1, 0.5, 2)
    assert tuned["change"]["mean"] == -0.5 and tuned["change"]["ci95"] == pytest.approx(half_width([-1, 0]), rel=1e-3)
    assert rows[1].summary()["general_accuracy"] == tuned and rows[1].parts["data"]["metrics"]["accuracy"]["n"] == 7


def test_an_item_without_a_truth_fails_alone_and_is_counted(questions):
    asked = [*questions[:2], question("numerical", "ten", 3), question("riddle", "a man", 4)]
    row = Row("base", None, None, asked, read(asked, whole("A"), whole("B"), whole("10"), whole("a man")), None)
    content = row.content()
    assert content["metrics"]["accuracy"] == {"mean": 1, "ci95": 0, "n": 2} and content["failed"] == 2
    whys = [why.partition(",")[0] for why in content["failures"]]
    assert whys == ["accuracy: the solution 'ten' is no number", "accuracy: unknown problem type 'riddle'"]
    assert content["metrics"]["format_rate"]["n"] == 4  # which it has nevertheless
    assert "accuracy" not in content["by_type"]["riddle"]


def test_a_judge_that_cannot_be_reached_is_counted_and_not_fatal(questions, monkeypatch):
    monkeypatch.setenv("API", "http://127.0.0.1:9/v1")
    monkeypatch.delenv("USE_API_REWARD", raising=False)
    components = {"accuracy": {"path": "accuracy"}, "judge": {"path": "judge", "tries": 1, "timeout": 1}}
    row = Row("base", None, None, questions[:2], read(questions[:2], whole("A"), whole("B"), components=components), None)
    assert row.content()["metrics"]["accuracy"]["mean"] == 1 and "judge" not in row.content()["metrics"]
    assert row.content()["failed"] == 2 and all(why.startswith("judge: ") for why in row.content()["failures"])


def test_samples_of_one_item_are_one_item_of_the_interval(questions):
    found = read(questions[:2], whole("A"), whole("C"), whole("B"), whole("B"), answers=2)
    metrics = Row("base", None, None, questions[:2], found, None).content()["metrics"]
    assert metrics["accuracy"] == {"mean": 0.75, "ci95": pytest.approx(half_width([0.5, 1]), rel=1e-3), "n": 2}


@pytest.fixture
def scenes(tmp_path):
    (tmp_path / "points.jsonl").write_text("".join(f"{json.dumps(write_scene(tmp_path, name))}\n" for name in ("one", "two", "three")))
    return [Question(Conditioning(item, {}), False, number) for number, item in enumerate(read_items(tmp_path / "points.jsonl"), 1)]


def test_points_have_iou_and_gain_over_no_negatives_and_accuracy_is_of_words_alone(scenes, questions):
    texts = [points([LEFT_OF_IT]), points([INSIDE]), "no points", whole("A")]
    asked = [*scenes, questions[0]]
    assert Row("base", None, None, scenes, read(scenes, *texts[:3]), None).official() is None
    metrics = Row("base", None, None, asked, read(asked, *texts), None).content()["metrics"]
    assert metrics["mean_iou"]["mean"] == pytest.approx((800 / 1200 + 0) / 2) and metrics["mean_iou"]["n"] == 2
    assert metrics["iou_gain"]["mean"] == pytest.approx((800 / 1200 - 0.5 - 0.5) / 2)
    assert metrics["baseline_iou"]["mean"] == 0.5 and metrics["baseline_iou"]["n"] == 3
    assert metrics["parsed_rate"]["mean"] == pytest.approx(2 / 3)
    assert metrics["accuracy"] == {"mean": 1, "ci95": None, "n": 1} == metrics["format_rate"]


def test_a_failure_is_told_of_its_own_answer_whatever_the_reward_is_made_of(scenes, questions):
    asked = [scenes[0], questions[0], scenes[1], question("numerical", "ten", 5)]
    found = read(asked, points([]), whole("A"), points([]), whole("10"), components={"format": {"path": "format"}})
    assert found.failures == {(3, 0): "accuracy: the solution 'ten' is no number"} and found.values["accuracy"][1] == 1


def test_a_scene_that_cannot_be_read_is_counted(scenes):
    Path(scenes[1].item.media[0][1]).with_suffix(".labels.png").write_bytes(b"")
    row = Row("base", None, None, scenes, read(scenes, *[points([])] * 3), None)
    assert row.content()["metrics"]["mean_iou"]["n"] == 2 and row.content()["failed"] == 1
    assert "two.labels.png" in next(iter(row.content()["failures"]))


def test_the_table_has_models_problem_types_and_changes(rows):
    lines = table(rows)
    blocks = "\n".join(lines).split("\n\n")
    main, types, changes = (block.split("\n") for block in blocks)
    assert [len(block) for block in (main, types, changes)] == [4, 4, 3]
    assert all(len({*map(len, block)}) == 1 for block in (main, types, changes))
    assert main[0].startswith("|       | accuracy ↑    | IntentBench ↑ | general accuracy ↑ | format ↑ ") and "0.514 ± 0.464" in main[2]
    assert "| judge (2) " in types[0] and "| judge, IntentBench " in types[0] and "multiple choice, IntentBench" not in types[0]
    assert changes[2].startswith("| tuned          | +0.295 ± ") and "-0.500 ± 6.353" in changes[2]


def test_the_official_file_is_that_of_the_published_evaluation(rows):
    found = rows[0].official()
    scores = [each[5][0] for each in ASKED]
    assert found["final_acc"] == [{"mean_acc": pytest.approx(np.mean(scores))}]
    assert len(found["results"]) == 7  # general items are none of its
    first, fourth = found["results"][0], found["results"][3]
    assert (first["problem_type"], first["solution"], first["output"], first["prediction"], first["reward"]) == (
        CHOICE, "<answer>A</answer>", whole("A"), "A", 1,
    )  # fmt: skip
    assert (fourth["prediction"], fourth["reward"]) == ("I know: Yes", 1) and fourth["raw"]["problem"] == "question 4"
    json.dumps(found, allow_nan=False)


def test_answers_stand_side_by_side_with_what_was_measured(rows, tmp_path):
    report = EvaluationReport(EvaluateConfig(family="language"), tmp_path, None, None, [])
    report.rows = rows
    lines = [json.loads(line) for line in report.files()["answers.jsonl"].decode().splitlines()]
    assert [(line["set"], line["item"]) for line in lines] == [*(("data", n) for n in range(1, 8)), ("general", 1), ("general", 2)]
    fourth = lines[3]
    assert fourth["source"] == "file, row 4" and fourth["rows"]["base"]["answer"] == whole("I know: Yes")
    base, tuned = fourth["rows"]["base"], fourth["rows"]["tuned"]
    assert (base["accuracy"], base["accuracy_intentbench"], tuned["accuracy"]) == (0, 1, 1)
