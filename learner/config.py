"""From the command line and a YAML file to checked settings: a `Config`, or another dataclass of sections.

Precedence: defaults < `--config FILE` < flags. A key or flag that `learner/settings.py` does not know is an error.
"""

import argparse
import dataclasses
import difflib
import re
import types
from pathlib import Path
from typing import Any, Literal, NoReturn, Union, get_args, get_origin, get_type_hints

import yaml

from rewards.component_flags import SHORTHANDS, from_shorthands, merged, of_file, show_component_flags, take_component_flags
from learner.settings import Config
from rollout.errors import InputError

# Flags under the names that the original implementation gave them.
ALIASES = {
    "run_dir": ["--save_dir"],
    "model.path": ["--model_path"],
    "model.dataset": ["--dataset"],
    "model.steps": ["--num_steps"],
    "lora.enabled": ["--use_lora", "--lora"],
    "lora.r": ["--lora_r"],
    "lora.alpha": ["--lora_alpha"],
    "rollout.prompts_per_iteration": ["--batch_size"],
    "rollout.group_size": ["--group_size"],
    "reward.tmr_text_encoder_path": ["--tmr_text_encoder_path"],
    "reward.tmr_motion_encoder_path": ["--tmr_motion_encoder_path"],
    "reward.tmr_movement_encoder_path": ["--tmr_movement_encoder_path"],
    "objective.kind": ["--objective"],
    "objective.clip_epsilon": ["--clip_epsilon"],
    "objective.kl_penalty": ["--kl_penalty"],
    "objective.advantage_eps": ["--advantage_eps"],
    "optimizer.learning_rate": ["--learning_rate"],
    "optimizer.use_checkpointing": ["--use_checkpointing"],
}
# In a file, `lora: false` and `objective: trajectory` stand for the section's first setting.
COMPONENTS = "reward.components"
SHORTHAND = {"lora": "lora.enabled", "objective": "objective.kind"}
UNIONS = (types.UnionType, Union)  # of `int | None`, of `Literal[...] | None`
TRUE, FALSE = ("true", "yes", "on", "1"), ("false", "no", "off", "0")
DESCRIPTION = "Teach a text-to-motion diffusion model from a reward: GRPO on Ray. Without flags, the shipped demo."
EPILOG = """\
precedence: defaults < --config FILE < flags. A FILE is YAML of the same sections and keys:

  iterations: 200
  rollout:
    group_size: 16

examples:
  python -m learner.main                              the shipped demo
  python -m learner.main --config my.yaml --seed 3 --optimizer.learning_rate 3e-4
  python -m learner.main --dry_run                    what would run, and what it would need

exit status: 0 finished, 2 bad input (one line says which), 143 stopped by SIGTERM or Ctrl-C, 1 anything else."""


def parse_config(
    argv: list[str], kind: type = Config, program: str = "learner.main", description: str = DESCRIPTION, epilog: str = EPILOG
):
    """The settings, of class `kind`, that `argv` (without the program's name) asks for.

    Raises InputError for anything wrong in the flags or the files they name; `--help` prints and raises SystemExit(0).
    """
    settings = _settings(kind)
    argv, components = take_component_flags(argv) if COMPONENTS in settings else (argv, {})
    given = vars(_parser(kind, settings, f"python -m {program}", description, epilog).parse_args(argv))
    shorthands = {flag: given.pop(flag)[1] for flag in SHORTHANDS if flag in given}
    values: dict[str, tuple[str, Any]] = {}
    in_files = []
    for path in given.pop("config", []):
        values.update(_read_yaml(Path(path), settings))
        where, found = values.pop(COMPONENTS, ("", None))
        in_files.append(of_file(found, where))
    components = merged(*in_files, components)
    if components and shorthands:
        raise InputError(f"{next(iter(shorthands))}: given beside {COMPONENTS}, expected one or the other")
    if components := components or from_shorthands(shorthands):
        values[COMPONENTS] = COMPONENTS, components
    return _build(kind, settings, {**values, **given})


def to_dict(config) -> dict[str, Any]:
    """The config as nested plain dicts and lists, as YAML and JSON want it."""
    return _plain(dataclasses.asdict(config))


def flatten(config) -> dict[str, Any]:
    """The config as one dict of dotted keys, such as `model.frames`, in the order of the settings."""

    def entries(prefix: str, part: dict):
        for key, value in part.items():
            yield from entries(f"{prefix}{key}.", value) if isinstance(value, dict) and value else [(prefix + key, value)]

    return dict(entries("", to_dict(config)))


def write_config(config, path: Path) -> None:
    """Write every setting as YAML; `--config path` gives the same settings back."""
    path.write_text(yaml.safe_dump(to_dict(config), sort_keys=False, allow_unicode=True), encoding="utf-8")


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return list(value) if isinstance(value, tuple) else value


def _settings(root: type) -> dict[str, tuple[Any, dataclasses.Field]]:
    """Type and dataclass field of every setting by its dotted key."""
    found = {}
    for name, kind in get_type_hints(root).items():
        if dataclasses.is_dataclass(kind):
            hints = get_type_hints(kind)
            found |= {f"{name}.{item.name}": (hints[item.name], item) for item in dataclasses.fields(kind)}
        else:
            found[name] = (kind, root.__dataclass_fields__[name])
    return found


SETTINGS = _settings(Config)


class _Parser(argparse.ArgumentParser):
    """argparse that raises our one line instead of printing its usage."""

    def error(self, message: str) -> NoReturn:
        raise InputError(message.removeprefix("argument "))

    def parse_args(self, args=None, namespace=None):
        known, unknown = self.parse_known_args(args, namespace)
        if unknown:
            flag = unknown[0].partition("=")[0]
            raise InputError(f"unknown flag {flag}{_did_you_mean(flag, self._option_string_actions)}; --help lists them all")
        return known


class _Keep(argparse.Action):
    """Keeps the raw text of a flag with the name it was given under; conversion happens once, for flags and files alike."""

    def __call__(self, parser, namespace, values, option_string=None):
        setattr(namespace, self.dest, (option_string, values))


class _Gather(_Keep):
    """As `_Keep`, for a list: given again, the flag adds to it."""

    def __call__(self, parser, namespace, values, option_string=None):
        _, before = getattr(namespace, self.dest, (None, ""))
        super().__call__(parser, namespace, f"{before},{values}".lstrip(","), option_string)


def _parser(root: type, settings: dict, program: str, description: str, epilog: str) -> argparse.ArgumentParser:
    parser = _Parser(
        prog=program,
        usage=f"{program} [--config FILE] [--KEY VALUE ...]",
        description=description,
        epilog=epilog,
        allow_abbrev=False,
        argument_default=argparse.SUPPRESS,
        formatter_class=lambda prog: argparse.RawDescriptionHelpFormatter(prog, max_help_position=34, width=120),
    )
    parser._negative_number_matcher = re.compile(r"-(\.?\d|inf|nan)")  # argparse's own takes -1e-4 for a flag
    parser.add_argument("--config", action="append", metavar="FILE", help="YAML file of settings; given again, the later file wins")
    group = parser.add_argument_group("run")
    for key, (kind, setting) in settings.items():
        section, dot, _ = key.partition(".")
        if dot and group.title != section:
            group = parser.add_argument_group(section, get_type_hints(root)[section].__doc__)
        if key == COMPONENTS:
            show_component_flags(group, setting.metadata["help"], _Keep)
            continue
        group.add_argument(
            f"--{key}",
            *ALIASES.get(key, []),
            dest=key,
            action=_Gather if get_origin(kind) is tuple else _Keep,
            metavar=_wanted(kind, short=True),
            **({"nargs": "?", "const": True} if kind is bool else {}),
            help=f"{setting.metadata['help']} (default: {_shown(setting.default)})".replace("%", "%%"),
        )
    return parser


def _shown(default: Any) -> str:
    """A default as a person would type it."""
    if isinstance(default, tuple):
        return ",".join(default)
    return {"None": "null", "": '""', "True": "true", "False": "false"}.get(str(default), str(default))


class _Loader(yaml.SafeLoader):
    """SafeLoader that refuses a key given twice, of which YAML would silently keep the last."""

    def construct_mapping(self, node, deep=False):
        seen = [self.construct_object(key, deep=True) for key, _ in node.value]
        for key in seen:
            if seen.count(key) > 1:
                raise yaml.constructor.ConstructorError(problem=f"key {key!r} is given twice", problem_mark=node.start_mark)
        return super().construct_mapping(node, deep)


def _read_yaml(path: Path, settings: dict) -> dict[str, tuple[str, Any]]:
    """Dotted keys of the file, each with where it stands for messages, and its raw value."""
    try:
        content = _Loader(path.read_text(encoding="utf-8")).get_single_data()
    except FileNotFoundError:
        raise InputError(f"--config: {path} not found") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"--config: cannot read {path} as text ({type(error).__name__})") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f" line {mark.line + 1}:" if mark else ""
        raise InputError(f"{path}:{line} not valid YAML ({getattr(error, 'problem', None) or 'unreadable'})") from None
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
            raise InputError(f"{path}: unknown key {key}{_did_you_mean(key, settings)}")
    return {key: (f"{path}: {key}", value) for key, value in values.items()}


def _did_you_mean(name: str, known) -> str:
    close = difflib.get_close_matches(name, list(known), n=1)
    return f" (did you mean {close[0]}?)" if close else ""


def _build(root: type, settings: dict, values: dict[str, tuple[str, Any]]):
    nested: dict[str, dict[str, Any]] = {}
    for key, (where, raw) in values.items():
        section, _, name = key.rpartition(".")
        nested.setdefault(section, {})[name] = raw if key == COMPONENTS else _convert(raw, settings[key][0], where)
    hints = get_type_hints(root)
    top = nested.pop("", {})
    return root(**top, **{section: hints[section](**part) for section, part in nested.items()})


def _convert(raw: Any, kind: Any, where: str) -> Any:
    """`raw` (text of a flag, or what YAML made of it) as a value of type `kind`."""
    text = raw.strip().lower() if isinstance(raw, str) else None
    if get_origin(kind) in UNIONS:
        if raw is None or text in ("null", "none"):
            return None
        kind = get_args(kind)[0]
    number = isinstance(raw, (int, float)) and not isinstance(raw, bool)
    if get_origin(kind) is Literal and raw in get_args(kind):
        return raw
    if get_origin(kind) is tuple:
        items = [item.strip() for item in raw.strip("[] ").split(",")] if isinstance(raw, str) else raw
        if isinstance(items, list) and all(isinstance(item, str) for item in items):
            return tuple(items)
    if kind is bool and (isinstance(raw, bool) or text in TRUE + FALSE):
        return raw if isinstance(raw, bool) else text in TRUE
    if kind is str and (isinstance(raw, str) or (number and isinstance(raw, int))):
        return str(raw)
    if kind in (int, float) and (isinstance(raw, str) or (number and not (kind is int and isinstance(raw, float)))):
        try:
            return kind(raw)
        except (ValueError, OverflowError):
            pass
    raise InputError(f"{where}: found {raw!r}, expected {_wanted(kind)}")


def _wanted(kind: Any, short: bool = False) -> str:
    """What a value of `kind` looks like: a placeholder for `--help`, or words for a message."""
    if get_origin(kind) in UNIONS:
        kind = get_args(kind)[0]
    if get_origin(kind) is Literal:
        return "{" + ",".join(get_args(kind)) + "}" if short else "one of " + ", ".join(get_args(kind))
    if get_origin(kind) is tuple:
        return "A,B" if short else "a list of names"
    return {
        bool: ("BOOL", "true or false"),
        int: ("INT", "a whole number"),
        float: ("NUMBER", "a number"),
        str: ("TEXT", "text"),
    }[kind][0 if short else 1]
