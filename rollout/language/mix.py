"""A mix of files of items, as YAML: `datasets: [{json_path, data_root, sampling_strategy, weight}]`."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from rollout.io.errors import InputError
from rollout.io.files import reading
from rollout.io.text_files import parse_yaml
from rollout.language.items import Item, Source, rows_of, usable

FIELDS = ("json_path", "data_root", "sampling_strategy", "weight")
STRATEGIES = ("all", "first", "end", "random")


def read_mix(path: Path, seed: int, tell: Callable[[str], None]) -> list[Item]:
    """The items of all data sets, one set after the other. tell: see `usable`.

    * json_path: a .json or .jsonl file; data_root: the folder that its media lie in, its own where none is given. Both are
      relative to the YAML file's folder
    * sampling_strategy: all, first:N, end:N or random:N rows; with N% so many hundredths of that file's rows, rounded up
    * weight: the share of the mix that the set has, in any unit (90 and 10 are nine tenths and one). Given for one set it is given
      for all. The mix is then as long as its sets together; a set shorter than its share is gone through more than once, of a
      longer one some are drawn

    Draws are those of `seed` and the set's number. Raises InputError naming the set.
    """
    with reading(path, lambda error: f"not UTF-8 text ({str(error)[:100]})"):
        text = path.read_text(encoding="utf-8-sig")
    try:
        content = parse_yaml(text)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    sets = content.get("datasets") if isinstance(content, dict) else None
    if not isinstance(sets, list) or not sets:
        raise InputError(f"{path}: expected datasets: a list of {{{', '.join(FIELDS)}}}")
    items, weights = [], []
    for number, entry in enumerate(sets):
        where = f"{path}, dataset {number + 1}"
        source, strategy, weight = _entry(entry, where, path.parent)
        rows = list(rows_of(source.file))
        items.append(usable([rows[i] for i in chosen(len(rows), strategy, np.random.default_rng([seed, number]), where)], source, tell))
        weights.append(weight)
    if weights.count(None) not in (0, len(weights)):
        raise InputError(f"{path}: dataset {weights.index(None) + 1} has no weight, expected one for all data sets or for none")
    if weights[0] is not None:
        counts = shares(sum(map(len, items)), weights)
        items = [drawn(own, count, np.random.default_rng([seed, number, 1])) for number, (own, count) in enumerate(zip(items, counts))]
    return [item for own in items for item in own]


def chosen(total: int, strategy: str, draw: np.random.Generator, where: str) -> list[int]:
    """Numbers of the rows, in their order, that a strategy takes of `total`. Raises InputError for one that does not exist."""
    name, _, amount = strategy.partition(":")
    digits = amount.removesuffix("%")
    if strategy == "all":
        return list(range(total))
    if name not in STRATEGIES[1:] or not (digits.isascii() and digits.isdigit() and len(digits) < 10) or int(digits) == 0:
        raise InputError(f"{where}: sampling_strategy is {strategy[:60]!r}, expected all, first:N, end:N or random:N, N a positive number of rows or N%")
    count = math.ceil(total * int(digits) / 100) if amount.endswith("%") else int(digits)
    if amount.endswith("%") and int(digits) > 100:
        raise InputError(f"{where}: sampling_strategy is {strategy[:60]!r}, expected at most 100%")
    count = min(count, total)
    if name == "random":
        return sorted(draw.choice(total, count, replace=False).tolist())
    return list(range(count)) if name == "first" else list(range(total - count, total))


def shares(total: int, weights: list[float]) -> list[int]:
    """`total` in the ratio of `weights`: rounded down, and what is left to the largest remainders. None is left without any."""
    exact = np.array(weights) / sum(weights) * total
    counts = np.floor(exact).astype(int)
    counts[np.argsort(counts - exact, kind="stable")[: total - counts.sum()]] += 1
    return np.maximum(counts, 1).tolist()


def drawn(items: list[Item], count: int, draw: np.random.Generator) -> list[Item]:
    """`count` of `items`: all of them as often as that goes, the rest without one twice."""
    rest = sorted(draw.choice(len(items), count % len(items), replace=False).tolist())
    return items * (count // len(items)) + [items[i] for i in rest]


def _entry(entry: Any, where: str, folder: Path) -> tuple[Source, str, float | None]:
    if not isinstance(entry, dict) or not isinstance(entry.get("json_path"), str):
        raise InputError(f"{where}: found {str(entry)[:60]!r}, expected {{{', '.join(FIELDS)}}}")
    if odd := [str(key) for key in entry if key not in FIELDS]:
        raise InputError(f"{where}: found {odd[0][:60]!r}, expected {', '.join(FIELDS)}")
    strategy, weight, root = entry.get("sampling_strategy", "all"), entry.get("weight"), entry.get("data_root")
    if not isinstance(strategy, str):
        raise InputError(f"{where}: sampling_strategy is {str(strategy)[:60]!r}, expected all, first:N, end:N or random:N")
    if weight is not None and not (type(weight) in (int, float) and 0 < weight < math.inf):
        raise InputError(f"{where}: weight is {str(weight)[:60]!r}, expected a positive number")
    if root is not None and not (isinstance(root, str) and (folder / root).is_dir()):
        raise InputError(f"{where}: data_root {str(root)[:100]!r} is no folder")
    file = folder / entry["json_path"]
    return Source(file, folder / root if root else file.parent), strategy, weight
