"""A run's `adapter/` folder: PEFT's format for an adapter, one safetensors file for a fully trained denoiser."""

import dataclasses
import json
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file
from safetensors.torch import save_file

from rollout.adapter import Adapter
from rollout.errors import InputError
from rollout.motion.policy import MotionDiffusionPolicy, MotionPolicySettings

CONFIG, WEIGHTS, FULL = "adapter_config.json", "adapter_model.safetensors", "denoiser.safetensors"


def save_adapter(policy: MotionDiffusionPolicy, folder: Path) -> None:
    """Writes what `policy` holds; `PeftModel.from_pretrained(denoiser, folder)` reads an adapter back."""
    if policy.settings.lora_rank:
        policy.denoiser.save_pretrained(str(folder))
    else:
        folder.mkdir(parents=True, exist_ok=True)
        save_file({name: p.detach().contiguous() for name, p in policy.denoiser.named_parameters()}, folder / FULL)


def load_policy(settings: MotionPolicySettings, folder: Path | None, device: str = "cpu") -> MotionDiffusionPolicy:
    """The policy of `settings` with the adapter in `folder` (None: the base model, with a zero adapter).

    Rank, alpha and targets are the folder's. Raises InputError naming the file that is missing, damaged or does not fit.
    """
    if folder is None:
        policy = MotionDiffusionPolicy(settings, device)
        policy.load_adapter(Adapter.pack(0, policy.adapter_state()))
        return policy
    folder = Path(folder)
    if (folder / FULL).exists():
        settings, state = dataclasses.replace(settings, lora_rank=0), _read_weights(folder / FULL)
    else:
        settings = dataclasses.replace(settings, **_read_config(folder / CONFIG))
        # PEFT leaves the adapter's name out of the file.
        state = {key.replace(".weight", ".default.weight"): value for key, value in _read_weights(folder / WEIGHTS).items()}
    policy = MotionDiffusionPolicy(settings, device)
    try:
        policy.load_adapter(Adapter.pack(0, state))
    except InputError as error:
        raise InputError(f"{folder}: {error}") from None
    return policy


def _read_weights(file: Path) -> dict[str, np.ndarray]:
    try:
        return load_file(file)
    except FileNotFoundError:
        raise InputError(f"{file}: not found; expected the adapter/ folder of a run") from None
    except (SafetensorError, ValueError) as error:
        raise InputError(f"{file}: not a readable safetensors file ({str(error)[:100]})") from None


def _read_config(file: Path) -> dict:
    try:
        config = json.loads(file.read_text())
        return {"lora_rank": int(config["r"]), "lora_alpha": config["lora_alpha"], "lora_targets": tuple(sorted(config["target_modules"]))}
    except FileNotFoundError:
        raise InputError(f"{file}: not found; expected the adapter/ folder of a run") from None
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{file}: expected PEFT's r, lora_alpha and target_modules ({type(error).__name__}: {error})") from None
