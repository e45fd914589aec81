"""What a run was made from: settings beside their defaults, versions, machine, digests, and the commands that repeat it."""

import contextlib
import json
import shlex
from typing import Any

from learner.config.parse import flatten
from learner.config.settings import DEFAULT_FAMILY, Config, settings
from learner.diagnose.read import Record
from rewards.trust import RUN
from rollout.io.files import strict
from rollout.motion.model_flags import SAMPLED, flags_of

UNTOLD = ("run_dir", "resume", "dry_run")


def provenance(record: Record) -> dict[str, Any]:
    """`settings` ([key, value, default, meaning]), `facts` by heading, `commands` ([what for, command])."""
    return {"settings": _settings(record), "facts": _facts(record), "commands": _commands(record)}


def _settings(record: Record) -> list[list[Any]]:
    """Those that differ from the default first."""
    if record.config is None:
        return []
    family = record.config.family
    known, defaults, now = settings(Config, family), flatten(Config(family=family)), flatten(record.config)
    found = []
    for key in dict.fromkeys([*now, *defaults]):
        if key not in UNTOLD:
            values = [json.dumps(strict(of.get(key)), ensure_ascii=False) for of in (now, defaults)]
            found.append([key, *values, known[key].description if key in known else ""])
    return sorted(found, key=lambda entry: entry[1] == entry[2])


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
