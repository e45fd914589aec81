"""The samples of a run for its page: the numbers of all of them, and as many motions or answers as fit.

What fits is chosen in this order: the evaluations; of every iteration the best and the worst sample; of every group the best
and the worst; then whole groups, of iterations as far apart as can be.
"""

import base64
import math
import zlib
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from learner.report.family import Prompts, Shown, Texts
from learner.run.folder import REAL
from rollout.io.errors import InputError
from rollout.io.parquet import read_table
from rollout.record import RECOMPUTED

MOST_ITERATIONS = 150  # of which groups are shown; of a longer run those as far apart as can be
MOST_STOPS = 12  # evaluations of which samples are shown
PICTURES = 2_000_000  # characters of all pictures beside prompts
NUMBERS = (
    "group", "sample", "prompt", "seed", "length", "advantage", "reward", "components", "log_probs", *RECOMPUTED, "adapter_version",
    "adapter_sha256",
)  # fmt: skip
Row = dict[str, Any]


class Samples:
    """Fills `outputs`, packed samples as base64 of zlib, and `actions` of each, up to `room` characters: lists by action of `log_probs`,
    of `ratio` and `kl` where an update made them, and of `tokens` where their texts are known."""

    def __init__(self, shown: Shown | None, prompts: Prompts | None, room: int, texts: Texts | None = None):
        """texts: of a sample's row those of its actions."""
        self.shown, self.prompts, self.room, self.texts = shown, prompts, room, texts
        self.columns = {shown.column, *shown.beside} if shown else set()
        self.outputs: list[str] = []
        self.actions: list[dict[str, list]] = []
        self.pictures: list[str] = []
        self.defects: list[str] = []
        self.example: tuple[Any, Row] | None = None  # value and row of one that could be packed
        self._places: dict[str, int] = {}  # of pictures

    def evaluations(self, folder: Path) -> list[Row]:
        """By evaluation: `iterations` done before it, how many since the one before it are `skipped`, and its groups, with the `real`
        motion of a prompt where that is known. Of those between the first and the last all samples where half the room is enough for
        them, else one a prompt."""
        every = _files(folder)
        files = _spread(every, MOST_STOPS)
        real = self._rows(folder / REAL, self.columns) if self.shown and files and (folder / REAL).exists() else []
        clips = {row["group"]: self._add(row) for row in real}
        found, whole = [], True
        for done, path in enumerate(_farthest_first(files)):  # of the ends, which come first, always all
            if done == 2:
                whole = sum(map(len, self.outputs)) / done * len(files) < self.room / 2
            if rows := self._rows(path, self.columns):
                wanted = {(row["group"], row["sample"]) for row in rows if whole or row["sample"] == 0}
                at = every.index(path)
                skipped = at - 1 - every.index(files[files.index(path) - 1]) if at else 0
                found.append({"iterations": int(path.stem), "skipped": skipped, "groups": self._groups(rows, wanted)})
                for place, group in zip(dict.fromkeys(row["group"] for row in rows), found[-1]["groups"]):
                    group |= {} if clips.get(place) is None else {"real": clips[place]}
        return sorted(found, key=lambda entry: entry["iterations"])

    def iterations(self, folder: Path) -> list[Row]:
        """By iteration, ascending: `iteration`, counted from 0, and its groups."""
        files = _spread(_files(folder), MOST_ITERATIONS)
        numbers = {path: rows for path in files if (rows := self._rows(path, ()))}
        wanted, found = self._fitting(_priority(numbers), numbers), []
        for path in _farthest_first(list(numbers)):  # pictures are for these first
            keys = wanted.get(path, set())
            rows = self._rows(path, self.columns) if keys and self.shown else []
            found.append({"iteration": int(path.stem), "groups": self._groups(rows or numbers[path], keys)})
        return sorted(found, key=lambda entry: entry["iteration"])

    def _fitting(self, order: list[tuple[Path, int, int]], numbers: dict[Path, list[Row]]) -> dict[Path, set[tuple[int, int]]]:
        """The samples, by file, that the room is enough for, by what some of them take."""
        if not self.shown or not numbers:
            return {}
        paths = list(numbers)
        taken = [
            len(packed) + 12 * len(row["log_probs"])
            for path in {paths[0], paths[len(paths) // 2], paths[-1]}
            for row in self._rows(path, self.columns)[:: max(1, len(numbers[path]) // 16)]
            if (packed := self._packed(row)) is not None
        ]
        left = self.room - sum(map(len, self.outputs))
        wanted: dict[Path, set[tuple[int, int]]] = {}
        for path, group, sample in order[: int(left / max(1.0, float(np.mean(taken or [1]))))]:
            wanted.setdefault(path, set()).add((group, sample))
        return wanted

    def _groups(self, rows: list[Row], wanted: set[tuple[int, int]]) -> list[Row]:
        groups: dict[int, list[Row]] = {}
        for row in rows:
            groups.setdefault(row["group"], []).append(row)
        return [self._group(rows, {sample for place, sample in wanted if place == group}) for group, rows in groups.items()]

    def _group(self, rows: list[Row], wanted: set[int]) -> Row:
        """One group, a list by sample of everything that differs between samples."""
        first = rows[0]
        found = {
            "group": first["group"], "prompt": first["prompt"], "version": first["adapter_version"], "sha256": first["adapter_sha256"][:12],
            "lengths": [row["length"] for row in rows], "rewards": [_short(row["reward"]) for row in rows],
            "advantages": [_short(row["advantage"]) for row in rows],
            "log_prob": [_short(_mean(row["log_probs"][: row["length"]])) for row in rows],
            "components": {name: [_short(row["components"].get(name)) for row in rows] for name in first["components"]},
            "outputs": [self._add(row) if row["sample"] in wanted else None for row in rows],
        }  # fmt: skip
        seed = tuple(map(int, first["seed"].split(",")))
        about = {"picture": self._picture(seed, first["prompt"]), "truth": self.prompts and self.prompts.truth(seed, first["prompt"])}
        return found | {name: value for name, value in about.items() if value is not None}

    def _add(self, row: Row) -> int | None:
        """The place of the sample among the outputs; None for one that was not kept."""
        packed = self._packed(row)
        if packed is None:
            return None
        self.outputs.append(packed)
        self.actions.append(self._actions(row))
        return len(self.outputs) - 1

    def _actions(self, row: Row) -> dict[str, list]:
        shown = slice(row["length"])
        ratios = [math.exp(min(value, 700.0)) for value in row["log_ratio"][shown]]
        numbers = {"log_probs": row["log_probs"][shown], "ratio": ratios, "kl": row["kl"][shown]}
        found = {name: [_short(value) for value in values] for name, values in numbers.items()}
        known = {name: values for name, values in found.items() if any(value is not None for value in values)}
        tokens = self.texts(row) if self.texts else None
        return known | ({"tokens": tokens} if tokens else {})

    def _packed(self, row: Row) -> str | None:
        value = row.get(self.shown.column) if self.shown else None
        try:
            packed = None if value is None else base64.b64encode(zlib.compress(self.shown.pack(value, row))).decode()
        except ValueError:
            return None
        if packed:
            self.example = value, row
        return packed

    def _picture(self, seed: tuple[int, ...], prompt: str) -> int | None:
        """The place of the picture beside the prompt among the pictures."""
        if self.prompts is None or sum(map(len, self.pictures)) > PICTURES:
            return None
        picture = self.prompts.picture(seed, prompt)
        if picture is not None and picture not in self._places:
            self._places[picture] = len(self.pictures)
            self.pictures.append(picture)
        return self._places.get(picture)

    def _rows(self, path: Path, more: Collection[str]) -> list[Row]:
        """The rows of a file; none of one that is damaged, which is told."""
        try:
            table = read_table(path, [*NUMBERS, *more])
        except InputError as error:
            self.defects += [str(error)] if str(error) not in self.defects else []
            return []
        return [{**row, "components": dict(row["components"])} for row in table.to_pylist()]


def _priority(numbers: dict[Path, list[Row]]) -> list[tuple[Path, int, int]]:
    """Every sample of every file, what is shown first first: see the head of this file."""
    ranked = {path: sorted(rows, key=_reward) for path, rows in numbers.items()}
    order: dict[tuple[Path, int, int], None] = {}
    for path, rows in ranked.items():
        order |= {_key(path, row): None for row in (rows[-1], rows[0])}
    files = _farthest_first(list(numbers))
    for path in files:
        extremes: dict[int, list[Row]] = {}
        for row in ranked[path]:
            extremes[row["group"]] = [extremes.get(row["group"], [row])[0], row]
        order |= {_key(path, row): None for group in extremes.values() for row in group}
    for path in files:
        order |= {_key(path, row): None for row in numbers[path]}
    return list(order)


def _key(path: Path, row: Row) -> tuple[Path, int, int]:
    return path, row["group"], row["sample"]


def _reward(row: Row) -> float:
    """What failed has no place among the best or the worst: it counts as middling."""
    return row["reward"] if math.isfinite(row["reward"]) else 0.0


def _farthest_first(items: list) -> list:
    """The last, the first, the middle, then the middles of what is between."""
    order, step = [len(items) - 1, 0], len(items) - 1
    while step > 1:
        step = -(-step // 2)
        order += range(step, len(items) - 1, step)
    return [items[place] for place in dict.fromkeys(order) if items]


def _files(folder: Path) -> list[Path]:
    return sorted((path for path in folder.glob("*.parquet") if path.stem.isdecimal()), key=lambda path: int(path.stem))


def _spread(items: list, most: int) -> list:
    """At most so many, evenly apart, the first and the last among them."""
    return [items[place] for place in np.unique(np.linspace(0, len(items) - 1, most).round().astype(int))] if len(items) > most else items


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values)) if len(values) else math.nan


def _short(value: float | None) -> float | None:
    """Five digits; None for what is no finite number."""
    return float(f"{value:.5g}") if value is not None and math.isfinite(value) else None
