"""Reading prompts: three formats, and one clear line for each kind of bad file."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rollout.errors import InputError
from rollout.prompts import Prompt, read_prompts


def written(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def test_a_text_file_has_one_prompt_a_line(tmp_path):
    path = written(tmp_path / "p.txt", "# kinds\na person walks\t60\r\n\n  someone hops #2  \n \t\na man runs")
    assert read_prompts(path, 40) == [
        Prompt("a person walks", 60),
        Prompt("someone hops #2", 40),
        Prompt("a man runs", 40),
    ]


def test_a_byte_order_mark_is_not_part_of_the_first_prompt(tmp_path):
    assert read_prompts(written(tmp_path / "p.txt", b"\xef\xbb\xbfa person walks\n"), 40)[0].text == "a person walks"


def test_a_json_list_has_captions_and_lengths(tmp_path):
    path = written(tmp_path / "p.json", '[{"caption": "a person walks", "length": 60, "id": 7}, {"caption": "hop"}]')
    assert read_prompts(path, 40) == [Prompt("a person walks", 60), Prompt("hop", 40)]


def test_a_parquet_file_gives_every_caption_with_its_frames(tmp_path):
    rows = [{"captions": ["walk", "stroll"], "n_frames": 60, "joints": [0.0]}, {"captions": ["hop"], "n_frames": 41}]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "p.parquet")
    assert read_prompts(tmp_path / "p.parquet", 40) == [Prompt("walk", 60), Prompt("stroll", 60), Prompt("hop", 41)]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("p.txt", "", "^no prompts in .*p.txt$"),
        ("p.txt", "# only a comment\n\n  \n", "^no prompts in "),
        ("p.json", "[]", "^no prompts in "),
        ("p.txt", b"a person walks\nein M\xe4nnchen\n", "p.txt: byte 20 is not UTF-8"),
        ("p.json", b'[{"caption": "\xff"}]', "p.json: byte 14 is not UTF-8"),
        ("p.txt", "walk\n" + "a " * 501, "p.txt, line 2: the prompt has 1001 characters, expected at most 1000"),
        ("p.txt", "walk\t0", "line 1: length is 0, expected a positive whole number"),
        ("p.txt", "walk\t-5", "line 1: length is '-5', expected a positive whole number"),
        ("p.txt", "walk\tsoon", "line 1: length is 'soon', expected"),
        ("p.txt", "walk\t", "line 1: length is '', expected"),
        ("p.txt", "\t60", "line 1: the prompt is empty"),
        ("p.json", "[{]", "p.json: not JSON"),
        ("p.json", '{"caption": "walk"}', "found a JSON dict, expected a list"),
        ("p.json", '[{"caption": "walk"}, {"text": "hop"}]', "prompt 2: found .*text.*expected"),
        ("p.json", '["walk"]', "prompt 1: found 'walk', expected"),
        ("p.json", '[{"caption": "walk", "length": 60.5}]', "prompt 1: length is 60.5, expected"),
        ("p.json", '[{"caption": "walk", "length": true}]', "prompt 1: length is True, expected"),
        ("p.json", '[{"caption": "walk", "length": null}]', "prompt 1: length is None, expected"),
        ("p.json", json.dumps([{"caption": " "}]), "prompt 1: the prompt is empty"),
        ("p.parquet", "walk\n", "p.parquet: not a Parquet file of captions"),
    ],
)
def test_a_bad_file_ends_in_one_line_that_names_the_place(tmp_path, name, content, message):
    with pytest.raises(InputError, match=message) as caught:
        read_prompts(written(tmp_path / name, content), 40)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"captions": ["walk"]}, "no column 'n_frames'"),
        ({"n_frames": 60}, "no column 'captions'"),
        ({"captions": "walk", "n_frames": 60}, "not a Parquet file of captions"),
        ({"captions": ["walk", ""], "n_frames": 60}, "row 0: the prompt is empty"),
        ({"captions": ["walk"], "n_frames": 0}, "row 0: length is 0"),
    ],
)
def test_a_parquet_file_that_does_not_fit_is_refused(tmp_path, row, message):
    pq.write_table(pa.Table.from_pylist([row]), tmp_path / "p.parquet")
    with pytest.raises(InputError, match=message):
        read_prompts(tmp_path / "p.parquet", 40)


def test_a_missing_file_and_a_folder_are_refused(tmp_path):
    for path in (tmp_path / "nowhere.txt", tmp_path):
        with pytest.raises(InputError, match="prompt file not found"):
            read_prompts(path, 40)
