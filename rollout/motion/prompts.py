"""Where prompts come from: text, JSON, JSON lines, CSV, or the captions of motions in Parquet or a HumanML3D or KIT folder."""

import csv
import io
import json
import logging
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa

from rollout import policy
from rollout.io.errors import InputError
from rollout.io.parquet import read_table
from rollout.io.text_files import read_json, read_text
from rollout.motion.captions import MAX_CHARACTERS, require_caption
from rollout.motion.humanml import MOTIONS, SPAN_FPS, Skipped, is_split_file, read_caption, read_split
from rollout.motion.real import Recorded
from rollout.motion.skeleton import FORMATS, MotionFormat

log = logging.getLogger(__name__)
OTHER_LENGTHS = re.compile(r"\W*(\w*(len|lengths?|frames?|durations?|secs?|seconds?)(_\w+)?|t|times?)\W*", re.IGNORECASE)  # names of one
RATE = re.compile(r"\W*(\w*_)?(fps|frame_?rate)\W*", re.IGNORECASE)
IN_TEXT = "a tab before a number of frames, or quotes around a caption that ends in a number"
IN_CELLS = "a number of frames under the name length, which a caption that ends in a number has beside it"


@dataclass(frozen=True)
class MotionPrompt(policy.Prompt):
    """What to generate, its length in frames, and the `word/POS` tokens of a tagged caption. `recorded`: where the
    motion lies that it describes, which no model is told."""

    length: int
    tokens: tuple[str, ...] = ()
    recorded: Recorded | None = field(default=None, repr=False, compare=False)

    @property
    def told(self) -> str:
        return f"{self.text}|{self.length}"


def read_prompts(path: Path | str, default_length: int, kind: MotionFormat | None = None) -> list[MotionPrompt]:
    """All prompts of a file or folder, in its order; the suffix tells the format of a file.

    * .json: a list of {"caption": text, "length": frames}; without a length, `default_length`. .jsonl: one of them a line
    * .csv: a line of names, of which caption and length are read; length may be missing
    * .parquet: columns captions (list of strings) and n_frames; one prompt a caption
    * a folder in HumanML3D's layout (`rollout.motion.humanml`): its train.txt; one prompt a caption as it stands there, with its
      tokens and its motion's length rounded down to whole fours of frames. A file such as DIR/test.txt beside the folders of the
      clips is taken as the list of clips it is. What cannot be used is skipped, counted and logged
    * anything else is UTF-8 text, one prompt a line, quoted or not, optionally followed by a tab or # and its length in
      frames (#NA: `default_length`); or a HumanML3D caption, caption#word/POS ...#from#to, with its tokens and the length of
      its span. Lines that are blank, or start with # and no number, are skipped

    What may be more than a caption is refused in every file (`rollout.motion.captions`), and so is a number at its end that may be a
    length ("a person walks 132"), unless the length is stated or, in text, the caption is quoted.

    kind: what the model makes, None where that does not matter; a folder of the other format is refused, as are lengths beside another
    `fps`. Raises InputError, naming the place in the file, for a file that is missing, unreadable or without prompts, for an empty or
    overlong caption and for a length that is no positive whole number.
    """
    path = Path(path)
    if path.is_dir() or is_split_file(path):
        return _from_split(path / "train.txt" if path.is_dir() else path, kind)
    if not path.is_file():
        raise InputError(f"{path}: prompt file not found")
    formats = {".json": _from_json, ".jsonl": _from_json_lines, ".csv": _from_csv, ".parquet": _from_parquet}
    found = list(formats.get(path.suffix.lower(), _from_text)(path, default_length, kind))
    if not found:
        raise InputError(f"no prompts in {path}")
    return found


def _lines(path: Path) -> Iterator[tuple[str, str]]:
    """Where it stands, and what it holds, of each line that holds anything."""
    for number, line in enumerate(read_text(path).split("\n"), start=1):
        if line.strip():
            yield f"{path}, line {number}", line.strip(" \r")


def _from_text(path: Path, default_length: int, kind: MotionFormat | None) -> Iterator[MotionPrompt]:
    for where, line in _lines(path):
        if line.lstrip().startswith("#"):
            if re.match(r"\s*#\d", line):
                raise InputError(f"{where}: found {line.strip()[:60]!r}, expected a caption first, or a space after the # of a comment")
            continue
        text, length, tokens = line, default_length, ()
        if line.count("#") == 3:
            try:
                caption, start, end = read_caption(line)
                text, tokens = caption.text, caption.tokens
                length = int(end * SPAN_FPS) - int(start * SPAN_FPS) if start or end else default_length
            except (ValueError, OverflowError):
                raise InputError(f"{where}: found {line[:60]!r}, expected caption#word/POS ...#from#to") from None
        elif stated := re.fullmatch(r"(.*?)(?:\t|(?<=\S)#(?=\d+$|NA$))(.*)", line):
            text = stated[1]
            length = default_length if stated[2] == "NA" else _whole_number(stated[2])
        text, sure = text.strip(), text != line
        if len(text) > 1 and text[0] == text[-1] in "\"'" and text[0] not in text[1:-1]:
            text, sure = text[1:-1].strip(), True
        require_caption(where, text, "" if sure else IN_TEXT)
        yield _prompt(where, text, length, tokens)


def _from_json(path: Path, default_length: int, kind: MotionFormat | None) -> Iterator[MotionPrompt]:
    entries = read_json(path)
    if not isinstance(entries, list):
        raise InputError(f"{path}: found a JSON {type(entries).__name__}, expected a list of prompts")
    for number, entry in enumerate(entries, start=1):
        yield _entry(f"{path}, prompt {number}", entry, default_length, kind)


def _from_json_lines(path: Path, default_length: int, kind: MotionFormat | None) -> Iterator[MotionPrompt]:
    for where, line in _lines(path):
        try:
            entry = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise InputError(f"{where}: not JSON ({str(error)[:120]})") from None
        yield _entry(where, entry, default_length, kind)


def _entry(where: str, entry: object, default_length: int, kind: MotionFormat | None) -> MotionPrompt:
    if not isinstance(entry, dict) or not isinstance(entry.get("caption"), str):
        raise InputError(f'{where}: found {str(entry)[:60]!r}, expected {{"caption": text, "length": frames}}')
    _require_no_other_length(where, entry)
    rate, known = next(filter(RATE.fullmatch, entry), None), [str(each.fps) for each in FORMATS.values() if kind in (None, each)]
    if "length" in entry and rate and str(entry[rate]).strip().removesuffix(".0") not in known:
        found = f"{rate[:60]} {str(entry[rate])[:60]!r}"
        raise InputError(f"{where}: found {found}, expected lengths in the model's frames, {' or '.join(known)} a second")
    caption = entry["caption"].strip()
    require_caption(where, caption, "" if "length" in entry else IN_CELLS)
    return _prompt(where, caption, entry.get("length", default_length))


def _require_no_other_length(where: str, names: Iterable[str]) -> None:
    """InputError for a length under another name, which would be passed over."""
    if "length" not in names and (other := next(filter(OTHER_LENGTHS.fullmatch, names), None)):
        raise InputError(f"{where}: found {other[:60]!r}, expected frames under the name length")


def _from_csv(path: Path, default_length: int, kind: MotionFormat | None) -> Iterator[MotionPrompt]:
    rows = csv.reader(io.StringIO(read_text(path), newline=""), strict=True)
    try:
        names = next(rows, ["caption"])
        if names.count("caption") != 1 or names.count("length") > 1:
            raise InputError(f"{path}, line 1: found columns {str(names)[:100]}, expected caption, and length or none")
        _require_no_other_length(f"{path}, line 1", names)
        for row in filter(None, rows):
            where, cells = f"{path}, line {rows.line_num}", dict(zip(names, row))
            if len(row) != len(names):
                raise InputError(f"{where}: found {len(row)} cells, expected {len(names)} as in line 1")
            stated = {"length": _whole_number(cells["length"])} if "length" in cells else {}
            yield _entry(where, cells | stated, default_length, kind)
    except csv.Error as error:
        raise InputError(f"{path}, line {rows.line_num}: not CSV ({error})") from None


def _from_parquet(path: Path, default_length: int, kind: MotionFormat | None) -> Iterator[MotionPrompt]:
    types = {"captions": pa.list_(pa.string()), "n_frames": pa.int64()}
    table = read_table(path)
    clips = "joints" in table.column_names
    if missing := [name for name in types if name not in table.column_names]:
        raise InputError(f"{path}: no column {missing[0]!r}, expected captions and n_frames")
    try:
        table = table.select(list(types)).cast(pa.schema(types))
    except pa.ArrowException as error:
        raise InputError(f"{path}: not a Parquet file of captions ({str(error).splitlines()[0][:120]})") from None
    for number, row in enumerate(table.to_pylist()):
        where, clip = f"{path}, row {number}", Recorded(path, row=number) if clips else None
        for caption in row["captions"] or []:
            caption = (caption or "").strip()
            require_caption(where, caption, "")
            yield _prompt(where, caption, row["n_frames"], (), clip)


def _from_split(file: Path, kind: MotionFormat | None) -> list[MotionPrompt]:
    prompts, skipped = [], Skipped()
    for motion in read_split(file, skipped):
        if kind and motion.features.shape[1] != kind.features:
            theirs = FORMATS[motion.features.shape[1]]
            expected = f"those of a {kind.name} folder, as the model makes: lengths are in its frames, {kind.fps} a second"
            raise InputError(f"{file}: found motions of {theirs.name}, expected {expected}")
        clip = Recorded(file.parent / MOTIONS / f"{motion.name.partition('#')[0]}.npy", *motion.span)
        for caption in motion.captions:
            if len(caption.text) > MAX_CHARACTERS:
                skipped.add(f"captions of more than {MAX_CHARACTERS} characters", motion.name)
            else:
                prompts.append(MotionPrompt(caption.text, len(motion.features) // 4 * 4, caption.tokens, clip))
    if not prompts:
        raise InputError(f"no prompts in {file}; skipped {skipped}")
    if skipped:
        log.warning("%s: %d prompts; skipped %s", file, len(prompts), skipped)
    return prompts


def _whole_number(text: str) -> int | str:
    """The number, or what stood there instead, for the check to name."""
    return int(text) if text.strip().isascii() and text.strip().isdigit() and len(text) < 10 else text


def _prompt(where: str, text: str, length: object, tokens: tuple[str, ...] = (), clip: Recorded | None = None) -> MotionPrompt:
    if type(length) is not int or length < 1:
        raise InputError(f"{where}: length is {length!r}, expected a positive whole number of frames")
    return MotionPrompt(text, length, tokens, clip)
