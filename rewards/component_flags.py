"""Flags that make reward components: `--reward.components.NAME.KEY VALUE`, and those of the original implementation."""

from typing import Any

from rewards.components import DEFAULT
from rollout.io.errors import InputError
from rollout.io.text_files import parse_yaml

PREFIX = "--reward.components."
# Flags of the original implementation: name, what is expected, help.
SHORTHANDS = {
    "--reward_model_type": (("tmr", "mdm", "t2m"), "evaluator that the reward is made of; mdm and t2m are one"),
    "--reward_type": (("cosine", "matching", "r_precision", "combined"), "how its embeddings become a score"),
    "--tmr_similarity_type": (("cosine", "euclidean"), "of TMR's matching"),
    "--tmr_normalization": (("linear", "exponential", "sigmoid"), "how TMR's matching maps a distance to a score"),
    "--tmr_max_distance": (float, "distance that scores 0 in the linear mapping"),
    "--tmr_scale": (float, "scale of the exponential and sigmoid mappings"),
}
OPTIONS = {
    "--tmr_similarity_type": "similarity", "--tmr_normalization": "mapping", "--tmr_max_distance": "max_distance",
    "--tmr_scale": "scale",
}  # fmt: skip
TYPES = {"tmr": ("cosine", "matching"), "t2m": ("matching", "r_precision", "combined")}

Components = dict[str, dict[str, Any]]


def show_component_flags(group, text: str, keep: type) -> None:
    """Adds them to a group of an argparse parser; those of components for `--help` alone."""
    group.add_argument(f"{PREFIX}NAME.KEY", metavar="VALUE", dest="", help=text)
    for flag, (wanted, meaning) in SHORTHANDS.items():
        shown = "NUMBER" if wanted is float else "{" + ",".join(wanted) + "}"
        group.add_argument(flag, dest=flag, action=keep, metavar=shown, help=f"{meaning}; a shorthand that makes components")


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
    values = {flag: _checked(flag, text) for flag, text in given.items()}
    evaluator = "tmr" if values.get("--reward_model_type", "tmr") == "tmr" else "t2m"
    options = {OPTIONS[flag]: value for flag, value in values.items() if flag in OPTIONS}
    kind = values.get("--reward_type") or ("cosine" if evaluator == "tmr" and not options else "matching")
    if kind not in TYPES[evaluator]:
        raise InputError(f"--reward_type: found {kind!r}, {evaluator} has {', '.join(TYPES[evaluator])}")
    if options and (evaluator, kind) != ("tmr", "matching"):
        flag = next(flag for flag in values if flag in OPTIONS)
        raise InputError(f"{flag}: found with {evaluator}.{kind}, expected --reward_model_type tmr --reward_type matching")
    return {evaluator: {"path": f"{evaluator}.{kind}", "weight": 1.0, **options}, "foot_skate": dict(DEFAULT["foot_skate"])}


def _checked(flag: str, text: str) -> str | float:
    wanted, _ = SHORTHANDS[flag]
    if wanted is not float:
        if text not in wanted:
            raise InputError(f"{flag}: found {text!r}, expected one of {', '.join(wanted)}")
        return text
    try:
        return float(text)
    except ValueError:
        raise InputError(f"{flag}: found {text!r}, expected a number") from None


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
