"""Flags of the commands that read a model, from the settings of a run's model. Cheap to import."""

import argparse

from rollout.io.errors import InputError
from rollout.io.settings import wanted
from rollout.motion.settings import Model


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


def _flag(name: str) -> str:
    return "model" if name == "path" else name
