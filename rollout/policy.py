"""What a policy is, and the records that travel between sampler, reward and learner.

A family of models (motion diffusion now, token policies later) implements `Policy`. Sampler and learner build the same
class, so there is no second implementation to disagree with.
"""

import hashlib
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from torch import Tensor

from rollout.adapter import Adapter
from rollout.motion.prompts import Prompt


@dataclass(frozen=True)
class Conditioning:
    """All that sampler, learner and reference read about one prompt; built once, by `Policy.prepare`.

    `arrays` is the family's encoded input. `digest` is the sha256 over prompt and arrays.
    """

    prompt: Prompt
    arrays: dict[str, np.ndarray]
    digest: str = field(init=False)

    def __post_init__(self):
        object.__setattr__(self, "digest", arrays_digest(self.arrays, f"{self.prompt.text}|{self.prompt.length}"))


@dataclass(frozen=True)
class Group:
    """G trajectories of one prompt, sampled under one adapter. Never split: it is the unit of work and of normalisation.

    `actions`: what the policy needs to recompute log-probs, every array with leading dims [G,K] (K trained steps).
    `log_probs` [G,K]: under the policy that sampled, mean over valid dims. `outputs` [G,T,F]: what a reward reads
    (for motion: raw features). `lengths` [G]: valid frames.
    """

    conditioning: Conditioning
    actions: dict[str, np.ndarray]
    log_probs: np.ndarray
    outputs: np.ndarray
    lengths: np.ndarray
    seed: tuple[int, ...]
    adapter_version: int
    adapter_sha256: str

    def __len__(self) -> int:
        return len(self.outputs)

    @property
    def digest(self) -> str:
        return arrays_digest({**self.actions, "outputs": self.outputs}, f"{self.conditioning.digest}|{self.seed}")


@dataclass(frozen=True)
class Request:
    """One group to sample; `seed` says all there is to know about its noise. 0 trained steps: nothing is recorded."""

    conditioning: Conditioning
    group_size: int
    seed: tuple[int, ...]
    trained_steps: int


@dataclass(frozen=True)
class Rollout:
    """Groups and what a reward actor made of each, in request order.

    `seconds` that were waited for the groups, `tail_seconds` from the last of them until the last result. `handles` is how the
    cluster refers to the groups without moving them.
    """

    groups: list[Group]
    results: list
    seconds: float
    tail_seconds: float
    handles: list


@dataclass(frozen=True)
class StepScore:
    """One trained step of a whole group, recomputed. All tensors are [G].

    `log_prob` carries the gradient and is the mean over valid dims; `log_ratio` is log(current / behaviour) in the form
    asked for; `kl` is the mean over valid dims of the squared x0 difference to the reference (None when not computed),
    `log_prob_ref` the reference's log-prob (None likewise); `x0_weight` turns a likelihood gradient into a uniform
    gradient in x0 space (sigma/c1 of the step), mean 1 over the trainable steps.
    """

    log_prob: Tensor
    log_ratio: Tensor
    x0_weight: Tensor
    kl: Tensor | None
    log_prob_ref: Tensor | None


class Policy(Protocol):
    def prepare(self, prompts: list[Prompt]) -> list[Conditioning]:
        """Encodes each prompt once. Raises InputError for a prompt it cannot represent."""

    def sample(self, request: Request) -> Group:
        """A group of trajectories whose noise depends on the request's seed and nothing else."""

    def score_step(self, group: Group, step: int, reference: bool) -> StepScore:
        """Recomputes trained step `step` of `group` with gradient, through the code that sampled it."""

    def adapter_state(self) -> dict[str, np.ndarray]:
        """Copies of the trainable tensors, fp32, by name."""

    def load_adapter(self, adapter: Adapter) -> str:
        """Loads every trainable tensor and returns the digest of what the policy now holds."""


def arrays_digest(arrays: dict[str, np.ndarray], context: str = "") -> str:
    """sha256 over names, dtypes, shapes and bytes, in name order."""
    digest = hashlib.sha256(context.encode())
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        digest.update(f"{name}|{array.dtype}|{array.shape}".encode())
        digest.update(array.data)
    return digest.hexdigest()
