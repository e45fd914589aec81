"""A family of generative models by name: what it brings to each room is imported when it is asked for."""

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rollout.io.errors import InputError
from rollout.io.settings import Section

FAMILIES = {"motion": "rollout.motion.family:MOTION"}


@dataclass(frozen=True)
class Family:
    """sections: those of the settings that are its own, by name. Cheap to import."""

    name: str
    sections: dict[str, type[Section]]


def family(name: str) -> Family:
    """Raises InputError that names the families there are."""
    return find(FAMILIES, name)


def find(places: Mapping[str, str], name: str) -> Any:
    """What stands at the "module:NAME" that `places` has for a family."""
    if name not in places:
        raise InputError(f"family: found {name!r}, expected one of {', '.join(places)}")
    module, _, attribute = places[name].partition(":")
    return getattr(importlib.import_module(module), attribute)
