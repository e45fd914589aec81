"""Policies from a run's `adapter/` folder: PEFT's format for an adapter, one safetensors file for a fully trained denoiser."""

import dataclasses
from pathlib import Path

from rollout.adapter import Adapter
from rollout.adapter_folder import read_adapter, read_adapter_weights
from rollout.io.errors import InputError
from rollout.motion.diffusion_policy import MotionDiffusionPolicy, MotionPolicySettings

FULL = MotionDiffusionPolicy.whole_file


def load_policy(settings: MotionPolicySettings, folder: Path | None) -> MotionDiffusionPolicy:
    """The policy of `settings` with the adapter in `folder` (None: the base model, with a zero adapter).

    Rank, alpha and targets are the folder's, whose adapter PEFT may have trained for another program. Raises InputError
    naming the file that is missing, damaged or does not fit.
    """
    if folder is None:
        policy = MotionDiffusionPolicy(settings)
        policy.load_adapter(Adapter.pack(0, policy.adapter_state()))
        return policy
    folder = Path(folder)
    if (folder / FULL).exists():
        settings, state = dataclasses.replace(settings, lora_rank=0), read_adapter_weights(folder / FULL)
    else:
        config, state = read_adapter(folder)
        settings = dataclasses.replace(settings, **config)
    policy = MotionDiffusionPolicy(settings)
    try:
        policy.load_adapter(Adapter.pack(0, state))
    except InputError as error:
        raise InputError(f"{folder}: {error}") from None
    return policy
