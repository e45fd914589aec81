"""Reading prompts: three file formats and folders of motions, and one clear line for each kind of bad file."""

import csv
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rollout.io.errors import InputError
from rollout.motion.prompts import MotionPrompt, read_prompts
from rollout.motion.skeleton import HUMANML3D, KIT
from tests.humanml_folder import WHOLE, clip, write_folder

ROOT = Path(__file__).resolve().parents[3]
SHARED = ROOT.parent / "shared"


def written(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def test_a_text_file_has_one_prompt_a_line(tmp_path):
    path = written(tmp_path / "p.txt", "# kinds\na person walks\t60\r\n\n  someone hops 2 times  \n \t\na man, slowly, runs")
    assert read_prompts(path, 40) == [
        MotionPrompt("a person walks", 60),
        MotionPrompt("someone hops 2 times", 40),
        MotionPrompt("a man, slowly, runs", 40),
    ]


TAGGED = ("a/DET", "person/NOUN", "walk/VERB")


@pytest.mark.parametrize("ending", ["\n", "\r\n", "\r", "\n\n \r\n", ""])
@pytest.mark.parametrize(
    ("line", "length", "tokens"),
    [
        ("a person walks", 40, ()), ("a person walks\t132", 132, ()), ("a person walks#132", 132, ()), ("a person walks#NA", 40, ()),
        ('"a person walks"', 40, ()), ("'a person walks'\t132", 132, ()), ('"a person walks"#132', 132, ()),
        (WHOLE.strip(), 40, TAGGED), (WHOLE.strip().replace("#0.0#0.0", "#1.5#4.0"), 50, TAGGED),
        (WHOLE.strip().replace("#0.0#0.0", "#nan#nan"), 40, TAGGED), ("a person walks##0.0#0.0", 40, ()),
    ],
)  # fmt: skip
def test_lines_of_other_projects_are_read_as_they_meant_them(tmp_path, line, length, tokens, ending):
    expected = [MotionPrompt("a person walks", length, tokens)]
    assert read_prompts(written(tmp_path / "p.txt", f"{line}{ending}"), 40) == expected
    assert read_prompts(written(tmp_path / "p.txt", f"\ufeff{line}{ending or chr(10)}{line}{ending}"), 40) == expected * 2


# Each with a frame count, an id, a name or a mark that no motion has.
MORE_THAN_CAPTIONS = [
    "a person walks,132", "a person walks, 132", "a person walks,132,M000021", "a person walks,M000021,132", "a person walks, 132 , 60",
    "a person walks,frames 132", "a person walks;clip 7", "a person walks,\u00a0132", "a person walks;clip_7", "a person walks|M000021",
    "a person walks|132", "a person walks\uff0c132", "a person walks\uff03132", "a person walks_132", "a person walks.132",
    "a person walks-132", "a person walks132", "a person walks,walk.npy", "a person walks*132", "a person walks M000021",
    "a person walks 000021", "the clip 000021 of a person", "132 a person walks", "001,a person walks", "clip-7,a person walks",
    "\uff11\uff13\uff12 a person walks", "1. a person walks", "I) a person walks", "iv. a person walks", "a) a person walks",
    "Prompt 1: a person walks", "Prompt A: a person walks", "Take 12: a person walks", "No. 1: a person walks",
    "Frames 132, a person walks", "length 132; a person walks", "a person walks\u2028a man hops", "a person walks\x0b132",
    "a person walks\x85a man hops", "caption", "Text", "prompts", "caption length", "nan", "None", "N/A", "null",
    "a person walks,132,train", "a person walks, 3", "a person walks, 3 frames", "a person walks,", "a person walks;NA",
    "- a person walks", "text = walks", "motions of https://example.org",
]  # fmt: skip


@pytest.mark.parametrize("text", [*MORE_THAN_CAPTIONS, "a person walks\t132", "a person walks\n132", "a person walks#132"])
@pytest.mark.parametrize("name", ["p.json", "p.jsonl", "p.csv", "p.parquet"])
def test_what_is_more_than_a_caption_is_refused_in_every_file_with_its_place(tmp_path, name, text):
    path, entries = tmp_path / name, [{"caption": "a man runs", "length": 60}, {"caption": text, "length": 60}]
    if name == "p.parquet":
        pq.write_table(pa.Table.from_pylist([{"captions": [entry["caption"]], "n_frames": 60} for entry in entries]), path)
    elif name == "p.csv":
        with path.open("w", newline="") as file:
            csv.writer(file).writerows([["caption", "length"], *(entry.values() for entry in entries)])
    else:
        path.write_text(json.dumps(entries) if name == "p.json" else "\n".join(map(json.dumps, entries)))
    place = {"p.json": "prompt 2", "p.jsonl": "line 2", "p.csv": "line [34]", "p.parquet": "row 1"}[name]  # CSV: where its row ends
    with pytest.raises(InputError, match=f"{name}, {place}: found .* expected a caption "):
        read_prompts(path, 40)


@pytest.mark.parametrize(
    "name, content", [("p.json", '[{{"caption": "{}"{}}}]'), ("p.jsonl", '{{"caption": "{}"{}}}'), ("p.csv", "caption\n{}\n")]
)
@pytest.mark.parametrize("text", ["a person walks 132", "a person walks (132 frames)", "a person walks for 132 frames", "walks 6.5 s"])
def test_a_caption_in_a_cell_may_end_in_a_number_where_its_length_is_stated(tmp_path, name, content, text):
    with pytest.raises(InputError, match="found .*expected a number of frames under the name length"):
        read_prompts(written(tmp_path / name, content.format(text, "")), 40)
    stated = f"caption,length\n{text},60\n" if name == "p.csv" else content.format(text, ', "length": 60')
    assert read_prompts(written(tmp_path / name, stated), 40) == [MotionPrompt(text, 60)]


def test_lengths_beside_the_frame_rate_of_the_model_are_its_frames(tmp_path):
    path = written(tmp_path / "p.csv", "caption,length,fps\nwalk,60,20.0\n")
    assert read_prompts(path, 40, HUMANML3D) == read_prompts(path, 40) == [MotionPrompt("walk", 60)]
    with pytest.raises(InputError, match="line 2: found fps '20.0', expected lengths in the model's frames, 12.5 a second"):
        read_prompts(path, 40, KIT)
    assert read_prompts(written(tmp_path / "p.json", '[{"caption": "walk", "fps": 30}]'), 40) == [MotionPrompt("walk", 40)]


def recorded_captions() -> dict[str, str]:
    """What ships and what was recorded of people, each with where it is from."""
    found = {}
    for file in ("rollout/assets/heldout_prompts.json", "rollout/assets/training_prompts.json", "rewards/assets/distractors.json"):
        entries = json.loads((ROOT / file).read_text())
        found |= {entry if isinstance(entry, str) else entry["caption"]: file for entry in entries}
    for file in (SHARED / "fixtures").rglob("fixtures.npz"):
        with np.load(file) as arrays:
            found |= {str(text): str(file) for text in arrays["captions"].ravel()} if "captions" in arrays else {}
    if (data := SHARED / "data" / "cmu_motion_text.parquet").exists():
        found |= {text: str(data) for row in pq.read_table(data, columns=["captions"])["captions"].to_pylist() for text in row}
    return found


def test_no_caption_that_ships_or_was_recorded_is_refused(tmp_path):
    captions = recorded_captions()
    assert len(captions) > 300
    path = written(tmp_path / "p.txt", "\n".join(captions))
    assert [prompt.text for prompt in read_prompts(path, 40)] == [caption.strip() for caption in captions]


@pytest.mark.parametrize(
    "line",
    [
        "a person walks #132", "a person walks#132#", "a person walks#6.6", "a person walks#132 frames", "#132#a person walks\nwalk#",
        "a person walks#a person#0.0#0.0", "a person walks#a/DET#0.0", "a person walks#a/DET#now#0.0", "a person walks#a/DET#4.0#1.0",
        "132#a person walks", "132\ta person walks", "132,a person walks", "132, a person walks", "132 a person walks", "50 a man kicks",
        "1. a person walks", "1) a person walks", "(1) a person walks", "[1] a person walks", "1: a person walks", "1 - a person walks",
        "- a person walks", "* a person walks", "\u2022 a person walks", "> a person walks", "000021", "M000021", "M000021,a person walks",
        "000021\ta person walks\t60", "a person walks\t60\t3", "a person walks,132", "a person walks, 132", "a person walks;132",
        "a person walks | 6.5", "a person walks, 6.5 s", '"a person walks",132', '"a person walks",', '"a person ""walks"""', '["a person walks",',
        '{"caption": "a person walks", "length": 60}', "caption,length", "caption;n_frames", "caption: a person walks", "text = walks",
        "<html>", "version https://git-lfs.github.com/spec/v1", "#132 a person walks", " #7",
        "\uff03132 a person walks", *MORE_THAN_CAPTIONS,
    ],
)  # fmt: skip
def test_a_line_that_may_be_more_than_a_caption_is_refused_with_its_number(tmp_path, line):
    with pytest.raises(InputError, match="p.txt, line [23]: ") as caught:
        read_prompts(written(tmp_path / "p.txt", f"a man runs\n{line}\na man hops\n"), 40)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "line",
    [
        "a person walks 132", "a person walks  132", "a person walks\u3000132", "a person walks 132 frames", "a person walks 132 fr",
        "a person walks 132f",
        "a person walks (132)", "a person walks - 132", "a person walks \u2013 132", "a person walks: 132",
        "a person walks length=132", "a person walks / 132", "a person walks/132", "a person walks @132", "a person walks 132.",
        "a person walks 6.5", "a person walks 6.5s", "a person walks 0.0 6.6", "a person walks 00:06", "a person walks 132 60",
        "a person walks around 132", "a person turns 132", "a person turns left 132",
    ],
)  # fmt: skip
@pytest.mark.parametrize("others", ["", "a man runs\n"])
def test_a_number_that_may_be_a_length_is_no_part_of_a_caption_unless_it_is_quoted(tmp_path, line, others):
    with pytest.raises(InputError, match=f"p.txt, line {2 if others else 1}: found 'a person .*expected a tab before a number of frames"):
        read_prompts(written(tmp_path / "p.txt", f"{others}{line}\n"), 40)
    for quoted, length in ((f'"{line}"', 40), (f"{line}\t60", 60), (f"{line}##0.0#0.0", 40)):
        assert read_prompts(written(tmp_path / "p.txt", quoted), 40) == [MotionPrompt(line, length)]


@pytest.mark.parametrize(
    "line",
    [
        "turns 180", "walks forward 3 steps and turns 90", "spins left 360", "she rotates clockwise by 45", "a man does a 180",
        "runs the 400", "a person counts to 10", "a man counts from 1 to 100", "walks for 10 seconds", "jumps 3", "walks in a figure 8",
        "jumps 20 times", "waltzes in 3/4", "bowls a 7-10 split", "acts like a T-800", "a man walks 2 steps", "takes 3 steps forward",
        "a person does 10 jumping jacks", "a man counts from 7 to 10", "walks like a T-800", "the T-800 walks", "turns 90, then walks",
        "jumps 3, then stops", "walks, 3 steps forward", "a man hops, 10 times", "walks 10,000 steps", "he moves like agent 007",
        "turns 90\u00b0 to the left", "at a 45-degree angle", "runs 100m", "no one moves", "texts a friend",
        "a man counts 1, 2, 3, then runs", "a person's motion: slow", "she nods; he waves", "Jump. Then run", "I walk", "bowls a 7-10",
        "a person steps left, right, left", "a T-pose, then 3 jumps", "someone says 'hi'", "un garçon saute",
    ],
)  # fmt: skip
def test_captions_with_numbers_and_commas_are_captions(tmp_path, line):
    assert read_prompts(written(tmp_path / "p.txt", line), 40) == [MotionPrompt(line, 40)]


def test_csv_is_read_by_the_names_in_its_first_line(tmp_path):
    content = '\ufeffid,length,caption\r\n7,60,"walks, then stops"\r\n\r\n8,44,a man runs\r\n'
    assert read_prompts(written(tmp_path / "p.csv", content), 40) == [MotionPrompt("walks, then stops", 60), MotionPrompt("a man runs", 44)]
    assert read_prompts(written(tmp_path / "p.csv", "caption\nwalks"), 40) == [MotionPrompt("walks", 40)]


def test_json_lines_are_json_a_line(tmp_path):
    content = '\ufeff{"caption": "a person walks", "length": 60}\r\n\r\n{"caption": "hop"}\n'
    assert read_prompts(written(tmp_path / "p.jsonl", content), 40) == [MotionPrompt("a person walks", 60), MotionPrompt("hop", 40)]


def test_a_byte_order_mark_is_not_part_of_the_first_prompt(tmp_path):
    assert read_prompts(written(tmp_path / "p.txt", b"\xef\xbb\xbfa person walks\n"), 40)[0].text == "a person walks"


def test_a_json_list_has_captions_and_lengths(tmp_path):
    entries = '[{"caption": "a person walks", "length": 60, "id": 7, "n_frames": 61, "silence": 1}, {"caption": "hop"}]'
    path = written(tmp_path / "p.json", entries)
    assert read_prompts(path, 40) == [MotionPrompt("a person walks", 60), MotionPrompt("hop", 40)]


def test_a_parquet_file_gives_every_caption_with_its_frames(tmp_path):
    rows = [{"captions": ["walk", "stroll"], "n_frames": 60, "joints": [0.0]}, {"captions": ["hop"], "n_frames": 41}]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "p.parquet")
    assert read_prompts(tmp_path / "p.parquet", 40) == [MotionPrompt("walk", 60), MotionPrompt("stroll", 60), MotionPrompt("hop", 41)]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("p.txt", "", "^no prompts in .*p.txt$"),
        ("p.txt", "# only a comment\n\n  \n", "^no prompts in "),
        ("p.json", "[]", "^no prompts in "),
        ("p.txt", b"a person walks\r\n\rein M\xe4nnchen\n", "p.txt, line 3: byte 0xe4 is not UTF-8 text: save the file as UTF-8"),
        ("p.txt", b"\xef\xbb\xbf" + b"walks\n" * 9000 + b"\xe4", "p.txt, line 9001: byte 0xe4 is not UTF-8"),
        ("p.csv", b"caption\n" + b"walks\n" * 9000 + b"\xe4", "p.csv, line 9002: byte 0xe4 is not UTF-8"),
        ("p.json", b'[{"caption":\n"\xff"}]', "p.json, line 2: byte 0xff is not UTF-8"),
        ("p.txt", "a person walks\n".encode("utf-16"), "p.txt: is UTF-16 text, expected UTF-8"),
        ("p.csv", b"\xfe\xff" + "caption\nwalks".encode("utf-16-be"), "p.csv: is UTF-16 text, expected UTF-8"),
        ("p.txt", "walk\n" + "a " * 501, "p.txt, line 2: the prompt has 1001 characters, expected at most 1000"),
        ("p.txt", "walk\t0", "line 1: length is 0, expected a positive whole number"),
        ("p.txt", "walk\t-5", "line 1: length is '-5', expected a positive whole number"),
        ("p.txt", "walk\tsoon", "line 1: length is 'soon', expected"),
        ("p.txt", "walk\t", "line 1: length is '', expected"),
        ("p.txt", "\t60", "line 1: the prompt is empty"),
        ("p.json", "[{]", "p.json: not a JSON file"),
        ("p.json", '{"caption": "walk"}', "found a JSON dict, expected a list"),
        ("p.json", '[{"caption": "walk"}, {"text": "hop"}]', "prompt 2: found .*text.*expected"),
        ("p.json", '["walk"]', "prompt 1: found 'walk', expected"),
        ("p.json", '[{"caption": "walk", "length": 60.5}]', "prompt 1: length is 60.5, expected"),
        ("p.json", '[{"caption": "walk", "length": true}]', "prompt 1: length is True, expected"),
        ("p.json", '[{"caption": "walk", "length": null}]', "prompt 1: length is None, expected"),
        ("p.json", json.dumps([{"caption": " "}]), "prompt 1: the prompt is empty"),
        ("p.json", '[{"caption": "walk#132"}]', "prompt 1: found 'walk#132', expected a caption without #"),
        ("p.jsonl", '{"caption": "walk"}\n{"caption"', "p.jsonl, line 2: not JSON"),
        ("p.jsonl", "[" * 100_000, "p.jsonl, line 1: not JSON"),
        ("p.jsonl", '"walk"', "p.jsonl, line 1: found 'walk', expected"),
        ("p.jsonl", '{"caption": "walk", "length": "60"}', "p.jsonl, line 1: length is '60', expected"),
        ("p.csv", "", "^no prompts in "),
        ("p.csv", "caption,length\n", "^no prompts in "),
        ("p.csv", "a person walks,60\n", r"p.csv, line 1: found columns \['a person walks', '60'\], expected caption"),
        ("p.csv", "caption;length\nwalk;60", "p.csv, line 1: found columns"),
        ("p.csv", "caption,length\nwalk,60\nwalk, then stop,60", "p.csv, line 3: found 3 cells, expected 2"),
        ("p.csv", "caption,length\nwalk", "p.csv, line 2: found 1 cells, expected 2"),
        ("p.csv", "caption,length\nwalk,", "p.csv, line 2: length is '', expected"),
        ("p.csv", "caption,length\nwalk,3.5", "p.csv, line 2: length is '3.5', expected"),
        ("p.csv", "caption\nwalk#60", "p.csv, line 2: found 'walk#60', expected a caption without #"),
        ("p.csv", 'caption\n"walk', "p.csv, line 2: not CSV"),
        ("p.csv", "caption,frames\nwalk,60", "p.csv, line 1: found 'frames', expected frames under the name length"),
        ("p.csv", "caption, length\nwalk,60", "p.csv, line 1: found ' length', expected frames under the name length"),
        ("p.csv", "id,caption,num_frames\n1,walk,60", "p.csv, line 1: found 'num_frames', expected"),
        ("p.json", '[{"caption": "walk", "Length": 60}]', "p.json, prompt 1: found 'Length', expected frames under the name length"),
        ("p.json", '[{"caption": "walk", "motion_length": 60}]', "p.json, prompt 1: found 'motion_length', expected"),
        ("p.jsonl", '{"caption": "walk", "duration_s": 6.5}', "p.jsonl, line 1: found 'duration_s', expected"),
        ("p.json", '[{"caption": "walk", "motionLength": 60}]', "p.json, prompt 1: found 'motionLength', expected"),
        ("p.csv", "caption,T\nwalk,60", "p.csv, line 1: found 'T', expected frames under the name length"),
        ("p.csv", "caption,time\nwalk,6.5", "p.csv, line 1: found 'time', expected frames under the name length"),
        ("p.csv", "caption,length,fps\nhop,60,20\nhop,60,30", "p.csv, line 3: found fps '30', expected lengths in the model's frames, 20"),
        ("p.jsonl", '{"caption": "walk", "length": 60, "frame_rate": 30.0}', "p.jsonl, line 1: found frame_rate '30.0', expected lengths"),
        ("p.parquet", "walk\n", "p.parquet: not a readable Parquet file"),
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


def test_a_missing_file_and_another_folder_are_refused(tmp_path):
    with pytest.raises(InputError, match="prompt file not found"):
        read_prompts(tmp_path / "nowhere.txt", 40)
    with pytest.raises(InputError, match="no folder new_joint_vecs/ in it, expected a HumanML3D or KIT folder"):
        read_prompts(tmp_path, 40)


def test_a_folder_gives_the_captions_of_its_training_clips_with_tokens_and_whole_fours_of_frames(tmp_path, caplog):
    text = WHOLE + "he turns#he/PRON turn/VERB#0.0#2.3\n" + "x" * 1001 + "#x/NOUN#0.0#0.0\nuntagged##0.0#0.0\n"
    folder = write_folder(tmp_path, {"1": (clip(63), text), "2": (None, WHOLE)}, split="train")
    assert read_prompts(folder, 40) == [
        MotionPrompt("he turns", 44, ("he/PRON", "turn/VERB")),
        MotionPrompt("a person walks", 60, ("a/DET", "person/NOUN", "walk/VERB")),
        MotionPrompt("untagged", 60),
    ]
    assert "train.txt: 3 prompts; skipped 1 captions of more than 1000 characters (first: 1), 1 motion files missing" in caplog.text


def test_a_list_of_clips_is_not_read_as_prompts(tmp_path):
    folder = write_folder(tmp_path, {"1": (clip(), WHOLE)}, split="test")
    assert read_prompts(folder / "test.txt", 40) == [MotionPrompt("a person walks", 48, ("a/DET", "person/NOUN", "walk/VERB"))]
    with pytest.raises(InputError, match="train.txt: no such list of clips, found test.txt"):
        read_prompts(folder, 40)


def test_a_folder_without_a_usable_clip_is_one_line(tmp_path):
    folder = write_folder(tmp_path, {"1": (clip(30), WHOLE)}, split="train")
    with pytest.raises(InputError, match="no prompts in .*train.txt; skipped 1 motions outside 40 to 199 frames") as caught:
        read_prompts(folder, 40)
    assert "\n" not in str(caught.value)
