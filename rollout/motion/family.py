"""The motion-diffusion family: MDM checkpoints that make text into frames of human motion. Cheap to import."""

import dataclasses
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

    def columns(self):
        from rollout.motion.record import COLUMNS

        return COLUMNS

    def preparer(self, config: Any):
        from rollout.motion.prepare import MotionPreparer

        preparer = MotionPreparer(policy_settings(config))
        preparer.require_trainable()
        return preparer

    def build(self, config: Any) -> Callable:
        from rollout.motion.diffusion_policy import MotionDiffusionPolicy

        return functools.partial(MotionDiffusionPolicy, policy_settings(config))

    def files(self, config: Any) -> dict[str, Path]:
        from rollout.motion.checkpoint import checkpoint_files

        settings = policy_settings(config)
        return checkpoint_files(settings.path, settings.stats)

    def shipped(self, name: str) -> Path:
        return ASSETS / f"{name}_prompts.json"

    def describe(self, config: Any, policy: Any) -> str:
        return f"{policy.settings.path}, {len(policy.schedule)} steps, {config.model.frames} frames"

    def draw(self, folder: Path, changes: list[Change]) -> None:
        from rollout.motion.before_after import draw

        draw(folder, changes)


MOTION = MotionFamily()


def base_settings(model: Model):
    """The base model as it samples, without an adapter."""
    from rollout.motion.diffusion_policy import SHIPPED_MODEL, MotionPolicySettings

    return MotionPolicySettings(
        path=Path(model.path) if model.path else SHIPPED_MODEL, frames=model.frames, respacing=model.steps,
        guidance=model.guidance, stats=Path(model.stats) if model.stats else None, text_encoder=model.text_encoder,
        ddim_eta=model.ddim_eta, lora_rank=0,
    )  # fmt: skip


def policy_settings(config: Any):
    """Those of a run's policy, from its settings."""
    lora = config.lora
    return dataclasses.replace(
        base_settings(config.model), shared_initial_noise=config.rollout.shared_initial_noise,
        lora_rank=lora.r if lora.enabled else 0, lora_alpha=lora.alpha, lora_targets=lora.targets, adapter_seed=config.seed,
        activation_checkpointing=config.optimizer.use_checkpointing,
    )  # fmt: skip
