"""What a run asks of its reward: named components, each with a path, a weight and a normalisation. Cheap to import."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from rollout.io.credentials import refuse_credentials
from rollout.io.errors import InputError

NORMALISATIONS = ("raw", "std", "rank", "minmax", "percentile")
LARGEST = 1e30  # weight, in float32


@dataclass(frozen=True)
class Component:
    """path: a kind of `rewards/registry.py`, `module:Class`, or an http(s) address. weight: of the normalised value in the
    sum. normalise: what is done to the values of a group first, one of NORMALISATIONS. options: for the constructor. optional,
    by its kind: where it fails it is dropped for that group."""

    path: str
    weight: float = 1.0
    normalise: str = "raw"
    options: dict[str, Any] = field(default_factory=dict)
    optional: bool = False


def parse_components(settings: Mapping[str, Mapping[str, Any]]) -> dict[str, Component]:
    """`{name: {path, weight, normalise, ...options}}` as components. InputError names the first key that is wrong."""
    if not isinstance(settings, Mapping):
        raise InputError(f"reward.components: found {settings!r}, expected a name and its settings for each component")
    return {name: _parse(name, part) for name, part in settings.items()}


def _parse(name: Any, settings: Any) -> Component:
    where = f"reward.components.{name}"
    if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z]\w*", name):
        raise InputError(f"{where}: expected a name of letters, digits and _")
    if not isinstance(settings, Mapping):
        raise InputError(f"{where}: found {settings!r}, expected keys and values such as path: foot_skate")
    refuse_credentials(where, settings)
    options = dict(settings)
    path, weight, normalise = options.pop("path", None), options.pop("weight", 1.0), options.pop("normalise", "raw")
    if not isinstance(path, str) or not path:
        raise InputError(f"{where}.path: found {path!r}, expected a kind that ships, module:Class, or an http address")
    if isinstance(weight, bool) or not isinstance(weight, (int, float)) or not -LARGEST < weight < LARGEST:
        raise InputError(f"{where}.weight: found {weight!r}, expected a finite number")
    if normalise not in NORMALISATIONS:
        raise InputError(f"{where}.normalise: found {normalise!r}, expected one of {', '.join(NORMALISATIONS)}")
    if odd := [key for key in options if not (isinstance(key, str) and key.isidentifier())]:
        raise InputError(f"{where}: key {odd[0]!r}, expected a name")
    for key, value in options.items():
        if not _plain(value):
            raise InputError(f"{where}.{key}: found {value!r}, expected text, numbers, true, false, null, or lists and mappings of these")
    return Component(path, float(weight), normalise, options)


def _plain(value: Any) -> bool:
    """Whether every store can hold an option: YAML also makes dates, bytes, sets, keys that are numbers, and NaN."""
    if isinstance(value, list):
        return all(map(_plain, value))
    if isinstance(value, dict):
        return all(isinstance(key, str) for key in value) and all(map(_plain, value.values()))
    if isinstance(value, float):
        return not math.isnan(value)
    return value is None or isinstance(value, (str, bool)) or (isinstance(value, int) and abs(value) < 2**63)
