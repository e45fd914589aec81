"""Answers scored without a model: rows of a JSON Lines file in, scores out.

A row is an object with `completion` and what of `problem, problem_type, options, solution` it has; of points also `image, mask, box,
points`, paths relative to the file. A row that is no such object ends the command and is named; a value that a component cannot give
for a row is null, and the reason is printed.
"""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from rewards.components import Component
from rewards.language.answers import Answers
from rewards.scoring import Scores
from rollout.io.errors import InputError
from rollout.io.files import refuse_stand_in, replace_file
from rollout.language.items import Item, Target
from rollout.language.media import image_size

REASONS_SHOWN = 12


def read_rows(path: Path) -> Answers:
    """Every row, in order. InputError, naming the line, for the first that is none."""
    refuse_stand_in(path)
    known: dict[str, Item] = {}
    items, completions = [], []
    try:
        with path.open("rb") as file:
            for line, content in enumerate(file, 1):
                if not content.strip():
                    continue
                where = f"{path} line {line}"
                row = _parsed(content.removeprefix(b"\xef\xbb\xbf") if line == 1 else content, where)
                completions.append(_completion(row, where))
                told = json.dumps({key: value for key, value in row.items() if key != "completion"}, sort_keys=True)
                if told not in known:
                    known[told] = _item(row, where, path.parent)
                items.append(known[told])
    except FileNotFoundError:
        raise InputError(f"{path}: file not found") from None
    except OSError as error:
        raise InputError(f"{path}: not readable ({error.strerror or error})") from None
    if not items:
        raise InputError(f"{path}: no rows, expected one JSON object a line")
    places = {id(item): place for place, item in enumerate(known.values())}
    return Answers([item.text for item in items], np.array([places[id(item)] for item in items]), items, completions)


def _parsed(content: bytes, where: str) -> dict[str, Any]:
    def refuse(constant: str):
        raise ValueError(f"{constant} is no JSON number")

    try:
        row = json.loads(content.decode("utf-8"), parse_constant=refuse)
    except UnicodeDecodeError as error:
        raise InputError(f"{where}: byte {error.start} is not UTF-8 text") from None
    except RecursionError:
        raise InputError(f"{where}: nested too deeply") from None
    except ValueError as error:
        raise InputError(f"{where}: not JSON ({str(error)[:120]})") from None
    if not isinstance(row, dict):
        raise InputError(f"{where}: found a {type(row).__name__}, expected an object with a completion")
    return row


def _completion(row: dict[str, Any], where: str) -> str:
    """Text, or a conversation whose one message has the text, as the originals hand it to rewards."""
    found = row.get("completion")
    while isinstance(found, list) and len(found) == 1:
        found = found[0]
    found = found.get("content") if isinstance(found, dict) else found
    if not isinstance(found, str):
        raise InputError(f"{where}: completion: found {'none' if 'completion' not in row else type(found).__name__}, expected text")
    return found


def _text(row: dict[str, Any], key: str, where: str) -> str:
    """Of a field that is text, a number, a list of one of these, or absent."""
    found = row.get(key)
    if isinstance(found, list):  # of several, none is the one
        found = found[0] if len(found) == 1 else ", ".join(map(str, found))
    if found is None:
        return ""
    if isinstance(found, bool) or not isinstance(found, (str, int, float)):
        raise InputError(f"{where}: {key}: found a {type(found).__name__}, expected text")
    return str(found)


def _item(row: dict[str, Any], where: str, folder: Path) -> Item:
    problem, options = _text(row, "problem", where), row.get("options") or []
    options = options.splitlines() if isinstance(options, str) else options
    if not isinstance(options, list):
        raise InputError(f"{where}: options: found a {type(options).__name__}, expected a list of texts")
    image = row.get("image")
    media = (("image", str(folder / image)),) if isinstance(image, str) and image else ()
    return Item(
        problem, problem, _text(row, "problem_type", where).strip() or ("segmentation" if "mask" in row else ""),
        tuple(map(str, options)), _text(row, "solution", where) or _text(row, "answer", where), media, _target(row, where, folder, media), where,
    )  # fmt: skip


def _target(row: dict[str, Any], where: str, folder: Path, media: tuple) -> Target | None:
    mask, box, points = row.get("mask"), row.get("box"), row.get("points")
    if mask is None or box is None or not media:
        return None
    points = [] if points is None else points
    if not (_numbers(box, 4) and isinstance(points, list) and all(_numbers(point, 2) for point in points)):
        raise InputError(f"{where}: found box {json.dumps(box)[:60]} and points {json.dumps(points)[:60]}, expected [x0, y0, x1, y1] and [[x, y], ...]")
    if not isinstance(mask, (str, dict)):
        raise InputError(f"{where}: mask: found a {type(mask).__name__}, expected the path of a PNG or a run-length encoding")
    text = json.dumps(mask) if isinstance(mask, dict) else mask if mask.lstrip().startswith("{") else str(folder / mask)
    try:
        size = image_size(media[0][1])
    except InputError:
        size = 0, 0  # scoring finds out again, and says why
    return Target(size, text, tuple(map(float, box)), tuple(tuple(map(float, point)) for point in points))


def _numbers(found: Any, count: int) -> bool:
    return isinstance(found, list) and len(found) == count and all(type(n) in (int, float) and abs(n) < 1e9 for n in found)


def write_scores(path: Path, scores: Scores) -> None:
    """A list of one {name: value or null} a row, in order; float32 values in their shortest digits."""
    names = list(scores.values)
    columns = [[float(str(v)) if np.isfinite(v) else None for v in scores.values[name]] for name in names]
    try:
        replace_file(path, f"{json.dumps([dict(zip(names, row)) for row in zip(*columns)], indent=1)}\n".encode())
    except OSError as error:
        raise InputError(f"--scores: cannot write {path} ({error.strerror})") from None


def report(answers: Answers, components: dict[str, Component], scores: Scores) -> list[str]:
    """A table of the scores by component, and in words what cannot be scored or cannot teach."""
    head = "".join(f"{name:>9}" for name in ("mean", "std", "least", "most", "failed"))
    lines = [f"{len(answers)} answers to {len(np.unique(answers.groups))} questions", "", f"{'':<22}{head}"]
    words = []
    for name, values in scores.values.items():
        finite = values[np.isfinite(values)].astype(np.float64)
        failed = len(values) - len(finite)
        numbers = [finite.mean(), finite.std(), finite.min(), finite.max()] if len(finite) else [np.nan] * 4
        lines.append(f"{name:<22}{''.join(f'{number + 0.0:>9.3g}' for number in numbers)}{failed:>9}")
        if not len(finite):
            words.append(f"FAULT  {name}: scores none of the answers")
        elif len(finite) > 1 and np.ptp(finite) == 0:
            words.append(f"note   {name}: constant: every answer scores {finite[0]:.4g}; these teach nothing")
        if failed and components[name].optional:
            words.append(f"note   {name}: in training it is dropped for the groups of the {failed} answers that it failed on")
    reasons = Counter(scores.failures.values()).most_common()
    words += [f"failed {number} answers: {' '.join(reason.split())[:300]}" for reason, number in reasons[:REASONS_SHOWN]]
    words += [f"and {len(reasons) - REASONS_SHOWN} more reasons"] * (len(reasons) > REASONS_SHOWN)
    return [*lines, "", *words] if words else [*lines, "", "every component scores every answer"]
