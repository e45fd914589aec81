"""What a run was made from: settings beside those of its recipe, versions, machine, digests, and the commands that repeat it."""

import contextlib
import json
import shlex
from typing import Any

from learner.config.files import RECIPES
from learner.config.parse import flatten, parse_config
from learner.config.settings import DEFAULT_FAMILY, Config, settings
from learner.diagnose.read import Record
from rewards.trust import RUN
from rollout.io.files import strict
from rollout.motion.model_flags import SAMPLED, flags_of

UNTOLD = ("run_dir", "resume", "dry_run")


def provenance(record: Record) -> dict[str, Any]:
    """`recipe`, its name, `settings` ([key, value, the recipe's, meaning]), `facts` by heading, `commands` ([what for, command])."""
    recipe, settings = _settings(record.config) if record.config else ("", [])
    return {"recipe": recipe, "settings": settings, "facts": _facts(record), "commands": _commands(record)}


def _settings(config: Config) -> tuple[str, list[list[Any]]]:
    """The recipe, and all settings, those that differ from it first."""
    known, now, (recipe, usual) = settings(Config, config.family), flatten(config), nearest(config)
    found = []
    for key in dict.fromkeys([*now, *usual]):
        if key not in UNTOLD:
            values = [json.dumps(strict(of.get(key)), ensure_ascii=False) for of in (now, usual)]
            found.append([key, *values, known[key].description if key in known else ""])
    return recipe, sorted(found, key=lambda entry: entry[1] == entry[2])


def nearest(config: Config) -> tuple[str, dict[str, Any]]:
    """Name and settings of that recipe of the same family of which the fewest settings differ."""
    now, recipes = flatten(config), {}
    for path in sorted(RECIPES.glob("*.yaml")):
        recipe = parse_config(["--config", str(path)], only_read=True)
        if recipe.family == config.family:
            recipes[path.stem] = flatten(recipe)
    recipes["the defaults"] = flatten(Config(family=config.family))
    return min(recipes.items(), key=lambda recipe: sum(now.get(key) != recipe[1].get(key) for key in now.keys() | recipe[1].keys()))


def _facts(record: Record) -> dict[str, dict[str, str]]:
    facts: dict[str, dict[str, str]] = {}
    with contextlib.suppress(OSError, ValueError, TypeError, AttributeError, RecursionError):
        begun = json.loads((record.path / RUN).read_text(encoding="utf-8"))
        facts["begun"] = {"in": str(begun.get("started_in", "")), "format of the run folder": str(begun.get("format", ""))}
        facts |= {part: {str(name): str(value) for name, value in begun[part].items()} for part in ("machine", "versions") if part in begun}
    if digest := record.summary.get("adapter_sha256"):
        facts["digests"] = {"adapter": str(digest)}
    facts["digests"] = facts.get("digests", {}) | standing(record)
    return {part: of for part, of in facts.items() if of}


def standing(record: Record) -> dict[str, str]:
    """By name the sha256 of everything the run stood on, as its newest checkpoint has it."""
    if record.checkpoint is None:
        return {}
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(record.checkpoint, "np") as file:
            facts = json.loads(file.metadata()["run"])["facts"]
        return {str(name): str(sha256 or what) for name, (what, sha256) in facts["standing"].items()}
    except (SafetensorError, OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return {}


def _commands(record: Record) -> list[list[str]]:
    run, commands = shlex.quote(str(record.path)), []
    if record.checkpoint and record.summary.get("status") != "finished":
        commands.append(["go on where it ended", f"python -m learner.main --resume {run}"])
    elif record.checkpoint and record.config:
        commands.append(["go on for longer", f"python -m learner.main --resume {run} --iterations {2 * record.config.iterations}"])
    if record.config:
        commands.append(["repeat it, to the bit on the same machine", f"python -m learner.main --config {run}/config.yaml --run_dir NEW"])
    if record.config and (record.path / "adapter" / "adapter_config.json").is_file():
        if record.config.family == DEFAULT_FAMILY:
            model = flags_of(record.config.model, SAMPLED)
            commands.append(["sample from it", f"python -m rollout.sample --prompts prompts.txt --out out --adapter {run}/adapter{model}"])
        judge = f"python -m learner.evaluate --config {run}/config.yaml --adapter {run}/adapter"
        commands.append(["how good it is, by the official protocol", judge])
    commands.append(["what happened, in words", f"python -m learner.diagnose {run}"])
    return [*commands, ["this page again", f"python -m learner.report {run}"]]
