"""From the command line and YAML files to checked settings: a `Config`, or another section of sections.

Precedence: defaults < the run that `--resume` names < `--config FILE` < flags. A key or flag that no section has is an error; of the
settings of a run, another command takes those that it has too.
"""

import argparse
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, get_origin

import yaml
from pydantic.fields import FieldInfo

from learner.config.files import Values, find, read_yaml, values_of
from learner.config.resume import UNTOLD, begun, refuse_changes, run_to_resume
from learner.config.settings import DEFAULT_FAMILY, GONE, Config, kinds, settings
from rewards.component_flags import COMPONENTS, PREFIX, Components, Shorthands, merged, take_component_flags
from rewards.family import shorthands as shorthands_of
from rewards.trust import HELP, modules_of
from rollout.io.command import Parser
from rollout.io.errors import InputError
from rollout.io.files import replace_file
from rollout.io.settings import Section, wanted
from rollout.io.text_files import is_text

DESCRIPTION = "Teach a generative model from a reward: GRPO on Ray. Without flags, the shipped demo of text-to-motion diffusion."
EPILOG = """\
precedence: defaults < the run of --resume < --config FILE < flags. A FILE is YAML of the same sections and keys:

  iterations: 200
  rollout:
    group_size: 16

examples:
  python -m learner.main                              the shipped demo
  python -m learner.main --config people              the shipped vision-language demo
  python -m learner.main --config my.yaml --seed 3 --optimizer.learning_rate 3e-4
  python -m learner.main --resume runs/20260101T000000Z-seed0 --iterations 200
  python -m learner.main --dry_run                    what would run, and what it would need

exit status: 0 finished, 2 bad input (one line says which), 3 ended early by evaluate.on_divergence or health, its adapter saved,
75 stopped by SIGTERM, SIGHUP or Ctrl-C and saved: --resume goes on, 143 stopped before there was anything to save, 1 anything else."""


def parse_config(
    argv: list[str], kind: type[Section] | Callable[[str], type[Section]] = Config, program: str = "learner.main",
    description: str = DESCRIPTION, epilog: str = EPILOG, only_read: bool = False,
):  # fmt: skip
    """The settings, of class `kind`, that `argv` (without the program's name) asks for. kind: or what says the class of a family;
    only_read: nothing is built of them, so that those of anybody's run are welcome.

    Raises InputError for anything wrong in the flags or the files they name; `--help` prints and raises SystemExit(0).
    """
    for flag, word in zip(["", *argv], argv):
        if not is_text(word):  # bytes that are no UTF-8 arrive as halves of characters
            raise InputError(f"{flag if flag.startswith('--') and '=' not in word else word}: found {word!r}, expected UTF-8 text without NUL")
        if (key := word.partition("=")[0].removeprefix("--")) in GONE:
            raise InputError(f"--{key}: there is no such setting any more, expected {GONE[key]}")
    kind_of = (lambda name: kind) if isinstance(kind, type) else kind
    any_kind = kind_of(DEFAULT_FAMILY)
    first = _Flags(add_help=False)
    first.add_argument("--config", action="append", metavar="FILE", help="YAML file of settings, or a recipe by name; given again, the later file wins")
    for key in ("family", "resume"):  # which say what other flags and settings there are
        if key in any_kind.model_fields:
            first.setting(key, any_kind.model_fields[key])
    given = vars(first.parse_known_args(argv)[0])
    run = run_to_resume(given["resume"][1]) if "resume" in given else None
    files = {path: read_yaml(path) for path in map(find, given.get("config", []))}
    of_run = {run / "config.yaml": read_yaml(run / "config.yaml")} if run else {}
    named = [(f"{path}: family", content["family"]) for path, content in {**of_run, **files}.items() if "family" in content]
    where, family = given.get("family", (named or [("", DEFAULT_FAMILY)])[-1])
    try:
        kind = kind_of(str(family))
        known = settings(kind, str(family))
    except InputError as error:
        raise InputError(f"{where}: {str(error).removeprefix('family: ')}") from None
    short = shorthands_of(str(family))
    argv, components = take_component_flags(argv) if COMPONENTS in known else (argv, {})
    given = vars(_parser(first, kinds(kind, str(family)), known, short, f"python -m {program}", description, epilog).parse_args(argv))
    given.pop("config", None)
    shorthands = {flag: text for flag, text in (given.pop(name) for name in short.model_fields if name in given)}
    trusted = None if only_read else {*given.pop("trust", "").split(","), *modules_of(components).values()}
    left_out = set() if kind is Config else settings(Config, str(family)).keys() - known.keys()
    values, in_files = values_of(files, known, trusted, left_out)
    components = merged(in_files, components)
    if components and shorthands:
        raise InputError(f"{next(iter(shorthands))}: given beside {COMPONENTS}, expected one or the other")
    components = components or short.read(shorthands)
    if run:
        return _resumed(run, *values_of(of_run, known, trusted), {**values, **given}, components)
    config = _build(kind, {**values, **given}, components)
    if "seed" in given and getattr(config, "seeds", ()):
        raise InputError(f"{given['seed'][0]}: given beside seeds {','.join(map(str, config.seeds))}, expected one or the other")
    return _named(config) if getattr(config, "run_name", None) else config


def _named(config: Config) -> Config:
    """The settings of the run of that name, which goes on where it has begun.

    Unlike with --resume the command says all: nothing that it leaves out is taken from what the run began with.
    """
    folder = Path(config.run_dir or "runs/NAME").resolve().parent / config.run_name
    config = config.replace(run_dir=str(folder))
    if not begun(folder):
        return config
    if (file := folder / "config.yaml").exists():  # else it was killed before it trained
        content = read_yaml(file)
        before = values_of({file: content}, settings(Config, str(content.get("family", DEFAULT_FAMILY))), None)
        refuse_changes(folder, flatten(_build(Config, *before)), flatten(config))
    return config.replace(resume=str(folder))


def _resumed(run: Path, of_run: Values, components_of_run: Components, values: Values, components: Components) -> Config:
    """The settings of the run in folder `run`, under `values` and `components`.

    Raises InputError when that would change a result, or names another run_dir.
    """
    of_run = {key: value for key, value in of_run.items() if key not in UNTOLD}
    before = _build(Config, of_run, components_of_run)
    now = _build(Config, {**of_run, **values}, merged(components_of_run, components))
    if now.run_dir and Path(now.run_dir).resolve() != run:
        raise InputError(f"run_dir: found {now.run_dir}, expected none beside --resume {run}: a run goes on where it was")
    if now.run_name:
        raise InputError(f"run_name: found {now.run_name}, expected none beside --resume {run}: one or the other says which run")
    refuse_changes(run, flatten(before), flatten(now))
    return now.replace(run_dir=str(run), resume=str(run))


def _build(kind: type[Section], values: Values, components: Components):
    nested: dict[str, Any] = {}
    for key, (_, raw) in {**values, **({COMPONENTS: ("", components)} if components else {})}.items():
        section, _, name = key.rpartition(".")
        (nested.setdefault(section, {}) if section else nested)[name] = raw
    try:
        return kind(**nested)
    except InputError as error:
        key, _, words = str(error).partition(": ")
        raise InputError(f"{values.get(key, (key,))[0]}: {words}") from None


def flatten(config: Section) -> dict[str, Any]:
    """The config as one dict of dotted keys, such as `model.frames`, in the order of the settings."""

    def entries(prefix: str, part: dict):
        for key, value in part.items():
            yield from entries(f"{prefix}{key}.", value) if isinstance(value, dict) and value else [(prefix + key, value)]

    return dict(entries("", config.to_dict()))


def write_config(config: Section, path: Path) -> None:
    """Replace `path` by every setting as YAML; `--config path` gives the same settings back, except that it resumes nothing."""
    written = {key: None if key in ("resume", "run_name") else value for key, value in config.to_dict().items()}
    replace_file(path, yaml.safe_dump(written, sort_keys=False, allow_unicode=True).encode())


class _Keep(argparse.Action):
    """Keeps the raw text of a flag with the name it was given under; the sections read it, as they do what files say."""

    def __call__(self, parser, namespace, values, option_string=None):
        setattr(namespace, self.dest, (option_string, values))


class _Gather(_Keep):
    """As `_Keep`, for a list: given again, the flag adds to it."""

    def __call__(self, parser, namespace, values, option_string=None):
        _, before = getattr(namespace, self.dest, (None, ""))
        super().__call__(parser, namespace, f"{before},{values}".lstrip(","), option_string)


class _Flags(Parser):
    def __init__(self, **options):
        super().__init__(
            **options, allow_abbrev=False, argument_default=argparse.SUPPRESS,
            formatter_class=lambda prog: argparse.RawDescriptionHelpFormatter(prog, max_help_position=34, width=120),
        )  # fmt: skip
        self._negative_number_matcher = re.compile(r"-(\.?\d|inf|nan)")  # argparse's own takes -1e-4 for a flag

    def setting(self, key: str, field: FieldInfo, group=None) -> None:
        """The flag of one setting."""
        (group or self).add_argument(
            f"--{key}", *field.json_schema_extra["flags"], dest=key, metavar=wanted(field.annotation)[0],
            action=_Gather if get_origin(field.annotation) is tuple else _Keep,
            **({"nargs": "?", "const": True} if field.annotation is bool else {}),
            help=f"{field.description} (default: {_shown(field.default)})".replace("%", "%%"),
        )  # fmt: skip


def _parser(
    first: _Flags, sections: Mapping[str, Any], known: Mapping[str, FieldInfo], short: type[Shorthands], program: str, description: str, epilog: str
) -> argparse.ArgumentParser:  # fmt: skip
    usage = f"{program} [--config FILE] [--KEY VALUE ...]"
    parser = _Flags(prog=program, usage=usage, description=description, epilog=epilog, parents=[first])
    if COMPONENTS in known:
        parser.add_argument("--trust", metavar="MODULE,MODULE", help=HELP)
    group = parser.add_argument_group("run")
    for key, field in known.items():
        section, dot, _ = key.partition(".")
        if dot and group.title != section:
            group = parser.add_argument_group(section, sections[section].__doc__)
        if key == COMPONENTS:
            group.add_argument(f"{PREFIX}NAME.KEY", metavar="VALUE", dest="", help=field.description)
            for name, shorthand in short.model_fields.items():
                parser.setting(name, shorthand, group)
        elif f"--{key}" not in first._option_string_actions:
            parser.setting(key, field, group)
    return parser


def _shown(default: Any) -> str:
    """A default as a person would type it."""
    if isinstance(default, tuple):
        return ",".join(default)
    return {"None": "null", "": '""', "True": "true", "False": "false"}.get(str(default), str(default))
