"""Reading weights that users downloaded: every defect of a file ends in one line that names it."""

import re
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from rollout.io.errors import InputError
from rollout.io.files import reading
from rollout.io.text_files import read_json

DTYPES = {
    torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64,
}  # fmt: skip


def read_torch(path: Path):
    """`torch.load` of plain tensors only. InputError for a missing, truncated or corrupt file, for one that holds more than tensors
    and numbers, whose class it names, and for one whose content would take more memory than the file has bytes."""

    def told(error: Exception) -> str:
        if needed := re.search(r"GLOBAL ([\w.]{1,100})", str(error)):  # of a class, or of code, which torch then does not import
            return f"holds {needed[1]} beside tensors, which is never loaded, since it may run code: save the state_dict() alone"
        return f"not a readable weights file ({type(error).__name__}); it may be truncated or corrupt"

    with reading(path, told, "weights file not found"):
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                if sum(entry.file_size for entry in archive.infolist()) > path.stat().st_size:
                    raise InputError(f"{path}: compressed, expected an archive as torch.save writes it")
        value = torch.load(path, map_location="cpu", weights_only=True)
    _require_plain(value, path)
    return value


def read_weights(path: Path):
    """A file of safetensors by that name, else as `read_torch`. Both as plain tensors."""
    return read_safetensors(path) if path.suffix == ".safetensors" else read_torch(path)


def read_safetensors(path: Path, missing: str = "weights file not found") -> dict[str, Tensor]:
    """Tensors by name. InputError for a damaged file and for a missing one, of which `missing` is said."""
    with reading(path, lambda error: f"not a readable safetensors file ({str(error)[:100]})", missing):
        value = load_file(path)
    _require_plain(value, path)
    return value


def _require_plain(value, path: Path) -> None:
    """Tensors may be views of one number that claim terabytes, and containers may hold themselves."""
    waiting, seen = [value], set()
    while waiting:
        item = waiting.pop()
        if id(item) in seen:
            continue
        seen.add(id(item))
        if isinstance(item, dict):
            waiting += item.values()
        elif isinstance(item, (list, tuple, set)):
            waiting += item
        elif isinstance(item, Tensor) and (
            item.layout is not torch.strided
            or item.device.type != "cpu"
            or item.dtype not in DTYPES
            or item.numel() * item.element_size() > item.untyped_storage().nbytes()
        ):
            raise InputError(f"{path}: holds a tensor of {item.dtype} {list(item.shape)} that is not stored whole as plain numbers")


def read_array(path: Path) -> np.ndarray:
    """A numeric `.npy` array, in this machine's byte order; InputError when missing or unreadable."""
    with reading(path, lambda error: "not a readable .npy file of numbers; it may be truncated or corrupt"):
        array = np.load(path, allow_pickle=False)
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "fiu":
        raise InputError(f"{path}: expected one array of numbers")
    return array if array.dtype in (np.float16, np.float32, np.float64) else array.astype(np.float64)


def read_json_object(path: Path) -> dict:
    """A JSON object; InputError when missing, not JSON, or not an object."""
    value = read_json(path)
    if not isinstance(value, dict):
        raise InputError(f"{path}: expected a JSON object, found {type(value).__name__}")
    return value


def as_tensor(value, source: str, shape: tuple[int | None, ...]) -> Tensor:
    """`value` as a float32 tensor of `shape` (None: any size), finite. InputError names `source` otherwise."""
    tensor = torch.as_tensor(value) if isinstance(value, (Tensor, np.ndarray)) else None
    if tensor is None or tensor.ndim != len(shape) or any(n not in (None, m) for n, m in zip(shape, tensor.shape)):
        found = type(value).__name__ if tensor is None else f"shape {list(tensor.shape)}"
        raise InputError(f"{source}: found {found}, expected shape {['any' if n is None else n for n in shape]}")
    tensor = tensor.detach().float()  # first: what is finite in float64 need not be here
    if not torch.isfinite(tensor).all():
        raise InputError(f"{source}: holds NaN or infinite values")
    return tensor


def size_of(state: dict, key: str, axis: int, default: int) -> int:
    """Width `axis` of tensor `key`; `default` when it is missing, which `load_strict` then reports by name."""
    tensor = state.get(key) if isinstance(state, dict) else None
    return tensor.shape[axis] if isinstance(tensor, Tensor) and tensor.ndim > axis and tensor.numel() else default


def load_strict(build: Callable[[], nn.Module], state, source: str) -> nn.Module:
    """The module that `build` makes, holding `state`; see `check_strict`."""
    state = check_strict(build, state, source)
    module = build()
    module.load_state_dict(state)
    return module


class _Unfilled(TorchFunctionMode):
    """Leaves new tensors without their random values: drawing normal ones on the meta device imports torch's compiler, which takes
    every process more than a second."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if func is torch.randn:
            func = torch.empty
        return kwargs["tensor"] if func is nn.init.normal_ else func(*args, **(kwargs or {}))


def check_strict(build: Callable[[], nn.Module], state, source: str) -> dict[str, Tensor]:
    """`state` in fp32, when its names and shapes are exactly those of the module that `build` makes and all values finite.

    InputError otherwise. Before the names and shapes are right nothing is allocated: widths that a file claims may be of
    a network of terabytes.
    """
    if not isinstance(state, dict) or not all(isinstance(key, str) and isinstance(value, Tensor) for key, value in state.items()):
        raise InputError(f"{source}: expected a dict of tensors, found {type(state).__name__}")
    try:
        with torch.device("meta"), _Unfilled():
            expected = build().state_dict()
    except Exception as error:  # widths that make no network surface as almost any exception type
        raise InputError(f"{source}: its widths make no network ({str(error)[:120]})") from None
    missing, unexpected = sorted(expected.keys() - state.keys()), sorted(state.keys() - expected.keys())
    if missing or unexpected:
        raise InputError(f"{source}: missing keys {missing}, unexpected keys {unexpected}")
    wrong = [
        f"{key} {list(state[key].shape)} (expected {list(expected[key].shape)})"
        for key in expected
        if state[key].shape != expected[key].shape
    ]
    if wrong:
        raise InputError(f"{source}: wrong shapes: {', '.join(wrong)}")
    state = {key: value.detach().float() for key, value in state.items()}
    if broken := [key for key in expected if not torch.isfinite(state[key]).all()]:
        raise InputError(f"{source}: NaN or infinite values in {', '.join(broken)}")
    return state
