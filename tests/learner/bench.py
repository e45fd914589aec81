"""A learner and a sampler on a tiny motion model."""

import dataclasses

import numpy as np
import torch

from learner.config.settings import Objective, Optimizer
from learner.learner import Learner
from learner.tally import ScoredGroup
from rollout.policy import arrays_digest
from tests.tiny import TRAINING, make_policy, noisy_adapter, sample_group


class Run:
    """A learner and a sampler of its own, as on a cluster; the learner starts from a noisy adapter."""

    def __init__(self, folder, objective=Objective(), optimizer=Optimizer(learning_rate=1e-3), noise=0.1, max_staleness=0, **settings):
        self.sampler, self.policy = make_policy(folder, **settings), make_policy(folder, **settings)
        self.policy.load_adapter(noisy_adapter(self.policy, scale=noise))
        self.learner = Learner(self.policy, objective, optimizer, max_staleness)

    def rollout(self, groups=2, size=4, steps=3, length=9) -> list[ScoredGroup]:
        """Under the learner's adapter as it is now."""
        self.sampler.load_adapter(self.learner.adapter)
        iteration = self.learner.adapter.version
        scored = []
        for i in range(groups):
            group = sample_group(
                self.sampler, size, steps, seed=(0, 0, iteration, i), text=TRAINING[i % 4], length=length
            )
            scored.append(ScoredGroup(group, group.outputs[:, :length].mean(axis=(1, 2))))
        return scored

    def digest(self) -> str:
        return arrays_digest(self.policy.adapter_state())

    def gradients(self) -> list[torch.Tensor]:
        return [parameter.grad.clone() for parameter in self.policy.parameters()]


def with_rewards(entry: ScoredGroup, rewards) -> ScoredGroup:
    return dataclasses.replace(entry, rewards=np.asarray(rewards, np.float32))
