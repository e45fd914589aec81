"""Flags of the commands that read a model, from the settings of a run's model. Cheap to import."""

import argparse
import shlex
from collections.abc import Iterable

from rollout.io.errors import InputError
from rollout.io.settings import wanted
from rollout.motion.settings import Model

SAMPLED = ("path", "stats", "text_encoder", "dataset", "prefix", "frames", "steps", "ddim_eta", "guidance")  # what decides a sample


def add_model_flags(parser: argparse.ArgumentParser, *names: str) -> None:
    """`--model` for `model.path`, and the others of `names` as they are called there."""
    for name in names:
        option = Model.model_fields[name]
        default = "null" if option.default is None else option.default
        placeholder = wanted(option.annotation)[0]
        parser.add_argument(f"--{_flag(name)}", metavar=placeholder, default=argparse.SUPPRESS, help=f"{option.description} (default: {default})")


def model_of(args: argparse.Namespace, **more) -> Model:
    """The model that the flags ask for; `more` settings have no flag. InputError names the first flag that is wrong."""
    given = {name: getattr(args, _flag(name)) for name in Model.model_fields if hasattr(args, _flag(name))}
    try:
        return Model(**given, **more)
    except InputError as error:
        name, _, found = str(error).partition(":")
        raise InputError(f"--{_flag(name)}:{found}") from None


def flags_of(model: Model, names: Iterable[str]) -> str:
    """The flags that ask for `model`, each after a space; none where all of `names` are as they are by default."""
    changed = {name: value for name in names if (value := getattr(model, name)) != Model.model_fields[name].default}
    return "".join(f" --{_flag(name)} {shlex.quote(str(value))}" for name, value in changed.items())


def _flag(name: str) -> str:
    return "model" if name == "path" else name
