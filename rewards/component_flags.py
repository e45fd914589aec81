"""Flags that make reward components: `--reward.components.NAME.KEY VALUE`, and those of the original implementation."""

from typing import Any

from rollout.io.errors import InputError
from rollout.io.settings import Section
from rollout.io.text_files import parse_yaml

COMPONENTS = "reward.components"
PREFIX = f"--{COMPONENTS}."
Components = dict[str, dict[str, Any]]


class Shorthands(Section):
    """Flags of an original implementation that stand for components. A family need not have any."""

    @classmethod
    def read(cls, given: dict[str, str]) -> Components:
        """The components that these flags (flag to text) ask for: {} without any. InputError for what does not fit."""
        return {}


def take_component_flags(argv: list[str]) -> tuple[list[str], Components]:
    """The flags that are not of components, and the components of those that are. InputError for one without a value."""
    rest, components, left = [], {}, list(argv)
    while left:
        flag, equals, value = left.pop(0).partition("=")
        if not flag.startswith(PREFIX):
            rest.append(flag + equals + value)
            continue
        name, _, key = flag.removeprefix(PREFIX).partition(".")
        if not name or not key:
            raise InputError(f"{flag}: expected {PREFIX}NAME.KEY VALUE, such as {PREFIX}foot_skate.weight 0.5")
        if not equals:
            if not left or left[0].startswith("--"):
                raise InputError(f"{flag}: expected one argument")
            value = left.pop(0)
        components.setdefault(name, {})[key] = _value(value)
    return rest, components


def of_file(found: Any, where: str) -> Components:
    """What a YAML file has under `reward.components`; `where` that is. InputError when it is no mapping."""
    if not isinstance(found, dict | None):
        raise InputError(f"{where}: found {found!r}, expected a name and its settings for each component")
    return found or {}


def merged(*parts: Components) -> Components:
    """Components key by key; the later part wins."""
    result: Components = {}
    for part in parts:
        for name, settings in part.items():
            both = isinstance(result.get(name), dict) and isinstance(settings, dict)
            result[name] = {**result[name], **settings} if both else settings
    return result


def _value(text: str) -> Any:
    """What YAML makes of the text; a number also for 1e-3, which YAML reads as text."""
    try:
        value = parse_yaml(text)
    except InputError:
        return text
    try:
        return float(value) if isinstance(value, str) and value[:1] in "+-.0123456789" else value
    except ValueError:
        return value
