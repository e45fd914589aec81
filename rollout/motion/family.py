"""The motion-diffusion family: MDM checkpoints that make text into frames of human motion. Cheap to import."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rollout.family import Change
from rollout.motion.settings import Lora, Model, Rollout

ASSETS = Path(__file__).parent.parent / "assets"


class MotionFamily:
    """See `rollout.family.Family`."""

    name = "motion"
    sections = {"model": Model, "lora": Lora, "rollout": Rollout}
    forward = True
    made = "motions"

    def columns(self):
        from rollout.motion.record import COLUMNS

        return COLUMNS

    def preparer(self, config: Any):
        from rollout.motion.prepare import MotionPreparer

        preparer = MotionPreparer(config.model)
        preparer.require_trainable(config.rollout.trained_steps if config.objective.forward else 0)
        return preparer

    def build(self, config: Any) -> Callable:
        from rollout.motion.diffusion_policy import MotionDiffusionPolicy
        from rollout.motion.matching import MatchingPolicy

        return functools.partial(MatchingPolicy if config.objective.forward else MotionDiffusionPolicy, policy_settings(config))

    def files(self, config: Any) -> dict[str, Path]:
        from rollout.motion.checkpoint import checkpoint_files

        prefix = {"prefix": Path(config.model.prefix)} if config.model.prefix else {}
        return checkpoint_files(config.model.checkpoint, config.model.stats) | prefix

    def shipped(self, name: str, config: Any = None) -> Path:
        return ASSETS / f"{name}_prompts.json"

    def describe(self, config: Any, policy: Any) -> str:
        taken = f" ({policy.taken})" if policy.taken else ""
        windows = f" in {config.model.windows} windows" if config.model.windows > 1 else ""
        return f"{config.model.checkpoint}{taken}, {len(policy.schedule)} steps, {policy.frames} frames{windows}"

    def recorded(self, groups: Any) -> Any:
        from rollout.motion.real import recorded

        return recorded(groups)

    def draw(self, folder: Path, changes: list[Change]) -> None:
        from rollout.motion.before_after import draw

        draw(folder, changes)


MOTION = MotionFamily()


def policy_settings(config: Any):
    """Those of a run's policy, from its settings."""
    from rollout.motion.diffusion_policy import MotionPolicySettings

    lora = config.lora
    return MotionPolicySettings(
        config.model, shared_initial_noise=config.rollout.shared_initial_noise,
        lora_rank=lora.r if lora.enabled else 0, lora_alpha=lora.alpha, lora_targets=lora.targets, adapter_seed=config.seed,
        activation_checkpointing=config.optimizer.use_checkpointing, stochastic_steps=config.rollout.stochastic_steps,
        unconditional_gradient=config.objective.guidance_gradient == "both", precision=config.cluster.precision,
    )  # fmt: skip
