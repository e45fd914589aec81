"""From `module:Class` to a reward of one's own: a class that its own module defines, from a file of the working folder.

Everything else is refused, and by its place before it is imported: a configuration names code of the user and runs no other.
"""

import ast
import importlib
import sys
import traceback
from abc import ABCMeta
from collections.abc import Iterator
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Protocol

from rollout.io.errors import InputError

ROOM = Path(__file__).resolve().parent
ROOMS = ("rollout", "rewards", "learner", "cluster")  # names that no module of a user can have
PLAIN = (type, ABCMeta, type(Protocol))  # kinds of class that run nothing when one of them is looked at or called

_working: Path | None = None


def use_folder(folder: str) -> None:
    """Modules of the user are looked for in `folder`, which imports search after everything installed."""
    global _working
    _working = Path(folder).resolve()
    if folder not in sys.path:
        sys.path.append(folder)


def module_of(path: str) -> str | None:
    """The module of a component whose path is `module:Class`; None for any other path."""
    module, colon, name = path.partition(":")
    return module if colon and all(part.isidentifier() for part in [*module.split("."), name]) else None


def find_class(where: str, path: str) -> type:
    """The class `path`, which defines `__call__`. Raises InputError, one line that starts with `where`, for anything else."""
    module_name, _, name = path.partition(":")
    if (file := source_of(module_name)) is None:
        raise InputError(f"{where}: found {path!r}, expected a class of a file in the working folder; {_working} has no module {module_name!r}")
    _require_first(where, module_name.partition(".")[0], file)
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        raise InputError(f"{where}: no module {error.name!r} that {module_name} imports") from None
    except (Exception, SystemExit) as error:
        raise InputError(f"{where}: module {module_name!r} cannot be imported: {told(error)}") from None
    own = {key: found for key, found in vars(module).items() if type(found) in PLAIN and vars(found).get("__module__") == module_name}
    if name not in own:
        raise InputError(f"{where}: module {module_name!r} defines no plain class {name!r}, found {', '.join(own) or 'none'}")
    if not any("__call__" in vars(base) for base in own[name].__mro__):
        raise InputError(f"{where}: {path} has no __call__(motions), which gives the scores")
    return own[name]


def source_of(module: str) -> Path | None:
    """The file of `module` in the working folder or in this room, found without running anything; None when there is none."""
    rooms = [ROOM.parent] if module.partition(".")[0] == ROOM.name else []
    for place in ([_working] if _working else []) + rooms:
        stem = place.joinpath(*module.split("."))
        for file in (stem / "__init__.py", stem.with_name(f"{stem.name}.py")):
            if file.is_file() and file.resolve().is_relative_to(place):
                return file
    return None


def sources_of(module: str) -> dict[str, Path]:
    """The files of the user that importing `module` reads, by module: its own and those that it names in an import."""
    found, left = {}, [module]
    while left:
        module = left.pop()
        if module in found or module.partition(".")[0] in ROOMS or (file := source_of(module)) is None:
            continue
        found[module], above = file, module.rpartition(".")[0]
        left += [above] if above else []
        with suppress(SyntaxError):  # of one that is imported in vain
            left += _imported(ast.parse(file.read_bytes()), module if file.name == "__init__.py" else above)
    return found


def _imported(tree: ast.Module, package: str) -> Iterator[str]:
    """Every dotted name that may be a module of those that a file of `package` imports."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parts = package.split(".")
            base = ".".join([*parts[: len(parts) - node.level + 1], *([node.module] if node.module else [])]) if node.level else node.module
            yield from (base, *(f"{base}.{alias.name}" for alias in node.names))


def told(error: BaseException) -> str:
    """An exception of foreign code in one line: type, text, and the innermost place."""
    frames = traceback.extract_tb(error.__traceback__)
    place = f" ({frames[-1].filename.rpartition('/')[2]} line {frames[-1].lineno})" if frames else ""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:160]}{place}"


def _require_first(where: str, top: str, file: Path) -> None:
    """InputError when `import top` finds another module than that of `file`, such as one that is installed."""
    spec = getattr(sys.modules[top], "__spec__", None) if top in sys.modules else find_spec(top)
    places = [place for place in (spec.origin, *(spec.submodule_search_locations or [])) if place] if spec else []
    if not any(file.resolve() == Path(place).resolve() or Path(place).resolve() in file.resolve().parents for place in places):
        raise InputError(f"{where}: {file} is hidden by {places[0] if places else top}, which has its name; give it another")
