"""Reading weights that users downloaded: every defect of a file ends in one line that names it."""

import json
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from rollout.errors import InputError


def read_torch(path: Path):
    """`torch.load` of plain tensors only. InputError for a missing, truncated, corrupt or unsafe file."""
    if not path.is_file():
        raise InputError(f"{path}: weights file not found")
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged archive surfaces as almost any exception type
        raise InputError(
            f"{path}: not a readable weights file ({type(error).__name__}); it may be truncated or corrupt"
        ) from None


def read_array(path: Path) -> np.ndarray:
    """A numeric `.npy` array; InputError when missing or unreadable."""
    if not path.is_file():
        raise InputError(f"{path}: file not found")
    try:
        array = np.load(path, allow_pickle=False)
    except (ValueError, OSError, EOFError):
        raise InputError(f"{path}: not a readable .npy file of numbers; it may be truncated or corrupt") from None
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "fiu":
        raise InputError(f"{path}: expected one array of numbers")
    return array


def read_json_object(path: Path) -> dict:
    """A JSON object; InputError when missing, not JSON, or not an object."""
    if not path.is_file():
        raise InputError(f"{path}: file not found")
    try:
        value = json.loads(path.read_text())
    except (json.JSONDecodeError, UnicodeDecodeError):
        raise InputError(f"{path}: not a JSON file") from None
    if not isinstance(value, dict):
        raise InputError(f"{path}: expected a JSON object, found {type(value).__name__}")
    return value


def as_tensor(value, source: str, shape: tuple[int | None, ...]) -> Tensor:
    """`value` as a float32 tensor of `shape` (None: any size), finite. InputError names `source` otherwise."""
    tensor = torch.as_tensor(value) if isinstance(value, (Tensor, np.ndarray)) else None
    if tensor is None or tensor.ndim != len(shape) or any(n not in (None, m) for n, m in zip(shape, tensor.shape)):
        found = type(value).__name__ if tensor is None else f"shape {list(tensor.shape)}"
        raise InputError(f"{source}: found {found}, expected shape {['any' if n is None else n for n in shape]}")
    if not torch.isfinite(tensor).all():
        raise InputError(f"{source}: holds NaN or infinite values")
    return tensor.detach().float()


def size_of(state: dict, key: str, axis: int, default: int) -> int:
    """Width `axis` of tensor `key`; `default` when it is missing, which `load_strict` then reports by name."""
    tensor = state.get(key) if isinstance(state, dict) else None
    return tensor.shape[axis] if isinstance(tensor, Tensor) and tensor.ndim > axis and tensor.numel() else default


def load_strict(module: nn.Module, state, source: str) -> None:
    """Loads `state` into `module` when names and shapes are exactly right and all values finite, else InputError."""
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise InputError(f"{source}: expected a dict of tensors, found {type(state).__name__}")
    expected = module.state_dict()
    missing, unexpected = sorted(expected.keys() - state.keys()), sorted(state.keys() - expected.keys())
    if missing or unexpected:
        raise InputError(f"{source}: missing keys {missing}, unexpected keys {unexpected}")
    wrong = [
        f"{key} {list(state[key].shape)} (expected {list(expected[key].shape)})"
        for key in expected
        if state[key].shape != expected[key].shape
    ]
    if wrong:
        raise InputError(f"{source}: wrong widths: {', '.join(wrong)}")
    broken = [key for key in expected if not torch.isfinite(state[key]).all()]
    if broken:
        raise InputError(f"{source}: NaN or infinite values in {', '.join(broken)}")
    module.load_state_dict({key: value.detach().float() for key, value in state.items()})
