"""Settings as YAML files say them: dotted keys, each with where it stands, and raw values."""

import os
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from pydantic.fields import FieldInfo

from learner.config.settings import GONE
from rewards.component_flags import COMPONENTS, Components, merged, of_file
from rewards.trust import RUN, require_trust
from rollout.io.command import did_you_mean
from rollout.io.errors import InputError
from rollout.io.files import refuse_stand_in
from rollout.io.text_files import parse_yaml

RECIPES = Path(__file__).parents[2] / "configs"

Values = dict[str, tuple[str, Any]]  # by dotted key: where it stands, for messages, and its raw value


def find(name: str) -> Path:
    """The file of that name, or of that name and .yaml, else the recipe that ships under it. Raises InputError that lists these."""
    known = sorted(path.stem for path in RECIPES.glob("*.yaml"))
    for path in (name, f"{name}.yaml", *(RECIPES / f"{recipe}.yaml" for recipe in known if recipe == name)):
        if os.path.isfile(path):  # which, unlike Path.is_file, finds no name too long
            return Path(path)
    if os.path.exists(name):
        return Path(name)
    raise InputError(f"--config: {name} not found, neither a file nor one of the recipes {', '.join(known)}")


def read_yaml(path: Path) -> dict[Any, Any]:
    """What the file holds: sections, or keys of none."""
    refuse_stand_in(path)
    try:
        content = parse_yaml(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"--config: cannot read {path} as text ({type(error).__name__})") from None
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    if not isinstance(content, dict | None):
        raise InputError(f"{path}: found a {type(content).__name__}, expected keys and values such as `iterations: 60`")
    return content or {}


def values_of(
    files: Mapping[Path, dict], settings: Mapping[str, FieldInfo], trusted: Collection[str] | None, left_out: Collection[str] = ()
) -> tuple[Values, Components]:  # fmt: skip
    """The values of all files, of which the later wins, and the components of their rewards.

    trusted: see `require_trust`; None for settings that are looked at and of which nothing is built. left_out: keys that only a run has,
    which its own file may hold.
    """
    values: Values = {}
    components: Components = {}
    for path, content in files.items():
        values |= _values(path, content, settings, left_out if (path.parent / RUN).is_file() else ())
        where, found = values.pop(COMPONENTS, ("", None))
        found = of_file(found, where)
        if trusted is not None:
            require_trust(path, found, trusted)
        components = merged(components, found)
        where, found = values.pop("resume", ("", None))
        if found is not None:
            raise InputError(f"{where}: found {found!r}, expected it as the flag --resume")
    return values, components


def _values(path: Path, content: dict, settings: Mapping[str, FieldInfo], left_out: Collection[str]) -> Values:
    sections = {key.partition(".")[0] for key in (*settings, *left_out) if "." in key}
    # As their flags do, `lora: false` and `objective: trajectory` stand for one setting of the section.
    short = {flag.removeprefix("--"): key for key, field in settings.items() for flag in field.json_schema_extra["flags"]}
    values = {}
    for key, value in content.items():
        if key in sections and isinstance(value, dict):
            values |= {f"{key}.{inner}": item for inner, item in value.items()}
        elif key in sections and value is not None and key not in short:
            raise InputError(f"{path}: {key}: found {value!r}, expected a section of keys and values")
        elif key not in sections or value is not None:
            values[short[key] if key in sections else str(key)] = value
    values = {key: value for key, value in values.items() if key not in left_out}
    for key in values:
        if key in GONE:
            raise InputError(f"{path}: {key}: there is no such setting any more, expected {GONE[key]}")
        if key not in settings:
            raise InputError(f"{path}: unknown key {key}{did_you_mean(key, settings)}")
    return {key: (f"{path}: {key}", value) for key, value in values.items()}
