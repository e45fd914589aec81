"""What a run stands on, by content: on anything else it would go on in other bits, and so it does not go on."""

from pathlib import Path

from learner.run.plan import Plan
from rewards.own_class import module_of, sources_of
from rollout.io.errors import InputError
from rollout.io.files import file_sha256
from rollout.policy import arrays_digest

Standing = dict[str, list[str]]  # by name: what it is, such as a path, and the sha256 of its content


def standing_of(plan: Plan) -> Standing:
    """All that the driver reads: the model's files, prompts, what encodes them, what scores and judges, modules of the user."""
    config, files = plan.config, plan.family.files(plan.config)
    for name, component in config.reward.parsed().items():
        files |= {f"reward module {module}": file for module, file in sources_of(module_of(component.path) or "").items()}
        paths = {key: Path(value) for key, value in component.options.items() if isinstance(value, str)}
        files |= {f"reward.components.{name}.{key}": path for key, path in paths.items() if path.is_file()}
    encoded = [*plan.heldout, *(plan.training[place] for place in plan.examined)]
    return {
        **{name: [str(path), file_sha256(path)] for name, path in files.items()},
        "training prompts": [str(config.rollout.prompts or "those that ship"), plan.prompts_sha256],
        "held-out prompts": [str(config.evaluate.heldout or "those that ship"), arrays_digest({}, repr([c.prompt for c in plan.heldout]))],
        "encoder of prompts": ["by what it makes of them", arrays_digest({}, repr([c.digest for c in encoded]))],
        **plan.rewards.standing(config, [c.prompt for c in encoded], plan.shared),
    }


def require_same(before: Standing, now: Standing) -> None:
    """Raises InputError that names all that has changed since the run began; where it lies may change."""
    nothing = ["nothing", ""]
    pairs = {name: (before.get(name, nothing), now.get(name, nothing)) for name in {**before, **now}}
    if changed := [f"{name}: {_words(old)} -> {_words(new)}" for name, (old, new) in pairs.items() if (old[1] or old) != (new[1] or new)]:
        raise InputError(f"resume: changed since the run began, which would go on in other bits: {'; '.join(changed)}")


def _words(entry: list[str]) -> str:
    what, sha256 = entry
    return f"{what} (sha256 {sha256[:8]})" if sha256 else what

