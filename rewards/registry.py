"""From the `path` of a reward component to the object that scores: a kind that ships, a class of the user, or a server."""

import inspect
from collections.abc import Callable
from importlib import import_module
from typing import NamedTuple

from rewards.components import Component
from rewards.own_class import find_class, module_of, told
from rewards.reward import Reward
from rollout.io.errors import InputError


class Kind(NamedTuple):
    """`where`: "module:Class", built with the options of the component; None: the evaluator itself is the component.

    evaluator: "tmr" or "t2m", an instance of which the constructor is given first; None for a class that needs neither.
    """

    where: str | None
    evaluator: str | None = None


KINDS = {
    "tmr.cosine": Kind(None, "tmr"),
    "tmr.matching": Kind("rewards.motion.matching:Matching", "tmr"),
    "tmr.diversity": Kind("rewards.motion.diversity:EmbeddingDiversity", "tmr"),
    "t2m.matching": Kind("rewards.motion.matching:T2MMatching", "t2m"),
    "t2m.r_precision": Kind("rewards.motion.r_precision:RPrecision", "t2m"),
    "t2m.combined": Kind("rewards.motion.r_precision:Combined", "t2m"),
    "t2m.diversity": Kind("rewards.motion.diversity:EmbeddingDiversity", "t2m"),
    "foot_skate": Kind("rewards.motion.real_band:FootSkate"),
    "ground_penetration": Kind("rewards.motion.real_band:GroundPenetration"),
    "floating": Kind("rewards.motion.real_band:Floating"),
    "jerk": Kind("rewards.motion.real_band:Jerk"),
    "smoothness": Kind("rewards.motion.real_band:Smoothness"),
    "root_drift": Kind("rewards.motion.real_band:RootDrift"),
    "feature_consistency": Kind("rewards.motion.real_band:FeatureConsistency"),
    "diversity": Kind("rewards.motion.diversity:Diversity"),
}
SERVED = Kind("rewards.motion.served:Served")
EVALUATORS = ("tmr", "t2m")
OWN_KEYS = ["path", "weight", "normalise"]


def kind_of(name: str, path: str) -> Kind:
    """InputError when `path` is none of a kind that ships, `module:Class` and an http address."""
    if path in KINDS:
        return KINDS[path]
    if path.startswith(("http://", "https://")):
        return SERVED
    if module_of(path):
        return Kind(path)
    raise InputError(
        f"reward.components.{name}.path: found {path!r}, expected one of {', '.join(KINDS)}, module:Class or an http address"
    )


def evaluators_of(components: dict[str, Component]) -> list[str]:
    """Names of the evaluators that components read: these train the model, so they cannot judge it."""
    read = {kind_of(name, component.path).evaluator for name, component in components.items()}
    return [name for name in EVALUATORS if name in read]


def choose_judge(components: dict[str, Component], given: str | None) -> tuple[str, bool]:
    """The evaluator that judges, and whether no component reads it: `given`, else T2M unless a component reads only it."""
    read = evaluators_of(components)
    judge = given or ("tmr" if read == ["t2m"] else "t2m")
    return judge, judge not in read


def build(name: str, component: Component, evaluator: Callable[[str], Reward], deadline_s: float = 300.0) -> Reward:
    """The component, ready to score. `evaluator(name)` gives a loaded evaluator; deadline_s: that a served one has for a call.

    Raises InputError, one line that names the component, when it cannot be found, imported or built with its options.
    """
    kind, where = kind_of(name, component.path), f"reward.components.{name}"
    given = [evaluator(kind.evaluator)] if kind.evaluator else []
    if kind.where is None:
        _require_known(where, component.options, [])
        return given[0]
    maker = find_class(f"{where}.path", kind.where) if module_of(component.path) else _shipped(kind.where)
    given += [component.path, deadline_s] if kind is SERVED else []
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
