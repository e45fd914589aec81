"""A low-rank adapter folded into the linears it changes: y = x (W + s B A)^T + b, s = alpha / r (Hu et al. 2021, LoRA).

One product where an adapter beside its linear needs three. The gradients of A and B never go through that of W. Its files are
PEFT's, which reads them as its own.
"""

import json
import math
from collections.abc import Mapping

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.numpy import save
from torch import Tensor, nn

from rollout.io.errors import InputError

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"


class FoldedLinear(nn.Module):
    """A frozen linear [.., in] -> [.., out] with `lora_A` [r, in] and `lora_B` [out, r] on top; a zero B changes no bit of it.

    Without gradients the folded weight is kept until A or B change; with them it is made anew in every pass.
    """

    def __init__(self, base: nn.Linear, rank: int, scale: float, random: torch.Generator):
        super().__init__()
        self.weight, self.bias, self.scale, self.enabled = base.weight, base.bias, scale, True
        start = nn.init.kaiming_uniform_(torch.empty(rank, base.in_features), a=math.sqrt(5), generator=random)
        self.lora_A = nn.Parameter(start.to(base.weight.device))
        self.lora_B = nn.Parameter(torch.zeros(base.out_features, rank, device=base.weight.device))
        self._kept: tuple[tuple[int, int], Tensor] | None = None

    def forward(self, x: Tensor) -> Tensor:
        if not self.enabled:
            return F.linear(x, self.weight, self.bias)
        if torch.is_grad_enabled():
            return _Folded.apply(x, self.weight, self.bias, self.lora_A, self.lora_B, self.scale)
        return F.linear(x, self.folded(), self.bias)

    def folded(self) -> Tensor:
        """W + s B A [out, in], without gradient."""
        versions = self.lora_A._version, self.lora_B._version  # of what they hold: each change in place counts
        if self._kept is None or self._kept[0] != versions:
            self._kept = versions, _fold(self.weight, self.lora_A.detach(), self.lora_B.detach(), self.scale)
        return self._kept[1]


def _fold(weight: Tensor, lora_A: Tensor, lora_B: Tensor, scale: float) -> Tensor:
    with torch.autocast(weight.device.type, enabled=False):  # whose rounding would be that of the adapter
        return weight + (lora_B @ lora_A).mul_(scale).to(weight.dtype)


class _Folded(torch.autograd.Function):
    """The gradients of A and B by way of r columns: s B^T (g^T x) and s (g^T x) A^T, bracketed the cheap way."""

    @staticmethod
    def forward(ctx, x, weight, bias, lora_A, lora_B, scale):
        folded = _fold(weight, lora_A, lora_B, scale)
        ctx.save_for_backward(x, folded, lora_A, lora_B)
        ctx.scale = scale
        return F.linear(x, folded, bias)

    @staticmethod
    def backward(ctx, gradient):
        x, folded, lora_A, lora_B = ctx.saved_tensors
        x_ND, g_NE = x.reshape(-1, x.shape[-1]).to(lora_A.dtype), gradient.reshape(-1, gradient.shape[-1]).to(lora_A.dtype)
        of_A = ctx.scale * ((g_NE @ lora_B).T @ x_ND)
        of_B = ctx.scale * (g_NE.T @ (x_ND @ lora_A.T))
        of_x = gradient @ folded.to(gradient.dtype) if ctx.needs_input_grad[0] else None
        return of_x, None, None, of_A, of_B, None


def adapt(network: nn.Module, rank: int, alpha: float, targets: tuple[str, ...], seed: int) -> list[FoldedLinear]:
    """Puts a fresh adapter, zero in effect, on every linear whose dotted name is, or ends in, one of `targets`.

    Raises InputError when one of them names no linear.
    """
    named, random, made = dict(network.named_modules()), torch.Generator().manual_seed(seed), []
    for target in targets:
        if not any(_is(name, target) for name in named):
            raise InputError(f"lora targets {list(targets)}: the network has no linear {target}")
    for name, module in named.items():
        if any(_is(name, target) for target in targets):
            if not isinstance(module, nn.Linear):
                raise InputError(f"lora targets {list(targets)}: {name} is a {type(module).__name__}, expected linears")
            parent, _, own = name.rpartition(".")
            made.append(FoldedLinear(module, rank, alpha / rank, random))
            setattr(named[parent], own, made[-1])
    return made


def _is(name: str, target: str) -> bool:
    return f".{name}".endswith(f".{target}")


def merge(network: nn.Module) -> None:
    """Makes plain linears again, of the folded weights."""
    for name, module in list(network.named_modules()):
        if isinstance(module, FoldedLinear):
            parent, _, own = name.rpartition(".")
            plain = nn.Linear(module.weight.shape[1], module.weight.shape[0], bias=module.bias is not None, device=module.weight.device)
            plain.weight, plain.bias = nn.Parameter(module.folded(), requires_grad=False), module.bias
            setattr(network.get_submodule(parent), own, plain)


def peft_files(state: Mapping[str, np.ndarray], rank: int, alpha: float, targets: tuple[str, ...]) -> dict[str, bytes]:
    """An adapter as PEFT keeps it, by name of file."""
    config = {
        "peft_type": "LORA", "r": rank, "lora_alpha": alpha, "target_modules": sorted(targets), "lora_dropout": 0.0, "bias": "none",
        "init_lora_weights": True, "inference_mode": True, "task_type": None, "base_model_name_or_path": None,
    }  # fmt: skip
    tensors = {f"base_model.model.{name}.weight": np.ascontiguousarray(value) for name, value in state.items()}
    return {CONFIG: json.dumps(config, indent=1).encode(), WEIGHTS: save(tensors, {"format": "pt"})}


def names_from_peft(state: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Tensors by the names of our parameters."""
    return {name.removeprefix("base_model.model.").removesuffix(".weight"): value for name, value in state.items()}
