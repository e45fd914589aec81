"""Rows of the originals' files become items; what cannot be used is counted and named, and no path leads out of its folder."""

import json
import logging
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from rollout.io.errors import InputError
from rollout.language.items import Item, read_items
from rollout.language.template import INSTRUCTIONS
from rollout.policy import Prompt

GOOD = {
    "problem": "What is felt?", "problem_type": "emer_ov_mc", "options": ["A. joy", "B. anger"], "data_type": "image", "path": "a.png",
    "solution": "<context>x</context><think>y</think><answer>A,B</answer>",
}  # fmt: skip


@pytest.fixture
def folder(tmp_path):
    root = tmp_path / "data"
    root.mkdir()
    Image.new("RGB", (8, 6)).save(root / "a.png")
    Image.new("L", (8, 6), 1).save(root / "m.png")
    (root / "a.wav").write_bytes(b"")
    Image.new("RGB", (8, 6)).save(tmp_path / "outside.png")
    (root / "link.png").symlink_to(tmp_path / "outside.png")
    return root


def written(root: Path, rows: list, name: str = "rows.jsonl") -> Path:
    text = json.dumps(rows) if name.endswith(".json") else "\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows)
    (root / name).write_text(text)
    return root / name


@pytest.mark.parametrize("name", ["rows.json", "rows.jsonl", "qa.json"])
def test_a_row_is_read_whole(folder, name):
    (item,) = read_items(written(folder, [GOOD], name))
    assert item.media == (("image", str(folder.resolve() / "a.png")),)
    assert (item.problem, item.problem_type, item.options, item.solution) == (GOOD["problem"], "emer_ov_mc", ("A. joy", "B. anger"), GOOD["solution"])
    assert item.text == f"What is felt? Options:\nA. joy\nB. anger\n{INSTRUCTIONS['emer_ov_mc']}"
    assert name in item.source


@pytest.mark.parametrize(
    ("change", "media"),
    [
        ({"path": {"audio": "a.wav", "image": "a.png"}}, ["image", "audio"]), ({"path": None, "image": "a.png"}, ["image"]),
        ({"path": None, "data_type": "video", "video": "a.png"}, ["video"]), ({"path": None, "data_type": None}, []),
    ],
)  # fmt: skip
def test_media_are_named_in_the_ways_of_the_originals(folder, change, media):
    (item,) = read_items(written(folder, [GOOD | change]))
    assert [kind for kind, _ in item.media] == media


def test_an_answer_alone_is_a_solution(folder):
    (item,) = read_items(written(folder, [GOOD | {"solution": None, "answer": 3}]))
    assert item.solution == "<answer>3</answer>"


BAD = [
    ({"path": "../outside.png"}, "outside data_root"), ({"path": "link.png"}, "outside data_root"), ({"path": "/etc/passwd"}, "outside data_root"),
    ({"path": "none.png"}, "is missing"), ({"path": "a\0.png"}, "text that no file can hold"), ({"path": "x" * 5000}, "is missing"),
    ({"problem": ""}, "without problem"), ({"problem": 3}, "without problem"), ({"problem_type": None}, "without problem_type"),
    ({"solution": ""}, "solution"), ({"score": float("nan")}, "NaN"), ({"options": [float("inf")]}, "NaN"), ({"data_type": "smell"}, "smell"),
    ({"problem": "x" * 10_000_000}, "more than"), ({"solution": "x" * 10_000_000}, "solution"), ({"path": {"smell": "a.png"}}, "smell"),
]  # fmt: skip


@pytest.mark.parametrize(("change", "told"), BAD)
def test_a_row_that_cannot_be_used_is_skipped_counted_and_named(folder, caplog, change, told):
    with caplog.at_level(logging.WARNING):
        items = read_items(written(folder, [GOOD, GOOD | change, GOOD | change]))
    assert len(items) == 1
    (message,) = caplog.messages
    assert told in message and "2 rows" in message and "line 2" in message and len(message) < 400


def test_lines_that_are_no_object_are_skipped_and_a_file_of_them_is_an_error(folder, caplog):
    path = written(folder, ["{", "[" * 100_000, "3", GOOD])
    assert len(read_items(path)) == 1 and "3 rows that are no JSON object" in caplog.text
    with pytest.raises(InputError, match="no items; skipped 1 rows"):
        read_items(written(folder, ["{"]))


@pytest.mark.parametrize(("name", "content"), [("a.json", "{}"), ("b.json", "["), ("c.txt", "x"), ("d.jsonl", None), ("e.jsonl", b"\xff\xfe"), ("f.jsonl", "")])
def test_files_that_hold_no_rows_are_one_line(folder, name, content):
    if content is not None:
        (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(InputError, match=name):
        read_items(folder / name)


SEGMENTED = {
    "problem": "the square", "problem_type": "segmentation", "image": "a.png", "mask": "m.png", "box": [1, 1, 4, 5], "points": [[2, 2], [3.5, 4]],
}  # fmt: skip


def test_a_region_has_its_size_mask_box_and_points(folder):
    (item,) = read_items(written(folder, [SEGMENTED]))
    assert item.target.size == (8, 6) and item.target.box == (1, 1, 4, 5) and item.target.points == ((2, 2), (3.5, 4))
    assert item.target.mask == str(folder.resolve() / "m.png") and INSTRUCTIONS["segmentation"] in item.text


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"box": [4, 1, 1, 5]}, "outside"), ({"box": [1, 1, 9, 5]}, "outside"), ({"points": [[9, 1]]}, "outside"), ({"points": []}, "points"),
        ({"points": [[True, 1]]}, "numbers"), ({"mask": "../outside.png"}, "outside data_root"), ({"box": None}, "numbers"),
        ({"mask": {"size": [6, 8], "counts": [47]}}, "do not add up"), ({"mask": {"size": [8, 6], "counts": [48]}}, "size"),
        ({"mask": {"size": [10**9, 10**9], "counts": [10**18]}}, "size"),
    ],
)  # fmt: skip
def test_a_region_that_is_not_in_its_image_is_skipped(folder, caplog, change, told):
    assert len(read_items(written(folder, [SEGMENTED, SEGMENTED | change]))) == 1 and told in caplog.text


def test_what_is_told_of_an_item_changes_with_its_image_and_not_with_its_place(folder):
    from dataclasses import replace

    (item,) = read_items(written(folder, [GOOD]))
    known = replace(item, media_sha256=("1",))
    assert known.told != replace(item, media_sha256=("2",)).told
    assert known.told == replace(known, media=(("image", "/elsewhere.png"),)).told
    assert np.unique([item.told, replace(item, solution="<answer>B</answer>").told]).size == 2


def test_the_same_words_about_another_picture_ask_for_something_else():
    one = Item("What is it?", media=(("image", "/a.png"),))
    assert one.asked == Item("what IS it?", media=(("image", "/a.png"),)).asked != Item("What is it?", media=(("image", "/b.png"),)).asked
    assert Prompt("Walk").asked == Prompt("walk").asked
