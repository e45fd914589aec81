"""What people put around the tensors of an MDM, whatever they call it: a tensor that each one has says where each set of weights begins."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from rollout.io.errors import InputError

FIRST = "input_process.poseEmbedding.weight"
AVERAGED = re.compile(r"(?<![a-z])(ema|avg|averaged?|shadow|swa)(?![a-z])", re.IGNORECASE)  # in the name of a set
INSIDE = re.compile(r"_(orig_mod|(fsdp|checkpoint)_wrapped_module)\.")  # what torch puts into names, before any part of them
DEEPEST = 3  # such as state_dict in model in a file of a trainer


def unwrapped(content: Any, average: bool, source: Path) -> tuple[Any, str]:
    """The official names with their tensors, and where they stood if the file has several sets of them, such as `model_avg`.

    average: of a moving average and plain weights beside each other the average is taken, else the plain ones, as official code
    does by `use_ema`. What is there alone is taken. What stands beside a set that has a name, such as an optimizer, is passed
    over. Raises InputError for two tensors of one name, and for several sets that the choice does not tell apart.
    """
    if not isinstance(content, Mapping):
        return content, ""
    flat: dict[str, Any] = {}
    for key, value in _leaves(content, set()):
        name = INSIDE.sub("", key)
        if name in flat:
            raise InputError(f"{source}: {key} is there with and without the prefix of a wrapper, expected one of them")
        flat[name] = value
    sets = {key.removesuffix(FIRST): {} for key in flat if key == FIRST or key.endswith(f".{FIRST}")}
    if not sets:
        return flat, ""
    of_kind = [prefix for prefix in sets if bool(AVERAGED.search(prefix)) is average] or list(sets)
    if len(of_kind) > 1:
        names = ", ".join(prefix.rstrip(".") or "tensors without a name around them" for prefix in of_kind)
        raise InputError(f"{source}: found weights of several models ({names[:200]}), expected one, or a moving average beside it")
    longest = sorted(sets, key=len, reverse=True)
    for key, value in flat.items():
        for prefix in filter(key.startswith, longest):
            sets[prefix][key.removeprefix(prefix)] = value
            break
    return sets[of_kind[0]], of_kind[0].rstrip(".") if len(sets) > 1 else ""


def _leaves(content: Mapping, seen: set[int], before: str = "", depth: int = 0) -> Iterator[tuple[str, Any]]:
    """Dotted names, as flat files such as safetensors have them. A dictionary that is there twice is told once."""
    seen.add(id(content))
    for key, value in content.items():
        if not isinstance(value, Mapping) or depth == DEEPEST:
            yield f"{before}{key}", value
        elif id(value) not in seen:
            yield from _leaves(value, seen, f"{before}{key}.", depth + 1)
