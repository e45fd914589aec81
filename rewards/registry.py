"""From the `path` of a reward component to the object that scores: a kind that ships, a class of the user, or a server."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any, NamedTuple

from rewards.components import Component
from rewards.own_class import find_class, module_of, told
from rewards.reward import Reward
from rollout.io.errors import InputError

OWN_KEYS = ["path", "weight", "normalise"]


class Kind(NamedTuple):
    """`where`: "module:Class", built with the options of the component; None: the evaluator itself is the component.

    evaluator: what of the family the constructor is given first, by name, such as an evaluator; None for a class that needs
    nothing. optional: where it fails, it is dropped for that group, see `rewards.compose`.
    """

    where: str | None
    evaluator: str | None = None
    optional: bool = False


@dataclass(frozen=True)
class Kinds:
    """Those of a family, by path. `served`: what an http address is, None where it is nothing."""

    shipped: Mapping[str, Kind] = field(default_factory=dict)
    served: Kind | None = None

    def of(self, name: str, path: str) -> Kind:
        """InputError when `path` is none of a kind that ships, `module:Class` and, where there are servers, an http address."""
        if path in self.shipped:
            return self.shipped[path]
        if self.served and path.startswith(("http://", "https://")):
            return self.served
        if module_of(path):
            return Kind(path)
        more = "module:Class or an http address" if self.served else "module:Class"
        raise InputError(f"reward.components.{name}.path: found {path!r}, expected one of {', '.join(self.shipped)}, {more}")

    def build(self, name: str, component: Component, evaluator: Callable[[str], Any] | None, deadline_s: float = 300.0) -> Reward:
        """The component, ready to score. `evaluator(name)` gives a loaded evaluator; deadline_s: that a served one has for a call.

        Raises InputError, one line that names the component, when it cannot be found, imported or built with its options.
        """
        kind, where = self.of(name, component.path), f"reward.components.{name}"
        given = [evaluator(kind.evaluator)] if kind.evaluator else []
        if kind.where is None:
            _require_known(where, component.options, [])
            return given[0]
        maker = find_class(f"{where}.path", kind.where) if module_of(component.path) else _shipped(kind.where)
        given += [component.path, deadline_s] if kind is self.served else []
        parameters = inspect.signature(maker).parameters.values()
        known = [p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)][len(given) :]
        if not any(p.kind is p.VAR_KEYWORD for p in parameters):
            _require_known(where, component.options, known)
        needed = [p.name for p in parameters if p.name in known and p.default is p.empty]
        if absent := [key for key in needed if key not in component.options]:
            raise InputError(f"{where}.{absent[0]}: not given, {component.path} needs it")
        try:
            return maker(*given, **component.options)
        except InputError as error:
            raise InputError(f"{where}: {error}") from None
        except (Exception, SystemExit) as error:
            raise InputError(f"{where}: {component.path} cannot be built: {told(error)}") from None


def _shipped(where: str) -> type:
    module, _, name = where.partition(":")
    return getattr(import_module(module), name)


def _require_known(where: str, options: dict, known: list[str]) -> None:
    for key in options:
        if key not in known:
            raise InputError(f"{where}.{key}: unknown key, expected one of {', '.join(OWN_KEYS + known)}")
