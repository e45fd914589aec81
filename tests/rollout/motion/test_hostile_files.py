"""Whatever a file holds, a loader of `rollout` gives a result or one line that names it: no other exception, no code run."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollout.io.weights import read_array
from rollout.motion.bvh import write_bvh
from rollout.motion.dataset import read_clips
from rollout.motion.motion_set import read_motions
from rollout.motion.packing import pack
from rollout.motion.prompts import read_prompts
from rollout.motion.record import COLUMNS, read_rollout
from rollout.record import schema, write_rollout
from tests.hostile import ARRAYS, JUNK, NUMBERS, TEXTS, bounded, changed, changes, refused, survives, trapped
from tests.humanml_folder import WHOLE, clip, write_folder
from tests.rollout.motion.test_dataset import rows as clip_rows
from tests.rollout.motion.test_dataset import write as write_clips
from tests.rollout.test_record import rows


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("hostile")


# Prompts ----------------------------------------------------------------------------------------------------------------


def check_prompts(path):
    found = survives(lambda: read_prompts(path, 40), path)
    if not isinstance(found, str):
        for prompt in found:
            assert prompt.text.encode() and type(prompt.length) is int and prompt.length > 0
            assert "#" not in prompt.text
        pa.array([prompt.text for prompt in found])


@given(
    content=st.binary(max_size=200)
    | st.text(max_size=200).map(str.encode)
    | st.lists(TEXTS, max_size=5).map(lambda t: "\r\n".join(t).encode("utf-8", "surrogatepass"))
)
def test_prompts_of_any_text(place, content):
    with changed(place / "p.txt", content) as path:
        check_prompts(path)


@given(entries=JUNK | st.lists(st.fixed_dictionaries({"caption": TEXTS}, optional={"length": NUMBERS | JUNK}), max_size=4))
def test_prompts_of_any_json(place, entries):
    with changed(place / "p.json", json.dumps(entries).encode()) as path:
        check_prompts(path)


@given(
    before=st.sampled_from(["", "12", "1. ", "M7", "- ", '"', '{"caption": "']),
    after=st.sampled_from(["", '"', '"}', "132", "132.5", "NA", "a/DET b/NOUN#0.0#1.0", "60 frames"]),
    first=st.sampled_from(["", "#", "\t", ",", ", ", ";", " | ", " "]),
    last=st.sampled_from(["#", "\t", ",", ", ", ";", " | "]),
    name=st.sampled_from(["p.txt", "p.md"]),
)
def test_what_stands_around_a_caption_is_never_taken_for_a_part_of_it(place, before, first, last, after, name):
    for line in {f"{before}{first}a person walks", f"a person walks{last}{after}", f"{before}{first}a person walks{last}{after}"}:
        with changed(place / name, f"{line}\n".encode()) as path:
            found = survives(lambda: read_prompts(path, 40), path)
            assert isinstance(found, str) or {prompt.text for prompt in found} <= {"a person walks"}, (line, found)


@given(rows=st.lists(st.lists(TEXTS, max_size=3), max_size=4), odd=st.binary(max_size=60))
@pytest.mark.parametrize("name, first", [("p.csv", b"caption,length\n"), ("p.csv", b""), ("p.jsonl", b'{"caption": "walks"}\n')])
def test_prompts_of_any_csv_and_json_lines(place, name, first, rows, odd):
    for content in ("\n".join(map(",".join, rows)).encode("utf-8", "surrogatepass"), odd):
        with changed(place / name, first + content) as path:
            check_prompts(path)


@given(data=st.data())
def test_prompts_of_any_parquet(place, data):
    captions = st.lists(st.none() | TEXTS.filter(lambda text: "\ud800" not in text), max_size=3)
    columns = {"captions": st.none() | captions, "n_frames": st.none() | st.integers(-2, 300)}
    made = data.draw(st.lists(st.fixed_dictionaries(columns), min_size=1, max_size=4))
    pq.write_table(pa.Table.from_pylist(made), place / "whole.parquet")
    content = (place / "whole.parquet").read_bytes()
    if data.draw(st.booleans()):
        content = data.draw(changes())(content)
    with changed(place / "p.parquet", content) as path:
        check_prompts(path)


@pytest.mark.parametrize("name", ["p.txt", "p.json", "p.jsonl", "p.csv"])
@pytest.mark.parametrize(
    "content",
    [
        b"walk " * 2_000_000,
        b"[" * 100_000,
        b"\0" * 1000,
        b"\xff\xfe" * 500,
        b"9" * 10_000,
        b'[{"caption": "\\ud800"}]',
        b"walks\t" + b"9" * 5000,
        b"walks," + b"9" * 5_000_000 + b"!",
        b"walks#" * 1_000_000,
    ],
)
def test_prompts_of_one_long_odd_line(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with bounded():
        check_prompts(tmp_path / name)


# Folders and files of motion --------------------------------------------------------------------------------------------


@given(
    text=st.binary(max_size=120) | TEXTS.map(lambda t: f"a person walks#{t}#0.0#{t}\n".encode("utf-8", "surrogatepass")),
    names=st.binary(max_size=60) | TEXTS.map(lambda t: f"000000 {t} 000001".encode("utf-8", "surrogatepass")),
    change=changes(),
)
def test_humanml_folders(place, text, names, change):
    folder = write_folder(place / "humanml", {"000000": (clip(), WHOLE), "000001": (clip(), text)})
    motion = folder / "new_joint_vecs" / "000001.npy"
    with changed(motion, change(motion.read_bytes())), changed(folder / "test.txt", names):
        survives(lambda: read_motions(folder), folder)
        survives(lambda: read_prompts(folder / "test.txt", 40), folder)


@given(array=ARRAYS, change=st.none() | changes())
def test_arrays(place, array, change):
    np.save(place / "whole.npy", array)
    content = (place / "whole.npy").read_bytes()
    with changed(place / "a.npy", change(content) if change else content) as path:
        found = survives(lambda: read_array(path), path)
        assert isinstance(found, str) or found.dtype.kind in "fiu"


def test_arrays_that_are_archives_code_or_enormous(tmp_path):
    np.savez(tmp_path / "archive.npz", a=np.ones(3))
    header = b"{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000000,), }\n"
    files = {
        "archive": (tmp_path / "archive.npz").read_bytes(),
        "bad_archive": b"PK\x03\x04" + bytes(100),
        "code": trapped(tmp_path / "sprung"),
        "enormous": b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header,
        "empty": b"",
    }
    for name, content in files.items():
        (tmp_path / f"{name}.npy").write_bytes(content)
        with bounded():
            refused(lambda: read_array(tmp_path / f"{name}.npy"), tmp_path / f"{name}.npy")
    assert not (tmp_path / "sprung").exists()


@given(change=changes())
def test_parquet_of_clips(place, change):
    write_clips(place / "clips.parquet", clip_rows())
    with changed(place / "c.parquet", change((place / "clips.parquet").read_bytes())) as path:
        survives(lambda: read_clips(path), path)


@given(shape=st.sampled_from([(3, 22, 3), (1, 22, 3), (0, 22, 3), (3, 21, 3), (22, 3), (3, 22, 2), ()]), value=NUMBERS)
def test_motions_written_as_bvh(place, shape, value):
    path = place / "motion.bvh"
    words = survives(
        lambda: write_bvh(path, np.full(shape, value, dtype=np.float64) if abs(value) < 1e308 else np.full(shape, np.inf))
    )
    assert path.exists() is (words is None)
    path.unlink(missing_ok=True)


# Rollouts ---------------------------------------------------------------------------------------------------------------


@given(change=changes())
def test_damaged_rollouts(place, change):
    write_rollout(place / "whole.parquet", rows(), COLUMNS)
    with changed(place / "r.parquet", change((place / "whole.parquet").read_bytes())) as path:
        found = survives(lambda: read_rollout(path), path)
        assert isinstance(found, str) or all(row["motion"] is None or row["motion"].shape == (row["length"], 263) for row in found)


def test_a_flipped_bit_of_what_a_rollout_holds_is_noticed(tmp_path):
    """In the pages, which have checksums; their headers say some things twice, and the footer has none."""
    file = tmp_path / "r.parquet"
    write_rollout(file, rows(), COLUMNS)
    whole, told = file.read_bytes(), pq.read_metadata(file).row_group(0)
    columns = [told.column(i) for i in range(told.num_columns)]
    assert len(columns) > 15
    for column in columns:  # the last page of each ends with it
        content = bytearray(whole)
        content[(column.dictionary_page_offset or column.data_page_offset) + column.total_compressed_size - 2] ^= 1
        file.write_bytes(content)
        refused(lambda: read_rollout(file), file)


@pytest.mark.parametrize(
    "name, value",
    [
        *((name, None) for name in schema(COLUMNS).names if name != "motion"),
        ("components", [("a", None)]),
        ("log_probs", [None]),
        ("timesteps", [1, None]),
        ("motion", b"x"),
        ("motion", pack(np.zeros((21, 263)))[:-1]),
        ("motion", pack(np.full((21, 263), np.nan)) + b"0"),
        ("motion", b"?" + pack(np.zeros((21, 263)))[1:]),
        ("length", -1),
        ("length", 0),
        ("length", 2**31 - 1),
        ("motion", b""),
    ],
)
def test_rollouts_with_cells_that_make_no_sense(place, name, value):
    made = [{**row, "components": list(row["components"].items()), "motion": pack(row["motion"])} for row in rows(2)]
    pq.write_table(pa.Table.from_pylist([made[0], {**made[1], name: value}], schema(COLUMNS)), place / "cells.parquet")
    refused(lambda: read_rollout(place / "cells.parquet"), place / "cells.parquet")


def test_parquet_bombs_and_types_that_bring_code(tmp_path):
    pq.write_table(
        pa.table({"captions": np.zeros(50_000_000, np.int64)}), tmp_path / "bomb.parquet", compression="zstd", use_dictionary=False
    )
    assert (tmp_path / "bomb.parquet").stat().st_size < 1_000_000
    marks = {"ARROW:extension:name": "arrow.py_extension_type", "ARROW:extension:metadata": trapped(tmp_path / "sprung")}
    types = pa.schema([pa.field("captions", pa.list_(pa.string()), metadata=marks), pa.field("n_frames", pa.int64())])
    pq.write_table(pa.table({"captions": [["walk"]], "n_frames": [40]}, schema=types), tmp_path / "code.parquet")
    with bounded():
        for load in (read_clips, read_rollout, lambda path: read_prompts(path, 40)):
            refused(lambda: load(tmp_path / "bomb.parquet"), "bomb.parquet")
            survives(lambda: load(tmp_path / "code.parquet"), "code.parquet")
    assert not (tmp_path / "sprung").exists()
