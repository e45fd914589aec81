"""From the command line and a YAML file to checked settings: a `Config`, or another dataclass of sections.

Precedence: defaults < the run that `--resume` names < `--config FILE` < flags. A key or flag that `learner/config/settings.py`
does not know is an error.
"""

import argparse
import dataclasses
import re
import types
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import yaml

from learner.config.files import COMPONENTS, Values, read_files
from learner.config.resume import refuse_changes, run_to_resume
from learner.config.settings import Config
from rewards.component_flags import SHORTHANDS, Components, from_shorthands, merged, show_component_flags, take_component_flags
from rollout.io.command import Parser
from rollout.io.errors import InputError
from rollout.io.files import replace_file
from rollout.io.text_files import is_text

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
UNIONS = (types.UnionType, Union)  # of `int | None`, of `Literal[...] | None`
TRUE, FALSE = ("true", "yes", "on", "1"), ("false", "no", "off", "0")
DESCRIPTION = "Teach a text-to-motion diffusion model from a reward: GRPO on Ray. Without flags, the shipped demo."
EPILOG = """\
precedence: defaults < the run of --resume < --config FILE < flags. A FILE is YAML of the same sections and keys:

  iterations: 200
  rollout:
    group_size: 16

examples:
  python -m learner.main                              the shipped demo
  python -m learner.main --config my.yaml --seed 3 --optimizer.learning_rate 3e-4
  python -m learner.main --resume runs/20260101T000000Z-seed0 --iterations 200
  python -m learner.main --dry_run                    what would run, and what it would need

exit status: 0 finished, 2 bad input (one line says which), 3 ended early by evaluate.on_divergence or health, its adapter saved,
75 stopped by SIGTERM or Ctrl-C and saved: --resume goes on, 143 stopped before there was anything to save, 1 anything else."""


def parse_config(
    argv: list[str], kind: type = Config, program: str = "learner.main", description: str = DESCRIPTION, epilog: str = EPILOG
):
    """The settings, of class `kind`, that `argv` (without the program's name) asks for.

    Raises InputError for anything wrong in the flags or the files they name; `--help` prints and raises SystemExit(0).
    """
    settings = _settings(kind)
    for flag, word in zip(["", *argv], argv):
        if not is_text(word):  # bytes that are no UTF-8 arrive as halves of characters
            raise InputError(f"{flag if flag.startswith('--') and '=' not in word else word}: found {word!r}, expected UTF-8 text without NUL")
    argv, components = take_component_flags(argv) if COMPONENTS in settings else (argv, {})
    given = vars(_parser(kind, settings, f"python -m {program}", description, epilog).parse_args(argv))
    shorthands = {flag: given.pop(flag)[1] for flag in SHORTHANDS if flag in given}
    values, in_files = read_files(given.pop("config", []), settings)
    run = _convert(given["resume"][1], settings["resume"][0], "--resume") if "resume" in given else None
    components = merged(in_files, components)
    if components and shorthands:
        raise InputError(f"{next(iter(shorthands))}: given beside {COMPONENTS}, expected one or the other")
    components = components or from_shorthands(shorthands)
    if run:
        return _resumed(kind, settings, run_to_resume(run), {**values, **given}, components)
    return _build(kind, settings, {**values, **given}, components)


def _resumed(kind: type, settings: dict, run: Path, values: Values, components: Components):
    """The settings of the run in folder `run`, under `values` and `components`.

    Raises InputError when that would change a result, or names another run_dir.
    """
    of_run, components_of_run = read_files([run / "config.yaml"], settings)
    of_run = {key: value for key, value in of_run.items() if key not in ("resume", "run_dir", "dry_run")}
    before = _build(kind, settings, of_run, components_of_run)
    now = _build(kind, settings, {**of_run, **values}, merged(components_of_run, components))
    if now.run_dir and Path(now.run_dir).expanduser().resolve() != run:
        raise InputError(f"run_dir: found {now.run_dir}, expected none beside --resume {run}: a run goes on where it was")
    refuse_changes(run, flatten(before), flatten(now))
    return dataclasses.replace(now, run_dir=str(run), resume=str(run))


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
    """Replace `path` by every setting as YAML; `--config path` gives the same settings back, except that it resumes nothing."""
    written = to_dict(config)
    if "resume" in written:
        written["resume"] = None
    replace_file(path, yaml.safe_dump(written, sort_keys=False, allow_unicode=True).encode())


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
    parser = Parser(
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


def _build(root: type, settings: dict, values: Values, components: Components):
    if components:
        values = {**values, COMPONENTS: (COMPONENTS, components)}
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
