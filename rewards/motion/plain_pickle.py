"""Pickles of plain lists and dicts, read without running anything: the only file of the project that unpickles."""

import io
import pickle
from pathlib import Path

from rollout.io.files import reading


class PlainUnpickler(pickle._Unpickler):
    """Builds lists, dicts, strings and numbers. Whatever a pickle would import or call comes through `find_class`.

    It is the unpickler in Python: the one in C makes room for as many remembered objects as a damaged byte claims.
    """

    def find_class(self, module, name):
        raise pickle.UnpicklingError(f"refers to {module}.{name}")


def read_plain_pickle(path: Path):
    """The list or dict that a pickle holds. InputError when missing, damaged, or of anything that needs code to load."""

    def told(error: Exception) -> str:
        reason = str(error) if isinstance(error, pickle.UnpicklingError) else type(error).__name__
        return f"not a readable pickle of a plain list or dict ({' '.join(reason.split())[:120]})"

    with reading(path, told):
        # From memory: a file is asked for as many bytes as a damaged length claims, and makes room for them first.
        return PlainUnpickler(io.BytesIO(path.read_bytes())).load()
