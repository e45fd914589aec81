"""What people put around the tensors of an MDM: a moving average beside the plain weights, and prefixes of every name."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rollout.io.errors import InputError

AVERAGED, PLAIN = ("model_avg", "ema"), ("model", "state_dict")
DEEPEST = 3  # such as state_dict in model in a file of a trainer


def unwrapped(content: Any, average: bool, source: Path) -> tuple[Any, str]:
    """What is inside, under names without prefixes, and the keys that it was found under, such as `model_avg`.

    average: of a moving average and plain weights beside each other the average is taken, else the plain ones, as official code
    does by `use_ema`. What is there alone is taken. Raises InputError for two tensors of one name.
    """
    order, taken = (*AVERAGED, *PLAIN) if average else (*PLAIN, *AVERAGED), []
    for _ in range(DEEPEST):
        inside = _grouped(content) if isinstance(content, Mapping) else {}
        if name := next((name for name in order if isinstance(inside.get(name), Mapping)), None):
            content = inside[name]
            taken.append(name)
    if not isinstance(content, Mapping):
        return content, ".".join(taken)
    bare: dict[Any, Any] = {}
    for key, value in content.items():
        name = _bare(key) if isinstance(key, str) else key
        if name in bare:
            raise InputError(f"{source}: {key} is there with and without the prefix of a wrapper, expected one of them")
        bare[name] = value
    bare.pop("n_averaged", None)  # of torch's AveragedModel
    return bare, ".".join(taken)


def _grouped(content: Mapping) -> Mapping:
    """As nested what the names of a flat file, such as safetensors, say by their first words."""
    parts = {key: key.split(".", 1) for key in content if isinstance(key, str)}
    if len(parts) < len(content) or not all(len(part) == 2 and part[0] in (*AVERAGED, *PLAIN) for part in parts.values()):
        return content
    groups: dict[str, dict] = {}
    for key, (head, rest) in parts.items():
        groups.setdefault(head, {})[rest] = content[key]
    return groups


def _bare(name: str) -> str:
    """Without what DataParallel and torch.compile put before and into it."""
    return re.sub(r"^(module\.)+", "", name.replace("_orig_mod.", ""))
