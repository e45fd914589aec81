"""What every answer is worth by rule: tables of values, where the published formulas differ, and what nobody should write."""

import re

import numpy as np
import pytest

from rewards.language.accuracy import Accuracy, OfficialAccuracy, OfficialIntentBench
from rewards.language.format import Format, OfficialFormat
from rewards.language.people_focus import PeopleFocus
from rollout.io.errors import InputError
from tests.rewards.language.rows import answers, whole

GOOD = whole("A")
PATTERN = re.compile(r"^<context>.*?</context>\s*<think>.*?</think>\s*<answer>.*?</answer>", re.DOTALL)
HUGE = 10_000_000


@pytest.mark.parametrize(
    "text, ours, official",
    [
        (GOOD, 1, 1),
        (f" \n{GOOD}\n", 1, 0),
        (f"{GOOD} and more", 0, 1),
        (f"{GOOD}<answer>B</answer>", 0, 1),
        ("<context></context><think></think><answer></answer>", 0, 1),
        (whole("A", think=" \n\u200b"), 0, 1),
        (f"So: {GOOD}", 0, 0),
        ("<think>b</think><context>a</context><answer>A</answer>", 0, 0),
        ("<context><think>b</think></context><answer>A</answer>", 0, 0),
        ("<context>a</context> so <think>b</think><answer>A</answer>", 0, 0),
        ("<context>a</context>x</context><think>b</think><answer>A</answer>", 0, 1),
        (whole("A", think="<think>x"), 0, 1),
        (GOOD.replace("</answer>", ""), 0, 0),
        ("", 0, 0),
    ],
)
def test_the_form_of_an_answer(text, ours, official):
    assert Format()(answers(text)).tolist() == [ours]
    assert OfficialFormat()(answers(text)).tolist() == [official] == [bool(PATTERN.search(text))]


def test_other_tags_can_be_asked_for():
    assert Format(["think", "answer"])(answers("<think>a</think><answer>b</answer>", GOOD)).tolist() == [1, 0]
    with pytest.raises(InputError, match="^tags: found 'think'"):
        Format("think")


@pytest.mark.parametrize(
    "kind, truth, answer, ours, official",
    [
        ("multiple choice", "B", " B ", 1, 1),
        ("multiple choice", "B", "C", 0, 0),
        ("multiple choice", "B", "", 0, 0),
        ("multiple choice", "B", "A or B", 0, 0),
        ("multiple choice", "B", "B. walking", 0, 0),
        ("numerical", "42", "42", 1, 1),
        ("numerical", "42", "42.0", 0, 0),
        ("numerical", "3.14", "3.141", 1, 1),
        ("numerical", "1,000.50", "1000.5", 1, 1),
        ("numerical", "3.14", "about 3.1", 0, 0),
        ("numerical", "3", "nan", 0, 0),
        ("regression", "10", "9", 0.9, 0.9),
        ("regression", "10", "25", 0, 0),
        ("regression", "-10", "-5", 0.5, 0.5),
        ("regression", "0", "0", 1, 0),
        ("regression", "10", "many", 0, 0),
        ("regression", "10", "inf", 0, 0),
        ("OCR", "no smoking here", "no smoking here", 1, 1),
        ("OCR", "no smoking here", "no parking here", 2 / 3, 2 / 3),
        ("OCR", "no smoking here", "smoking here now please", 0, 0),
        ("OCR", "a b c d", "a c d", 0.75, 0.75),
        ("emer_ov_mc", "A,B", "A, B", 1, 0.5),
        ("emer_ov_mc", "A,B", "B", 2 / 3, 2 / 3),
        ("emer_ov_mc", "A,B", "B,A,", 1, 0.8),
        ("emer_ov_mc", "A,B", "C", 0, 0),
        ("judge", "No", "I know: Yes", 0, 1),
        ("judge", "Yes", "I know: Yes", 1, 1),
        ("judge", "no", "NO.", 1, 1),
        ("judge", "Yes", "yes and no", 0, 1),
        ("judge", "Yes", "surely", 0, 0),
    ],
)
@pytest.mark.parametrize("tagged", [True, False])
def test_the_accuracy_of_each_problem_type(kind, truth, answer, ours, official, tagged):
    solution = whole(truth) if tagged else truth
    given = answers(whole(answer), problem_type=kind, solution=solution)
    np.testing.assert_allclose(Accuracy()(given), [ours], atol=1e-7)
    if tagged:
        np.testing.assert_allclose(OfficialAccuracy()(given), [official], atol=1e-7)


@pytest.mark.parametrize("answer, share", [("10", 1), ("9.6", 0.9), ("9.5", 0.9), ("9", 0.8), ("6", 0.2), ("5", 0), ("5.1", 0.1), ("x", 0)])
def test_mean_relative_accuracy(answer, share):
    given = answers(whole(answer), problem_type="regression", solution=whole("10"))
    assert Accuracy(regression="mean_relative_accuracy")(given).values[0] == pytest.approx(share if answer != "9.6" else 1, abs=1e-7)
    if answer not in ("9.5", "9"):  # at a threshold float32 decides for the published one
        assert OfficialIntentBench()(given).values[0] == pytest.approx(share if answer != "9.6" else 1, abs=1e-7)


@pytest.mark.parametrize(
    "kind, solution, reason",
    [
        ("riddle", whole("A"), "unknown problem type 'riddle', expected one of multiple choice, "),
        ("", whole("A"), "unknown problem type ''"),
        ("ocr", whole("A"), "unknown problem type 'ocr'"),
        ("multiple choice", "", "the solution has no answer"),
        ("multiple choice", "<think>x</think>", "the solution has no answer"),
        ("numerical", whole("many"), "the solution 'many' is no number"),
        ("regression", whole("nan"), "the solution 'nan' is no number"),
        ("judge", whole("maybe"), "the solution says neither, expected yes or no"),
        ("emer_ov_mc", whole(" , "), "the solution names no item"),
        ("free-form", whole("A"), "problem type 'free-form' needs a judge, and the environment has no judge"),
        ("emer_ov", whole(", ,"), "the solution names no item"),
    ],
)
def test_what_cannot_be_scored_is_nan_and_says_why(monkeypatch, kind, solution, reason):
    monkeypatch.delenv("API", raising=False)
    told = Accuracy()(answers(whole("A"), problem_type=kind, solution=solution))
    assert np.isnan(told.values).tolist() == [True] and told.reasons[0].startswith(reason)


def test_an_answer_without_its_tags_is_no_answer():
    given = answers("B", "<answer>B", "B</answer>", "<answer></answer>", "<answer>B</answer><answer>C</answer>", problem_type="multiple choice", solution="B")
    assert Accuracy()(given).values.tolist() == [0, 0, 0, 0, 1]


@pytest.mark.parametrize(
    "think, value",
    [
        ("The task is at this other place, then", 0),
        ("a man and a woman", 0.1),
        ("a man, a man, MAN", 0.05),
        ("he walks", 0.075),
        ("walk walks walking walked", 0.025),
        ("he she they " + "room wall sky floor", 0.05),
        ("room wall sky floor ground", 0),
        ("a man in a room by the wall below the sky", 0.05),
        ("", 0),
    ],
)
def test_people_are_counted_by_whole_words(think, value):
    assert PeopleFocus()(answers(whole("A", think=think)))[0] == pytest.approx(value, abs=1e-7)


def test_people_outside_the_think_part_do_not_count():
    assert PeopleFocus()(answers("a man and a woman", "<think>he", whole("he", think="it", context="she"))).tolist() == [0, 0, 0]


def test_people_focus_stays_within_its_range():
    from rewards.language.people_focus import ACTIONS, ENVIRONMENT, PEOPLE

    assert PeopleFocus()(answers(whole("A", think=" ".join(PEOPLE + ACTIONS)), whole("A", think=" ".join(ENVIRONMENT)))).tolist() == [1, 0]


@pytest.mark.parametrize(
    "text",
    [
        "<context>" * (HUGE // 9), "<context>" + " " * HUGE, "<context>" + "</context> " * (HUGE // 11), "<answer>" * (HUGE // 8),
        whole("9" * HUGE), whole("a " * (HUGE // 2)), whole("yes" * (HUGE // 3)), whole("A" + "," * HUGE), whole("A", think="\u0130 he\n" * (HUGE // 5)),
    ],
    ids=range(9),
)  # fmt: skip
def test_ten_megabytes_end_hostile(text):
    """What is not linear would take hours."""
    rules = [Format(), OfficialFormat(), Accuracy(), OfficialAccuracy(), OfficialIntentBench(), PeopleFocus()]
    kinds = {"multiple choice": "A", "numerical": "1", "regression": "1", "OCR": "a b c", "emer_ov_mc": "A,B", "judge": "yes"}
    given = answers(*[(text, {"problem_type": kind, "solution": whole(truth)}) for kind, truth in kinds.items()])
    for rule in rules:
        values = np.asarray(rule(given.rows([0]) if isinstance(rule, (Format, OfficialFormat, PeopleFocus)) else given))
        assert ((values >= 0) & (values <= 1) | np.isnan(values)).all()
