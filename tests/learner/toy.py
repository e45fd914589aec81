"""A linear policy whose expected reward is known in closed form: the learner's maths without a network."""

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from rollout.adapter import Adapter
from rollout.policy import Conditioning, Group, Prompt, Request, Score, Trajectories, arrays_digest

SIGMA = 0.5
TARGETS = {
    "up": np.full(8, 1.0, np.float32),
    "down": np.full(8, -1.0, np.float32),
    "mixed": np.linspace(-1, 1, 8, dtype=np.float32),
}


class LinearPolicy:
    """x ~ N(W c, SIGMA^2) with W [F,C] trainable and c one-hot of the prompt; one step, c1 = 1."""

    shortcuts = ()

    def __init__(self, device: str = "cpu"):
        self.device, self.tolerance = torch.device(device), 0.0
        self.weight = nn.Parameter(torch.zeros(8, len(TARGETS)))
        self.base = self.weight.detach().clone()
        self.loaded = (-1, "nothing loaded")

    def prepare(self, prompts: list[Prompt]) -> list[Conditioning]:
        eye = np.eye(len(TARGETS), dtype=np.float32)
        return [Conditioning(prompt, {"c": eye[list(TARGETS).index(prompt.text)]}) for prompt in prompts]

    @torch.no_grad()
    def sample(self, request: Request) -> Trajectories:
        size = request.group_size
        mean = self._mean(request.conditioning, self.weight).expand(size, -1)
        noise = np.random.default_rng(request.seed).standard_normal(mean.shape, dtype=np.float32)
        x = mean + SIGMA * torch.from_numpy(noise)
        actions = {name: value.numpy()[:, None].copy() for name, value in (("x", x), ("mean", mean))}
        log_probs = self._log_prob(x, mean).numpy()[:, None]
        outputs = x.numpy()[:, None]
        conditioning = request.conditioning
        return Trajectories(
            conditioning.prompt, conditioning.digest, outputs, np.ones(size, int), log_probs, None, {}, request.seed, *self.loaded, conditioning, actions
        )  # fmt: skip

    def score(self, group: Trajectories, reference=frozenset(), only=None) -> Iterator[Score]:
        x, old_mean = (torch.tensor(group.actions[name][:, 0]) for name in ("x", "mean"))
        mean = self._mean(group.conditioning, self.weight).expand(len(group), -1)
        log_ratio = ((x - old_mean) / SIGMA * (mean - old_mean)).mean(dim=1)
        kl = log_prob_ref = None
        if reference:
            base_mean = self._mean(group.conditioning, self.base).expand(len(group), -1)
            kl, log_prob_ref = ((mean - base_mean) ** 2).mean(dim=1), self._log_prob(x, base_mean)
        yield Score(0, self._log_prob(x, mean), log_ratio, torch.ones(len(group)), kl, log_prob_ref, x.shape[1])

    def parameters(self) -> list[nn.Parameter]:
        return [self.weight]

    def adapter_state(self) -> dict[str, np.ndarray]:
        return {"weight": self.weight.detach().numpy().copy()}

    @torch.no_grad()
    def load_adapter(self, adapter: Adapter) -> str:
        self.weight.copy_(torch.tensor(adapter.tensors()["weight"]))
        self.loaded = (adapter.version, Adapter.pack(adapter.version, self.adapter_state()).sha256)
        return self.loaded[1]

    def save_adapter(self, folder: Path) -> None:
        np.save(folder / "weight.npy", self.weight.detach().numpy())

    def base_digest(self) -> str:
        return arrays_digest({"base": self.base.numpy()})

    def expected_reward(self) -> float:
        """Mean over the prompts of E[-mean((x - target)^2)]."""
        targets = torch.tensor(np.stack(list(TARGETS.values()))).T
        return -((self.weight.detach() - targets) ** 2).mean().item() - SIGMA**2

    def _mean(self, conditioning: Conditioning, weight: Tensor) -> Tensor:
        return weight @ torch.tensor(conditioning.arrays["c"])

    def _log_prob(self, x: Tensor, mean: Tensor) -> Tensor:
        return (-(((x - mean) / SIGMA) ** 2) / 2).mean(dim=1) - math.log(SIGMA) - 0.5 * math.log(2 * math.pi)


def reward(group: Group) -> np.ndarray:
    """Minus the mean squared distance to the prompt's target, [G]."""
    return -((group.outputs[:, 0] - TARGETS[group.prompt.text]) ** 2).mean(axis=1)
