"""Votes of the blind comparison are read back, and become preference data."""

import json
import re

import pytest

from learner.report.__main__ import main
from learner.report.votes import Preference, read_votes
from rollout.io.errors import InputError
from rollout.motion.record import read_rollout
from rollout.record import write_rollout

VOTE = {"prompt": "a person walks", "group": 9, "sample": 1, "left": 0, "right": 60, "chosen": "right", "seconds": 2.5}
VOTES = {"format": 2, "run": "r", "adapters": {"0": "a" * 12, "60": "b" * 12}}


def test_votes_are_preferences(tmp_path):
    votes = [VOTE, VOTE | {"chosen": "neither"}, VOTE | {"chosen": "left"}]
    (tmp_path / "votes.json").write_text(json.dumps(VOTES | {"votes": votes}))
    two = [Preference("a person walks", 9, 1, 60, 0, ("b" * 12, "a" * 12)), Preference("a person walks", 9, 1, 0, 60, ("a" * 12, "b" * 12))]
    assert read_votes(tmp_path / "votes.json") == two


@pytest.mark.parametrize(
    "content, message",
    [
        ([], "expected the votes that the report's blind comparison downloads"),
        (VOTES | {"format": 1, "votes": []}, "format 2"),
        ({"format": 2, "votes": []}, "format 2"),
        (VOTES | {"adapters": {"0": 3}, "votes": []}, "format 2"),
        (VOTES | {"votes": [3]}, "vote 1: expected a prompt"),
        (VOTES | {"votes": [VOTE, VOTE | {"left": "0"}]}, "vote 2: expected a prompt"),
        (VOTES | {"votes": [VOTE | {"chosen": "A"}]}, "vote 1: chosen is 'A', expected left, right or neither"),
        (VOTES | {"votes": [VOTE | {"left": 30}]}, "vote 1: the file names no adapter of iteration 30"),
    ],
)
def test_votes_of_another_form_are_refused(tmp_path, content, message):
    (tmp_path / "votes.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match=re.escape(message)):
        read_votes(tmp_path / "votes.json")


def voted(run, tmp_path, rows, good=0, **other):
    """The command, given a vote for the second of two rows of evaluations, after some `good` ones of which nothing is `other`."""
    adapters = {str(row["iteration"]): row["adapter_sha256"][:12] for row in rows}
    vote = {name: rows[0][name] for name in ("prompt", "group", "sample")} | {"left": rows[0]["iteration"], "right": rows[1]["iteration"]}
    vote |= {"chosen": "right"}
    (tmp_path / "votes.json").write_text(json.dumps({"format": 2, "adapters": adapters, "votes": [vote] * good + [vote | other]}))
    return main([str(run), "--votes", str(tmp_path / "votes.json"), "--out", str(tmp_path / "out.jsonl")])


@pytest.mark.parametrize(
    "change, other, message",
    [
        ({"adapter_sha256": "another run's"}, {}, "made by adapter another run' of"),
        ({}, {"group": 63}, "votes on group 63, sample 1 after 2 iterations"),
        ({}, {"prompt": "a person flies"}, "of 'a person flies': "),
        ({"iteration": 7}, {}, "000007.parquet: file not found"),
    ],
)
def test_votes_of_another_run_are_refused(run, tmp_path, capsys, change, other, message):
    rows = [read_rollout(run / "evaluations" / f"{number:06d}.parquet")[1] for number in (0, 2)]
    assert voted(run, tmp_path, [rows[0], rows[1] | change], **other) == 2
    assert message in (error := capsys.readouterr().err) and error.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["votes.json"]


def test_nothing_is_written_of_good_votes_before_a_bad_one(run, tmp_path, capsys):
    rows = [read_rollout(run / "evaluations" / f"{number:06d}.parquet")[1] for number in (0, 2)]
    assert voted(run, tmp_path, rows, good=1, group=63) == 2 and "votes on group 63" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["votes.json"]
    assert voted(run, tmp_path, rows, good=1) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "out.jsonl", "votes.json"]


def test_answers_that_were_voted_on_stand_in_the_preferences_as_text(answers, tmp_path):
    from rollout.language.record import COLUMNS as ANSWERS
    from rollout.record import read_rollout as read_record

    folder, _ = answers
    rows = [read_record(folder / "rollouts" / "000000.parquet", ANSWERS)[sample] | {"sample": 0, "iteration": sample} for sample in (0, 1)]
    for row in rows:
        write_rollout(folder / "evaluations" / f"{row['iteration']:06d}.parquet", [row], ANSWERS)
    assert voted(folder, tmp_path, rows) == 0
    assert json.loads((tmp_path / "out.jsonl").read_text()) == {
        "prompt": rows[0]["prompt"], "chosen": rows[1]["text"], "rejected": rows[0]["text"], "group": 0, "sample": 0, "iterations": [1, 0],
    }  # fmt: skip
