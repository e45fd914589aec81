"""What a vision-language model is asked: a question about an image, a video or a recording, and what is true of it."""

import json
import logging
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rollout.io.errors import InputError
from rollout.io.files import reading
from rollout.io.skipped import Skipped
from rollout.io.text_files import is_text, read_json
from rollout.language.template import question
from rollout.policy import Prompt

log = logging.getLogger(__name__)
KINDS = ("image", "video", "audio")
SEGMENTATION = "segmentation"
MOST_CHARACTERS = 100_000  # of a question with its options, and of a solution
MOST_POINTS = 64


@dataclass(frozen=True)
class Target:
    """A region of an image that is to be found; everything in pixels of the original image.

    `size`: width, height. `mask`: path of a PNG, or a COCO run-length encoding as JSON text. `box`: x0, y0, x1, y1.
    `points`: positive points (x, y).
    """

    size: tuple[int, int]
    mask: str
    box: tuple[float, float, float, float]
    points: tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Item(Prompt):
    """One question. `text` is the whole of it as the model is told it.

    `problem_type`: the data's own name of it ("multiple choice", "numerical", ...; "segmentation" has a `target`). `solution`:
    as the row has it, tags kept. `media`: (kind, absolute path), kind image, video or audio. `source`: file and row, for messages.
    `media_sha256`: of the bytes of each of `media`, "" where they are not known yet. `hidden`: the media are not shown.
    """

    problem: str = ""
    problem_type: str = ""
    options: tuple[str, ...] = ()
    solution: str = ""
    media: tuple[tuple[str, str], ...] = ()
    target: Target | None = None
    source: str = ""
    media_sha256: tuple[str, ...] = ()
    hidden: bool = False

    @property
    def apart(self) -> str:
        """A blind model is told the same of all pictures, and is asked about different ones."""
        return json.dumps(self.media_sha256) if self.hidden else ""

    @property
    def asked(self) -> str:
        """The same words about another picture ask for something else."""
        return json.dumps([super().asked, [path for _, path in self.media]])

    @property
    def told(self) -> str:
        """All that it says. Media whose bytes are known are told by these and not by their paths, so that another image under
        the same name is noticed, and the same one in another place is not."""
        known = self.media_sha256 or ("",) * len(self.media)
        media = [(kind, digest or path) for (kind, path), digest in zip(self.media, known)]
        target = self.target and (self.target.size, self.target.mask, self.target.box, self.target.points)
        return json.dumps([self.text, self.problem_type, self.solution, media, target], ensure_ascii=False)


@dataclass(frozen=True)
class Source:
    """A file of rows and the folder that their media lie in."""

    file: Path
    data_root: Path


def read_items(
    path: Path | str, seed: int = 0, data_root: Path | str | None = None, tell: Callable[[str], None] = log.warning
) -> list[Item]:  # fmt: skip
    """All items of a file, in its order: .json (a list of rows, such as IntentBench's qa.json), .jsonl, or .yaml, a mix of such files
    (`rollout.language.mix`; `seed` is of its draws). data_root: the folder that the media lie in, None: the file's. tell: is
    given a line about rows that are skipped.

    Rows have the fields of HumanOmniV2: problem, problem_type, options, solution (or answer), data_type, and path or a field named as
    the data_type is; path may name several, {"image": ..., "audio": ...}. Paths are relative to data_root (in a mix, to each set's own)
    and must lie in it. Rows of the type "segmentation" have image, mask (a PNG or an RLE), box (x0, y0, x1, y1), points
    and, optionally, size (width, height). A row that cannot be used is skipped, counted and named. Raises InputError for a file
    that is missing or unreadable, and where nothing is left.
    """
    path = Path(path)
    if path.suffix.lower() in (".yaml", ".yml"):
        from rollout.language.mix import read_mix

        return read_mix(path, seed, tell)
    return usable(list(rows_of(path)), Source(path, Path(data_root or path.parent)), tell)


def rows_of(path: Path) -> Iterator[tuple[str, Any]]:
    """Where it stands, and what it holds, of each row. A line that is not JSON is a row that is no object."""
    if path.suffix.lower() not in (".json", ".jsonl"):
        raise InputError(f"{path}: expected a .json, .jsonl or .yaml file of items")
    if path.suffix.lower() == ".json":
        rows = read_json(path)
        if not isinstance(rows, list):
            raise InputError(f"{path}: found a JSON {type(rows).__name__}, expected a list of rows")
        yield from ((f"{path}, row {number}", row) for number, row in enumerate(rows, start=1))
        return
    with reading(path, lambda error: f"not UTF-8 lines of JSON ({str(error)[:100]})"):
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    for number, line in enumerate(lines, start=1):
        if line.strip():
            try:
                yield f"{path}, line {number}", json.loads(line)
            except (ValueError, RecursionError):
                yield f"{path}, line {number}", None


def usable(rows: list[tuple[str, Any]], source: Source, tell: Callable[[str], None]) -> list[Item]:
    """The items of those rows that can be used; of the rest `tell` is given one line. Raises InputError where none is left."""
    items, skipped, root = [], Skipped(), source.data_root.resolve()
    for where, row in rows:
        try:
            items.append(item_of(row, where, root))
        except InputError as error:
            skipped.add(f"rows {error}", where)
    if not items:
        raise InputError(f"{source.file}: no items" + (f"; skipped {skipped}" if skipped else ""))
    if skipped:
        tell(f"{source.file}: {len(items)} items; skipped {skipped}")
    return items


def item_of(row: Any, where: str, root: Path) -> Item:
    """root: resolved; media lie below it. Raises InputError, without the row's place, that completes "rows ..."."""
    if not isinstance(row, dict):
        raise InputError("that are no JSON object")
    if not _whole(row):
        raise InputError("with NaN, an infinite number or text that no file can hold")
    problem, kind = (_text(row, name) for name in ("problem", "problem_type"))
    options = tuple(str(option) for option in row.get("options") or ())
    if len(problem) + sum(map(len, options)) > MOST_CHARACTERS:
        raise InputError(f"with a question of more than {MOST_CHARACTERS} characters")
    text = question(problem, options, kind)
    if kind == SEGMENTATION:
        media = (("image", _below(root, row.get("image", row.get("path")), "image")),)
        return Item(text, problem, kind, options, str(row.get("solution") or ""), media, _target(row, root, media[0][1]), where)
    solution = row.get("solution") or (f"<answer>{row['answer']}</answer>" if row.get("answer") not in (None, "") else "")
    if not isinstance(solution, str) or not solution.strip() or len(solution) > MOST_CHARACTERS:
        raise InputError(f"whose solution is not a text of 1 to {MOST_CHARACTERS} characters")
    return Item(text, problem, kind, options, solution, _media(row, root), None, where)


def _media(row: dict, root: Path) -> tuple[tuple[str, str], ...]:
    """A row without data_type and path is a question without media."""
    kind = row.get("data_type")
    given = row.get("path") or (row.get(kind) if isinstance(kind, str) else None) or {k: row[k] for k in KINDS if isinstance(row.get(k), str)}
    if not given and kind in (None, "", "text"):
        return ()
    named = given if isinstance(given, dict) else {kind: given}
    if not named or not set(named) <= set(KINDS):
        raise InputError(f"of media {str(sorted(map(str, named)) or kind)[:60]}, expected some of {', '.join(KINDS)}")
    return tuple((each, _below(root, path, each)) for each, path in sorted(named.items(), key=lambda pair: KINDS.index(pair[0])))


def _below(root: Path, path: Any, kind: str) -> str:
    """The absolute path, links followed."""
    if not isinstance(path, str) or not path:
        raise InputError(f"without a path of their {kind}")
    try:
        found = (root / path).resolve()
        exists = found.exists()
    except (OSError, RuntimeError):  # a name too long, links in a circle
        found, exists = root, False
    if not found.is_relative_to(root):
        raise InputError(f"whose {kind} is outside data_root")
    if not exists or found == root:
        raise InputError(f"whose {kind} is missing")
    return str(found)


def _target(row: dict, root: Path, image: str) -> Target:
    from rollout.language.media import image_size, mask_of_rle

    mask, box, points = row.get("mask"), row.get("box", row.get("bbox")), row.get("points")
    size = tuple(_numbers(row["size"], 2, "size")) if "size" in row else image_size(image)
    width, height = size = int(size[0]), int(size[1])
    if isinstance(mask, dict):
        if mask_of_rle(mask, "whose mask").shape != (height, width):
            raise InputError("whose mask has not the size of their image")
        mask = json.dumps(mask)
    else:
        mask = _below(root, mask, "mask")
    if not isinstance(points, list) or not 1 <= len(points) <= MOST_POINTS:
        raise InputError(f"without points, expected 1 to {MOST_POINTS} of [x, y]")
    points = tuple((x, y) for x, y in (_numbers(point, 2, "points") for point in points))
    x0, y0, x1, y1 = _numbers(box, 4, "box")
    if not (0 <= x0 < x1 <= width and 0 <= y0 < y1 <= height) or not all(0 <= x <= width and 0 <= y <= height for x, y in points):
        raise InputError("whose box or points lie outside their image")
    return Target(size, mask, (x0, y0, x1, y1), points)


def _numbers(value: Any, count: int, name: str) -> tuple[float, ...]:
    if not isinstance(value, list) or len(value) != count or not all(type(n) in (int, float) for n in value):
        raise InputError(f"whose {name} is not {count} numbers")
    return tuple(float(n) for n in value)


def _text(row: dict, name: str) -> str:
    if not isinstance(row.get(name), str) or not row[name].strip():
        raise InputError(f"without {name}")
    return row[name]


def _whole(value: Any) -> bool:
    """Whether all numbers in it are finite and all texts are such as a file can hold."""
    if isinstance(value, dict):
        return all(_whole(key) and _whole(each) for key, each in value.items())
    if isinstance(value, list):
        return all(map(_whole, value))
    return is_text(value) if isinstance(value, str) else not isinstance(value, float) or math.isfinite(value)
