"""The models of an evaluation: the base and adapters of it, and how they come to the samplers, one after the other."""

import functools
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rollout.adapter import Adapter
from rollout.io.errors import InputError

BASE = "base"


@dataclass(frozen=True)
class EvaluatedModel:
    """One row's model: what samplers build of its settings, and the weights that they load. `source`: of an adapter, its folder."""

    name: str
    source: str | None
    policy: type
    settings: Any
    adapter: Adapter

    @property
    def build(self) -> Callable[[str], Any]:
        return functools.partial(self.policy, self.settings)


def named(given: Sequence[str], *taken: str, setting: str = "adapter") -> list[tuple[str, Path]]:
    """Name and path of each `[NAME=]PATH` of a setting; without a name, that of the run, or of what lies there. taken: names of other
    rows."""
    found: dict[str, Path] = {}
    for each in given:
        name, separator, path = (part.strip() for part in each.partition("="))
        if not separator or "/" in name:
            folder = Path(each)
            name = folder.resolve().parent.name if folder.resolve().name == "adapter" else folder.resolve().name
        else:
            folder = Path(path)
        if name in (*found, BASE, *taken):
            raise InputError(f"{setting}: {each}: the name {name!r} is taken, give another as NAME=PATH")
        if not re.fullmatch(r"[\w.\- :]+", name):
            raise InputError(f"{setting}: {each}: the name {name!r} is given to metrics, expected letters, digits, spaces and . - _ :")
        found[name] = folder
    return list(found.items())


def published(models: Sequence[EvaluatedModel], pool: Any) -> Iterator[EvaluatedModel]:
    """Each model once the samplers of `pool` hold it; they were started with the first."""
    loaded = models[0].settings
    for model in models:
        if model.settings != loaded:
            pool.reload(model.build)
            loaded = model.settings
        pool.publish(model.adapter)
        yield model
