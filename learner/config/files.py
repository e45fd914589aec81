"""Settings as YAML files say them: dotted keys, each with where it stands, and raw values."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from rewards.component_flags import Components, merged, of_file
from rollout.io.command import did_you_mean
from rollout.io.errors import InputError
from rollout.io.text_files import parse_yaml

COMPONENTS = "reward.components"
# In a file, `lora: false` and `objective: trajectory` stand for the section's first setting.
SHORTHAND = {"lora": "lora.enabled", "objective": "objective.kind"}

Values = dict[str, tuple[str, Any]]  # by dotted key: where it stands, for messages, and its raw value


def read_files(paths: Iterable[str | Path], settings: dict) -> tuple[Values, Components]:
    """The values of all files, of which the later wins, and the components of their rewards."""
    values: Values = {}
    components: Components = {}
    for path in paths:
        values.update(_read_yaml(Path(path), settings))
        where, found = values.pop(COMPONENTS, ("", None))
        components = merged(components, of_file(found, where))
        where, found = values.pop("resume", ("", None))
        if found is not None:
            raise InputError(f"{where}: found {found!r}, expected it as the flag --resume")
    return values, components


def _read_yaml(path: Path, settings: dict) -> Values:
    """Dotted keys of the file, each with where it stands for messages, and its raw value."""
    try:
        content = parse_yaml(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"--config: {path} not found") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"--config: cannot read {path} as text ({type(error).__name__})") from None
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise InputError(f"{path}: found a {type(content).__name__}, expected keys and values such as `iterations: 60`")
    values = {}
    sections = {key.partition(".")[0] for key in settings if "." in key}
    for key, value in content.items():
        if key in sections and value is None:
            continue
        if key in sections and isinstance(value, dict):
            values |= {f"{key}.{inner}": item for inner, item in value.items()}
        elif key in sections and key not in SHORTHAND:
            raise InputError(f"{path}: {key}: found {value!r}, expected a section of keys and values")
        else:
            values[SHORTHAND.get(key, str(key))] = value
    for key in values:
        if key not in settings:
            raise InputError(f"{path}: unknown key {key}{did_you_mean(key, settings)}")
    return {key: (f"{path}: {key}", value) for key, value in values.items()}
