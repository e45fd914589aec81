"""e: the loop that this project replaces, in its plainest form and in one process, to measure against.

It does what the original did: the adapter beside its linears (PEFT's own), guidance in two passes, one denoising step at a time, and
for every step of the chain the current policy with gradient through both branches and the reference once more; groups one after the other.
"""

import numpy as np
import torch
from peft import LoraConfig, get_peft_model

from benchmarks.speed.models import Size
from learner.advantage import group_advantages
from rollout.motion.settings import Lora
from rollout.policy import Request


class PlainLoop:
    """One model, one optimizer, no actors."""

    def __init__(self, size: Size, device: str = "cpu"):
        lora = Lora()
        self.policy = size.policy(device, lora_rank=0)
        adapted = LoraConfig(r=lora.r, lora_alpha=lora.alpha, target_modules=list(lora.targets))
        self.network = get_peft_model(self.policy.network.requires_grad_(False), adapted).eval()
        self.trained = [parameter for parameter in self.network.parameters() if parameter.requires_grad]
        self.optimizer = torch.optim.AdamW(self.trained, lr=1e-4)

    def iteration(self, requests: list[Request]) -> float:
        """Sampled, given a reward, trained on: the gradient's norm."""
        self.optimizer.zero_grad()
        for request in requests:
            batch, steps = self._batch(request), self.sample(request)
            outputs = steps[-1][2]
            rewards = outputs.mean(dim=(1, 2)).cpu().numpy()
            advantage = torch.tensor(group_advantages(rewards, 1e-4, 5.0), device=self.policy.device)
            for t, x, x_prev in steps[:-1]:  # the last one has no noise
                log_prob = self._log_prob(batch, t, x, x_prev)
                with torch.no_grad(), self.network.disable_adapter():
                    reference = self._log_prob(batch, t, x, x_prev)
                ratio = (log_prob - reference).clamp(-10, 10).exp()
                loss = -torch.minimum(ratio * advantage, ratio.clamp(0.8, 1.2) * advantage).mean() / len(requests) / len(steps)
                loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(self.trained, 1.0)
        self.optimizer.step()
        return norm.item()

    def _batch(self, request: Request):
        return self.policy._batch([request.conditioning] * request.group_size, request.conditioning.prompt.length)

    @torch.no_grad()
    def sample(self, request: Request) -> list[tuple[int, torch.Tensor, torch.Tensor]]:
        """t, x_t and x_{t-1} of every step."""
        batch, policy = self._batch(request), self.policy
        random = torch.Generator(policy.device).manual_seed(int(np.random.SeedSequence(request.seed).generate_state(1)[0]))
        x, steps = torch.randn(request.group_size, batch.frames, len(policy.mean), generator=random, device=policy.device), []
        for t in reversed(range(len(policy.schedule))):
            x_prev = self._mean(batch, t, x) + policy._sigma[t] * torch.randn(x.shape, generator=random, device=policy.device)
            steps.append((t, x, x_prev))
            x = x_prev
        return steps

    def _mean(self, batch, t: int, x: torch.Tensor) -> torch.Tensor:
        policy, t_B = self.policy, torch.full((len(x),), t, device=x.device)
        branches = [self.network(x, policy._model_t[t_B], text, batch.frame_mask, batch.text_mask) for text in (batch.text, torch.zeros_like(batch.text))]
        return policy._posterior_mean(x, t_B, branches[1] + policy.settings.model.guidance * (branches[0] - branches[1]))

    def _log_prob(self, batch, t: int, x: torch.Tensor, x_prev: torch.Tensor) -> torch.Tensor:
        """[G] summed over dims but for a constant."""
        return -((x_prev - self._mean(batch, t, x)) ** 2).mean(dim=(1, 2)) / (2 * self.policy._sigma[t] ** 2)
