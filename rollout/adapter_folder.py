"""What a run's `adapter/` folder holds, of any family: PEFT's format, or tensors in a safetensors file."""

import json
from pathlib import Path

import numpy as np

from rollout.io.errors import InputError
from rollout.io.text_files import read_json
from rollout.io.weights import read_safetensors
from rollout.lora import CONFIG, WEIGHTS, names_from_peft

# What PEFT's options may be, as JSON: FREE ones do not change what saved weights mean, all others are plain or not set. An empty
# config of a variant is not nothing, but that variant by its defaults.
FREE = {
    "r", "lora_alpha", "target_modules", "task_type", "auto_mapping", "base_model_name_or_path", "revision", "inference_mode",
    "peft_version", "lora_dropout", "megatron_core", "qalora_group_size",
}  # fmt: skip
PLAIN = {
    "peft_type": ['"LORA"'], "bias": ['"none"'], "use_rslora": ["true"], "init_lora_weights": ["true", '"gaussian"'],
    "rank_pattern": ["{}"], "alpha_pattern": ["{}"], "loftq_config": ["{}"], "modules_to_save": ["[]"], "exclude_modules": ["[]"],
    "layers_to_transform": ["[]"], "layers_pattern": ["[]"],
}  # fmt: skip
UNSET = ["null", "false"]
PICKLED = "adapter_model.bin"
NOT_FOUND = "not found; expected the adapter/ folder of a run"


def read_adapter(folder: Path) -> tuple[dict, dict[str, np.ndarray]]:
    """lora_rank, lora_alpha and lora_targets of the adapter in `folder`, which PEFT may have trained for another program, and its tensors
    by the names of our parameters. Raises InputError naming the file that is missing or damaged."""
    config = _read_config(folder / CONFIG)
    if (pickled := folder / PICKLED).exists() and not (folder / WEIGHTS).exists():
        expected = f"{WEIGHTS}, as save_pretrained(..., safe_serialization=True) of PEFT writes it"
        raise InputError(f"{pickled}: found a pickle, which is never loaded, since it may run code; expected {expected}")
    state = names_from_peft(read_adapter_weights(folder / WEIGHTS))
    # Before anything of that rank is made: the file may claim any.
    if odd := [key for key, value in state.items() if "lora_A" in key and value.shape[:1] != (config["lora_rank"],)]:
        found = f"{odd[0]} is {state[odd[0]].shape}"
        raise InputError(f"{folder / WEIGHTS}: {found}, expected the rank {config['lora_rank']} of {CONFIG}")
    return config, state


def read_adapter_weights(file: Path) -> dict[str, np.ndarray]:
    """fp32 by name. Raises InputError."""
    state = read_safetensors(file, NOT_FOUND)
    if not state:
        raise InputError(f"{file}: holds no tensors")
    return {key: value.float().numpy() for key, value in state.items()}


def _read_config(file: Path) -> dict:
    if not file.exists():
        raise InputError(f"{file}: {NOT_FOUND}")
    config = read_json(file)
    rank, alpha, targets = (config.get(key) if isinstance(config, dict) else None for key in ("r", "lora_alpha", "target_modules"))
    scaled = type(alpha) in (int, float) and 0 < alpha < 1e30
    named = isinstance(targets, list) and bool(targets) and all(isinstance(name, str) and name for name in targets)
    if type(rank) is not int or rank < 1 or not scaled or not named:
        found = f"r {rank!r}, lora_alpha {alpha!r}, target_modules {targets!r}"
        raise InputError(f"{file}: found {found}, expected a whole number, a number and a list of names")
    for key, value in config.items():
        if key not in FREE and json.dumps(value) not in PLAIN.get(key, []) + UNSET:
            known = "plain LoRA (r, lora_alpha, a list of target_modules, use_rslora)"
            raise InputError(f"{file}: found {key} {value!r}, expected {known}; PEFT can merge such an adapter into its model")
    if config.get("use_rslora"):
        alpha *= rank**0.5  # PEFT then divides by the root of the rank
    return {"lora_rank": rank, "lora_alpha": alpha, "lora_targets": tuple(sorted(targets))}
