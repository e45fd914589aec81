"""Whose word settings are: those in a run folder of somebody else import nothing unless the command line trusts it.

A run folder says in `run.json` who began it, and where. It is one's own for the same user in the same working folder, as long
as it lies on the disk it was begun on: a copy, or what came out of an archive, has another inode than it says.
"""

import json
import os
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from rewards.own_class import module_of
from rollout.io.errors import InputError

RUN = "run.json"
LEFT_BY_RUNS = (RUN, "metrics.jsonl", "summary.json", "log.txt", "checkpoints", "rollouts")
HELP = (
    "modules that the settings of a run folder may import although you did not begin that run, in this working folder, yourself; "
    "a module that a flag names needs no trust"
)


def origin(folder: Path) -> dict[str, Any]:
    """What tells the run in `folder`, which begins now, from those of others."""
    return {"user": os.getuid(), "started_in": os.getcwd(), "inode": folder.stat().st_ino}


def require_trust(settings: str | Path, components: Mapping[str, Any], trusted: Collection[str]) -> None:
    """settings: the file that names `components`. One that lies in no run folder is as good as the user's own command.

    Raises InputError for a component that names a module, in a run folder that is not one's own, which is none of `trusted`.
    """
    folder = Path(settings).resolve().parent
    if not any((folder / name).exists() for name in LEFT_BY_RUNS) or _is_own(folder):
        return
    for name, module in modules_of(components).items():
        if module not in trusted:
            raise InputError(
                f"reward.components.{name}.path: {settings} would have module {module!r} run, and you did not begin that run in "
                f"{os.getcwd()}; --trust {module} allows it"
            )


def modules_of(components: Mapping[str, Any]) -> dict[str, str]:
    """The modules that components, as they were given, would import, by the component's name."""
    paths = {name: component.get("path") for name, component in components.items() if isinstance(component, Mapping)}
    return {name: module for name, path in paths.items() if isinstance(path, str) and (module := module_of(path))}


def _is_own(folder: Path) -> bool:
    try:
        said = json.loads((folder / RUN).read_text(encoding="utf-8"))
        return folder.stat().st_uid == os.getuid() and {**said, **origin(folder)} == said
    except (OSError, ValueError, TypeError, RecursionError):
        return False
