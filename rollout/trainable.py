"""What of a torch model is trained, and how it comes and goes: an adapter on frozen weights, or all weights.

Of any family: its policy inherits `Trainable`.
"""

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save
from torch import nn

from rollout import lora
from rollout.adapter import Adapter
from rollout.io.errors import InputError
from rollout.io.files import replace_file
from rollout.policy import arrays_digest


class Trainable:
    """`network` is what samples and is trained; `loaded` the version and digest of what it holds. Its `settings` say a `precision`."""

    whole_file = "model.safetensors"  # of a network whose weights are all trained
    shortcuts = ()  # see `rollout.policy.Policy`

    def train_part_of(
        self, base: nn.Module, rank: int, alpha: float, targets: tuple[str, ...], seed: int, parts: Sequence[nn.Module] = ()
    ) -> None:  # fmt: skip
        """Puts a fresh adapter on the frozen base, or unfreezes it, or those `parts` of it, beside a frozen copy (rank 0)."""
        self._lora, self.network = (rank, alpha, targets), base.requires_grad_(False)
        if rank == 0:
            self._folded, self._frozen = [], copy.deepcopy(base)
            for part in parts or (base,):
                part.requires_grad_(True)
        else:
            self._folded, self._frozen = lora.adapt(base, rank, alpha, targets, seed), None
        self.network.eval()
        self._trainable = {name: p for name, p in self.network.named_parameters() if p.requires_grad}
        self.loaded = (-1, "nothing loaded")

    def computing(self) -> torch.autocast:
        """Around every pass of the network, alike where it samples and where it is recomputed. In bf16 its products take copies rounded to
        it; what is added up along the layers, the adapter, and all that is made of the output stay fp32."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.settings.precision == "bf16")

    def require_eval(self) -> None:
        if any(module.training for module in self.network.modules()):
            raise RuntimeError("a module of the policy is in train mode: its dropout would make sampler and learner disagree")

    @contextmanager
    def reference(self) -> Iterator[None]:
        """Inside, the network is the base model the run started from."""
        tuned, self.network = self.network, self._frozen or self.network
        for linear in self._folded:
            linear.enabled = False
        try:
            yield
        finally:
            self.network = tuned
            for linear in self._folded:
                linear.enabled = True

    def parameters(self) -> list[nn.Parameter]:
        """The trainable parameters, in the order of their names in the module."""
        return list(self._trainable.values())

    def adapter_state(self) -> dict[str, np.ndarray]:
        """Copies of every trainable tensor, fp32, by parameter name (the parameters themselves go on changing)."""
        return {name: p.detach().cpu().numpy().copy() for name, p in self._trainable.items()}

    @torch.no_grad()
    def load_adapter(self, adapter: Adapter) -> str:
        """Loads `adapter` and returns the digest of the weights now held, read back from the parameters.

        Raises InputError unless the names and shapes are exactly those of the trainable parameters.
        """
        tensors = adapter.tensors()
        if tensors.keys() != self._trainable.keys():
            odd = sorted(tensors.keys() ^ self._trainable.keys())
            raise InputError(f"adapter version {adapter.version}: tensors {odd[:3]} do not match the policy's {len(self._trainable)}")
        for name, parameter in self._trainable.items():
            if parameter.shape != tensors[name].shape:
                raise InputError(f"adapter version {adapter.version}: {name} is {tensors[name].shape}, expected {tuple(parameter.shape)}")
        for name, parameter in self._trainable.items():
            parameter.copy_(torch.tensor(tensors[name]))
        held = Adapter.pack(adapter.version, self.adapter_state()).sha256
        self.loaded = (adapter.version, held)
        return held

    def save_adapter(self, folder: Path) -> None:
        """Writes what is held, an adapter as `PeftModel.from_pretrained(base, folder)` reads it.

        Each file of that name is whole at any moment: the folder's earlier one, or the new one.
        """
        folder.mkdir(parents=True, exist_ok=True)
        if self._folded:
            files = lora.peft_files(self.adapter_state(), *self._lora)
        else:
            files = {self.whole_file: save({name: p.detach().contiguous() for name, p in self.network.named_parameters()})}
        for name, content in files.items():
            replace_file(folder / name, content)

    def base_digest(self) -> str:
        """sha256 of every frozen weight: constant over a run, or training touched what it must not."""
        frozen = self._frozen.named_parameters() if self._frozen else self.network.named_parameters()
        return arrays_digest({name: p.detach().float().cpu().numpy() for name, p in frozen if not p.requires_grad})
