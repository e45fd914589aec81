"""`python -m rewards.inspect ROWS.jsonl --family language --scores OUT.json`: a list of one {name: value or null} a row."""

import json

import numpy as np
import pytest
from PIL import Image

from rewards.inspect import __main__ as inspect
from tests.rewards.language.rows import whole

ROW = {"problem": "Who?", "problem_type": "multiple choice", "options": ["A. x", "B. y"], "solution": whole("B"), "completion": whole("B")}


@pytest.fixture
def ask(tmp_path, capsys):
    """Scores rows, objects or raw lines: exit status, scores, and what was printed."""

    def ask(*rows, flags=()):
        file, out = tmp_path / "rows.jsonl", tmp_path / "scores.json"
        lines = [row if isinstance(row, bytes) else json.dumps(row).encode() for row in rows]
        file.write_bytes(b"\n".join(lines) + b"\n")
        status = inspect.main([str(file), "--family", "language", "--scores", str(out), *flags])
        printed = capsys.readouterr()
        return status, json.loads(out.read_text()) if out.exists() else None, printed.out + printed.err

    return ask


def test_each_row_gets_its_scores_in_order(ask):
    rows = [ROW, {**ROW, "completion": "B"}, {**ROW, "problem_type": "riddle"}, {"completion": "", "solution": "B", "problem_type": ["judge", "OCR"]}]
    status, scores, printed = ask(*rows)
    assert status == 0 and "accuracy: unknown problem type 'riddle'" in printed and "4 answers to 3 questions" in printed
    assert scores == [
        {"format": 1, "accuracy": 1, "people_focus": 0.05}, {"format": 0, "accuracy": 0, "people_focus": 0},
        {"format": 1, "accuracy": None, "people_focus": 0.05}, {"format": 0, "accuracy": None, "people_focus": 0},
    ]  # fmt: skip


def test_components_and_their_options_come_from_flags(ask):
    flags = ["--reward.components.mra.path", "accuracy", "--reward.components.mra.regression", "mean_relative_accuracy",
             "--reward.components.old.path", "official.accuracy"]  # fmt: skip
    row = {"problem_type": ["regression"], "solution": 10, "completion": whole("9")}
    assert ask(row, flags=flags)[1] == [{"mra": 0.8, "old": 0}]  # a solution without tags has no official answer


@pytest.mark.parametrize(
    "row, words",
    [
        (b'{"completion": NaN}', "line 2: not JSON (NaN is no JSON number)"),
        (b'{"completion": "x", "solution": Infinity}', "line 2: not JSON (Infinity is no JSON number)"),
        (b"{", "line 2: not JSON ("),
        (b"[" * 200_000, "line 2: nested too deeply"),
        (b"[1]", "line 2: found a list, expected an object"),
        (b'{"completion": "\xff"}', "line 2: byte 16 is not UTF-8 text"),
        ({"problem": "x"}, "line 2: completion: found none, expected text"),
        ({"completion": 7}, "line 2: completion: found int, expected text"),
        ({"completion": "x", "problem_type": {}}, "line 2: problem_type: found a dict, expected text"),
        ({"completion": "x", "options": {"A": "x"}}, "line 2: options: found a dict, expected a list of texts"),
        ({"completion": "x", "image": "a.png", "mask": "b.png", "box": [1, 2, 3], "points": []}, "line 2: found box [1, 2, 3] and points []"),
    ],
)
def test_a_row_that_is_none_is_named_hostile(ask, row, words):
    status, scores, printed = ask(ROW, row)
    assert (status, scores) == (2, None) and printed.startswith("error: ") and words in printed and printed.count("\n") == 1


@pytest.mark.parametrize("change", [{"options": None}, {"options": []}, {"problem": None}, {"solution": [whole("B")]}, {"solution": "B"},
                                    {"completion": [{"role": "assistant", "content": whole("B")}]}, {"more": {"a": [1]}}, {"options": "A. x\nB. y"}, {"solution": None, "answer": "B"},
                                    {"problem": "é\ud800\u202e"}])  # fmt: skip
def test_rows_may_be_written_in_many_ways(ask, change):
    assert ask({**ROW, **change})[:2] == (0, [{"format": 1, "accuracy": 1, "people_focus": 0.05}])


def test_ten_megabytes_and_odd_letters_hostile(ask):
    status, scores, _ = ask({**ROW, "completion": whole("x" * 10_000_000)}, {**ROW, "completion": whole("B\u0000\ud800")})
    assert status == 0 and [row["accuracy"] for row in scores] == [0, 0]


def test_points_are_scored_from_files_beside_the_rows(ask, tmp_path):
    labels = np.zeros((20, 30), np.uint8)
    labels[:10, :10], labels[:10, 10:20] = 1, 2
    Image.fromarray(labels).save(tmp_path / "a.labels.png")
    Image.fromarray(labels).save(tmp_path / "a.png")
    rle = {"size": [20, 30], "counts": [n for _ in range(10) for n in (0, 10)][:0] + [0, 10] + [10, 10] * 9 + [410]}
    row = {"image": "a.png", "mask": rle, "box": [0, 0, 10, 10], "points": [[5, 5]], "problem_type": "segmentation"}
    said = '<answer>{"negative_points": [[0.5, 0.2]]}</answer>'
    rows = [{**row, "completion": said}, {**row, "completion": "x"}, {**row, "image": "b.png", "completion": said}]
    status, scores, printed = ask(*rows, flags=["--reward.components.p.path", "negative_points"])
    assert status == 0 and scores == [{"p": 1.4}, {"p": -0.3}, {"p": None}]


@pytest.mark.parametrize(
    "family, path, words",
    [("language", "foot_skate", "expected one of format, accuracy, people_focus, judge, "), ("motion", "people_focus", "expected one of tmr.cosine, ")],
)
def test_each_family_has_its_own_kinds(tmp_path, capsys, family, path, words):
    assert inspect.main([str(tmp_path / "x"), "--family", family, "--reward.components.it.path", path]) == 2
    assert f"reward.components.it.path: found '{path}', {words}" in capsys.readouterr().err
