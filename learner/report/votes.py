"""The votes of the page's blind comparison, read back as preference data: what was chosen, beside what it was chosen over."""

import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from learner.config.files import read_yaml
from learner.report.family import shown_of
from learner.report.live import require_run
from rollout.family import family
from rollout.io.errors import InputError
from rollout.io.files import replace_file, replacing
from rollout.io.text_files import read_json
from rollout.record import read_rollout

FORMAT = 2  # 1 counted the groups that were shown, from 0
SIDES = ("left", "right")
LINES = ".jsonl"


class Preference(NamedTuple):
    """Of one prompt and one noise, what the model made after `chosen` iterations was found better than after `rejected`.

    `group`, `sample`: where both are in evaluations/<iterations>.parquet of the run. `adapters`: how the digest begins of the adapter
    that made each, the chosen one first."""

    prompt: str
    group: int
    sample: int
    chosen: int
    rejected: int
    adapters: tuple[str, str]


def read_votes(path: Path | str) -> list[Preference]:
    """In the order of the votes; those without a preference are left out. Raises InputError for a file that is none of the page's."""
    content = read_json(Path(path))
    content = content if isinstance(content, dict) and content.get("format") == FORMAT else {}
    votes, adapters = content.get("votes"), content.get("adapters")
    if not isinstance(votes, list) or not isinstance(adapters, dict) or not all(isinstance(each, str) for each in adapters.values()):
        raise InputError(f"{path}: expected the votes that the report's blind comparison downloads, format {FORMAT}")
    found = [_preference(vote, adapters, f"{path}: vote {number}") for number, vote in enumerate(votes, 1)]
    return [preference for preference in found if preference]


def _preference(vote: Any, adapters: dict[str, str], where: str) -> Preference | None:
    numbers = ("group", "sample", *SIDES)
    if not isinstance(vote, dict) or not isinstance(vote.get("prompt"), str) or not all(type(vote.get(name)) is int for name in numbers):
        raise InputError(f"{where}: expected a prompt, and {', '.join(numbers)} as whole numbers")
    if vote.get("chosen") not in (*SIDES, "neither"):
        raise InputError(f"{where}: chosen is {str(vote.get('chosen'))[:40]!r}, expected left, right or neither")
    if lacking := {str(vote[side]) for side in SIDES} - adapters.keys():
        raise InputError(f"{where}: the file names no adapter of iteration {min(lacking)[:40]}")
    if vote["chosen"] == "neither":
        return None
    (other,) = set(SIDES) - {vote["chosen"]}
    sides = vote[vote["chosen"]], vote[other]
    return Preference(vote["prompt"], vote["group"], vote["sample"], *sides, tuple(adapters[str(side)] for side in sides))


def write_preferences(run: Path, votes: Path, out: Path) -> int:
    """How many lines of JSON `out` has now, one a vote with a preference: `prompt`, `chosen` and `rejected`, then where these are in
    the run. An answer stands there as its text; a motion as the name of a .npy in the folder beside `out`, its raw features
    float32 [T, F].

    Raises InputError for what is no run folder, no votes or votes of another run, OSError for a place that cannot be written.
    """
    require_run(run)
    name = str(read_yaml(run / "config.yaml").get("family"))
    if (shown := shown_of(name)) is None:
        raise InputError(f"{run}: a run of family {name[:40]!r}, of which no samples are shown")
    if out.suffix != LINES:
        raise InputError(f"--out: found {out.name}, expected a name that ends in {LINES}")
    preferences = read_votes(votes)
    kept = {}
    for number in {number for each in preferences for number in (each.chosen, each.rejected)}:
        rows = read_rollout(run / "evaluations" / f"{number:06d}.parquet", family(name).columns())
        kept[number] = {(row["group"], row["sample"]): row for row in rows}
    lines, motions = [], {}
    for each in preferences:
        line = {"prompt": each.prompt}
        for side, number, adapter in zip(("chosen", "rejected"), (each.chosen, each.rejected), each.adapters):
            row = kept[number].get((each.group, each.sample))
            if row is None or row["prompt"] != each.prompt or not row["adapter_sha256"].startswith(adapter):
                raise InputError(
                    f"{votes}: votes on group {each.group}, sample {each.sample} after {number} iterations, made by adapter {adapter[:12]} "
                    f"of {each.prompt[:60]!r}: {run} has no such sample"
                )
            line[side] = value = row[shown.column]
            if not isinstance(value, str):
                line[side] = f"{out.stem}/{number:06d}-{each.group}-{each.sample}.npy"
                motions[line[side]] = value
        lines.append(line | {name: getattr(each, name) for name in ("group", "sample")} | {"iterations": [each.chosen, each.rejected]})
    if motions:  # once every vote is known to be good
        out.with_suffix("").mkdir(exist_ok=True)
    for name, features in motions.items():
        with replacing(out.parent / name) as file:
            np.save(file, features)
    replace_file(out, "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines).encode())
    return len(lines)
