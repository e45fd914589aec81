"""Pickles of plain lists and dicts, read without running anything: the only file of the project that unpickles."""

import pickle
from pathlib import Path

from rollout.errors import InputError


class PlainUnpickler(pickle.Unpickler):
    """Builds lists, dicts, strings and numbers. Whatever a pickle would import or call comes through `find_class`."""

    def find_class(self, module, name):
        raise pickle.UnpicklingError(f"refers to {module}.{name}")


def read_plain_pickle(path: Path):
    """The list or dict that a pickle holds. InputError when missing, damaged, or of anything that needs code to load."""
    if not path.is_file():
        raise InputError(f"{path}: file not found")
    try:
        with path.open("rb") as file:
            return PlainUnpickler(file).load()
    except Exception as error:  # a damaged pickle surfaces as almost any exception type
        reason = str(error) if isinstance(error, pickle.UnpicklingError) else type(error).__name__
        raise InputError(f"{path}: not a readable pickle of a plain list or dict ({' '.join(reason.split())[:120]})") from None
