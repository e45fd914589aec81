"""The votes of the page's blind comparison, read back as preference data."""

from pathlib import Path
from typing import Any, NamedTuple

from rollout.io.errors import InputError
from rollout.io.text_files import read_json

FORMAT = 1
SIDES = ("left", "right")


class Preference(NamedTuple):
    """Of one prompt and one noise, what the model made after `chosen` iterations was found better than after `rejected`.

    `group`, `sample`: where both are in evaluations/<iterations>.parquet of the run."""

    prompt: str
    group: int
    sample: int
    chosen: int
    rejected: int


def read_votes(path: Path | str) -> list[Preference]:
    """In the order of the votes; those without a preference are left out. Raises InputError for a file that is none of the page's."""
    content = read_json(Path(path))
    votes = content.get("votes") if isinstance(content, dict) and content.get("format") == FORMAT else None
    if not isinstance(votes, list):
        raise InputError(f"{path}: expected the votes that the report's blind comparison downloads, format {FORMAT}")
    found = [_preference(vote, f"{path}: vote {number}") for number, vote in enumerate(votes, 1)]
    return [preference for preference in found if preference]


def _preference(vote: Any, where: str) -> Preference | None:
    numbers = ("group", "sample", *SIDES)
    if not isinstance(vote, dict) or not isinstance(vote.get("prompt"), str) or not all(type(vote.get(name)) is int for name in numbers):
        raise InputError(f"{where}: expected a prompt, and {', '.join(numbers)} as whole numbers")
    if vote.get("chosen") not in (*SIDES, "neither"):
        raise InputError(f"{where}: chosen is {str(vote.get('chosen'))[:40]!r}, expected left, right or neither")
    if vote["chosen"] == "neither":
        return None
    (other,) = set(SIDES) - {vote["chosen"]}
    return Preference(vote["prompt"], vote["group"], vote["sample"], vote[vote["chosen"]], vote[other])
