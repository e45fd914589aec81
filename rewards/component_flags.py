"""Flags that make reward components: `--reward.components.NAME.KEY VALUE`, and those of the original implementation."""

from typing import Any, Literal

from rewards.components import DEFAULT
from rollout.io.errors import InputError
from rollout.io.settings import Section, option
from rollout.io.text_files import parse_yaml

COMPONENTS = "reward.components"
PREFIX = f"--{COMPONENTS}."
OPTIONS = {"tmr_similarity_type": "similarity", "tmr_normalization": "mapping", "tmr_max_distance": "max_distance", "tmr_scale": "scale"}
TYPES = {"tmr": ("cosine", "matching"), "t2m": ("matching", "r_precision", "combined")}

Components = dict[str, dict[str, Any]]


class Shorthands(Section):
    """Flags of the original implementation, which make components."""

    reward_model_type: Literal["tmr", "mdm", "t2m"] | None = option(None, "evaluator that the reward is made of; mdm and t2m are one")
    reward_type: Literal["cosine", "matching", "r_precision", "combined"] | None = option(None, "how its embeddings become a score")
    tmr_similarity_type: Literal["cosine", "euclidean"] | None = option(None, "of TMR's matching")
    tmr_normalization: Literal["linear", "exponential", "sigmoid"] | None = option(None, "how TMR's matching maps a distance to a score")
    tmr_max_distance: float | None = option(None, "distance that scores 0 in the linear mapping")
    tmr_scale: float | None = option(None, "scale of the exponential and sigmoid mappings")


def take_component_flags(argv: list[str]) -> tuple[list[str], Components]:
    """The flags that are not of components, and the components of those that are. InputError for one without a value."""
    rest, components, left = [], {}, list(argv)
    while left:
        flag, equals, value = left.pop(0).partition("=")
        if not flag.startswith(PREFIX):
            rest.append(flag + equals + value)
            continue
        name, _, key = flag.removeprefix(PREFIX).partition(".")
        if not name or not key:
            raise InputError(f"{flag}: expected {PREFIX}NAME.KEY VALUE, such as {PREFIX}foot_skate.weight 0.5")
        if not equals:
            if not left or left[0].startswith("--"):
                raise InputError(f"{flag}: expected one argument")
            value = left.pop(0)
        components.setdefault(name, {})[key] = _value(value)
    return rest, components


def of_file(found: Any, where: str) -> Components:
    """What a YAML file has under `reward.components`; `where` that is. InputError when it is no mapping."""
    if not isinstance(found, dict | None):
        raise InputError(f"{where}: found {found!r}, expected a name and its settings for each component")
    return found or {}


def merged(*parts: Components) -> Components:
    """Components key by key; the later part wins."""
    result: Components = {}
    for part in parts:
        for name, settings in part.items():
            both = isinstance(result.get(name), dict) and isinstance(settings, dict)
            result[name] = {**result[name], **settings} if both else settings
    return result


def from_shorthands(given: dict[str, str]) -> Components:
    """The components that the original's flags (flag to text) ask for: {} without any. InputError for what does not fit."""
    if not given:
        return {}
    try:
        asked = Shorthands(**{flag.removeprefix("--"): text for flag, text in given.items()})
    except InputError as error:
        raise InputError(f"--{error}") from None
    evaluator = "tmr" if asked.reward_model_type in (None, "tmr") else "t2m"
    options = {OPTIONS[name]: value for name, value in asked if name in OPTIONS and value is not None}
    kind = asked.reward_type or ("cosine" if evaluator == "tmr" and not options else "matching")
    if kind not in TYPES[evaluator]:
        raise InputError(f"--reward_type: found {kind!r}, {evaluator} has {', '.join(TYPES[evaluator])}")
    if options and (evaluator, kind) != ("tmr", "matching"):
        flag = next(flag for flag in given if flag.removeprefix("--") in OPTIONS)
        raise InputError(f"{flag}: found with {evaluator}.{kind}, expected --reward_model_type tmr --reward_type matching")
    return {evaluator: {"path": f"{evaluator}.{kind}", "weight": 1.0, **options}, "foot_skate": dict(DEFAULT["foot_skate"])}


def _value(text: str) -> Any:
    """What YAML makes of the text; a number also for 1e-3, which YAML reads as text."""
    try:
        value = parse_yaml(text)
    except InputError:
        return text
    try:
        return float(value) if isinstance(value, str) and value[:1] in "+-.0123456789" else value
    except ValueError:
        return value
