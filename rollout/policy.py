"""What a policy is, and the records that travel between driver, sampler, reward and learner.

A family of models implements `Policy` and `Preparer`. Sampler and learner build the same policy, so there is no second
implementation to disagree with.

A group lives like this: the driver asks for it with a `Request`; a sampler makes it as `Trajectories`, keeps what only the
recompute reads (`actions`, up to 100 MB) in its node's memory and sends the `Group` alone (what was made, megabytes); driver
and reward read that; whoever takes its gradient, best the sampler that made it, puts the whole together again and recomputes it;
the record keeps rows of it. The seed says all there is to know about a group: one that is lost on the way is sampled again.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from rollout.adapter import Adapter

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Prompt:
    """What to generate, in words. A family's own kind says what else its model is told."""

    text: str

    @property
    def told(self) -> str:
        """All that it says, for a digest."""
        return self.text

    @property
    def asked(self) -> str:
        """What prompts that ask for the same share, however they are written."""
        return self.text.casefold()

    @property
    def apart(self) -> str:
        """What tells it from prompts of which the model is told the same."""
        return ""


@dataclass(frozen=True)
class Conditioning:
    """All that sampler, learner and reference read about one prompt; built once, by a `Preparer`.

    `arrays` is the family's encoded input. `digest` is the sha256 over prompt and arrays.
    """

    prompt: Prompt
    arrays: dict[str, np.ndarray]
    digest: str = field(init=False)

    def __post_init__(self):
        object.__setattr__(self, "digest", self.recomputed_digest())

    def recomputed_digest(self) -> str:
        """That of the content as it is now: another than `digest`, and it was damaged on its way."""
        return arrays_digest(self.arrays, self.prompt.told)


@dataclass(frozen=True)
class Request:
    """One group to sample; `seed` says all there is to know about its noise. 0 trained steps: nothing is recorded."""

    conditioning: Conditioning
    group_size: int
    seed: tuple[int, ...]
    trained_steps: int


@dataclass(frozen=True)
class Group:
    """What was made of one prompt under one adapter, G samples. Never split: it is the unit of work and of normalisation.

    `outputs` [G, ...]: what a reward reads. `lengths` [G]: how much of each is valid. `log_probs` [G,K]: of K trained actions
    a sample, under the policy that sampled, each a mean over `Score.dims` dims; `mask` bool [G,K] is False at what is no
    action (past an end), None where all are. `columns`: what else the record keeps, each [G, ...], by the names of the
    family's columns. `conditioning_sha256`: of what it was made from. `measured`: numbers of how it was made, for the metrics of
    an iteration: over its groups the mean, or the largest where a name begins with max_.
    """

    prompt: Prompt
    conditioning_sha256: str
    outputs: np.ndarray
    lengths: np.ndarray
    log_probs: np.ndarray
    mask: np.ndarray | None
    columns: dict[str, np.ndarray]
    seed: tuple[int, ...]
    adapter_version: int
    adapter_sha256: str
    measured: dict[str, float] = field(default_factory=dict, kw_only=True)

    def __len__(self) -> int:
        return len(self.outputs)

    @property
    def broken(self) -> np.ndarray:
        """bool [G]: samples that are not finite. Each fails alone and counts in nothing."""
        return ~(np.isfinite(self.outputs).reshape(len(self), -1).all(axis=1) & np.isfinite(self.log_probs).all(axis=1))

    @property
    def counted(self) -> np.ndarray:
        """bool [G,K]: the actions that loss, KL and metrics count."""
        shape = self.log_probs.shape
        return (np.ones(shape, bool) if self.mask is None else self.mask) & ~self.broken[:, None]

    @property
    def digest(self) -> str:
        """Of what was made, from what, and by which noise."""
        return arrays_digest({"outputs": self.outputs, "log_probs": self.log_probs}, f"{self.conditioning_sha256}|{self.seed}")


@dataclass(frozen=True)
class Trajectories(Group):
    """A group with all that its recompute reads. `actions`: arrays with leading dims [G,K], the family's own."""

    conditioning: Conditioning
    actions: dict[str, np.ndarray]

    @classmethod
    def of(cls, group: Group, conditioning: Conditioning, actions: dict[str, np.ndarray]) -> "Trajectories":
        """The whole of a group that travelled in parts."""
        return cls(**_fields(group), conditioning=conditioning, actions=actions)

    def without_broken(self) -> "Trajectories":
        """The same, what is not finite 0 in the actions of broken samples: the others keep their place, and a network reads no
        NaN."""
        broken = self.broken
        if not broken.any():
            return self
        rows = {name: broken.reshape(-1, *[1] * (value.ndim - 1)) for name, value in self.actions.items()}
        return dataclasses.replace(
            self, actions={name: np.where(rows[name] & ~np.isfinite(value), value.dtype.type(0), value) for name, value in self.actions.items()}
        )

    @property
    def digest(self) -> str:
        return arrays_digest(self.actions, f"{super().digest}|{self.conditioning.digest}")

    def only(self, rows: np.ndarray) -> "Trajectories":
        """The samples `rows` [g] alone."""
        mask = None if self.mask is None else self.mask[rows]
        columns, actions = ({name: value[rows] for name, value in arrays.items()} for arrays in (self.columns, self.actions))
        own = {name: getattr(self, name)[rows] for name in ("outputs", "lengths", "log_probs")}
        return dataclasses.replace(self, **own, mask=mask, columns=columns, actions=actions)

    def without(self, names: Sequence[str]) -> "Trajectories":
        """The same without some of its actions."""
        return dataclasses.replace(self, actions={name: value for name, value in self.actions.items() if name not in names})

    def group(self) -> Group:
        """The part that driver and reward read."""
        return Group(**_fields(self))


def _fields(group: Group) -> dict:
    return {each.name: getattr(group, each.name) for each in dataclasses.fields(Group)}


@dataclass(frozen=True)
class Score:
    """Some trained actions of a group, recomputed: those that `group.log_probs[rows, columns]` are of. All tensors are of that
    shape: [G] for one column of all samples, [g,k] for a slice of both.

    `log_prob` carries the gradient and is the mean over `dims` dims; `log_ratio` is log(current / behaviour), brought to one
    scale for all actions; `kl` is a divergence from the reference that is never negative (None when not computed),
    `log_prob_ref` the reference's log-prob (None likewise); `weight`, mean 1 over what can be trained, turns the gradient of a
    likelihood into that of the scale of `log_ratio`.

    Of a policy of forward objectives (see `rollout.family.Family`) an action is a noise level at which it predicts the clean output,
    and `log_prob` minus the mean squared error of that. `moved`: mean squared distance of the prediction from that of the policy that
    sampled, with gradient. `anchor_kl`: as `kl`, from the policy's anchor where it has one.
    `prediction_norm`: its size by that of the reference's (None when not computed).
    """

    columns: int | slice
    log_prob: Tensor
    log_ratio: Tensor
    weight: Tensor
    kl: Tensor | None
    log_prob_ref: Tensor | None
    dims: int
    rows: slice = field(default_factory=lambda: slice(None))
    moved: Tensor | None = None
    prediction_norm: Tensor | None = None
    anchor_kl: Tensor | None = None


class Preparer(Protocol):
    """Reads prompts and encodes them. It holds no weights of the policy."""

    def read(self, path: Path | str) -> list[Prompt]:
        """All prompts of a file or folder. Raises InputError naming the place of the first that cannot be used."""

    def prepare(self, prompts: list[Prompt]) -> list[Conditioning]:
        """Encodes each prompt once. Raises InputError for a prompt it cannot represent."""


class Policy(Protocol):
    """A model that samples, and recomputes what was sampled. Every family's.

    `device`: where its weights are. `loaded`: version and digest of the adapter it holds, read back from its parameters.
    `tolerance`: by how much a recomputed log-prob may differ from the sampled one, 0 where the device repeats itself bit for
    bit. `shortcuts`: the actions that `score` works out itself where they are lacking, as a witness has it do.
    `anchor`: for a policy of forward objectives, what the KL of the loss is to; None the
    reference.
    """

    device: object
    loaded: tuple[int, str]
    tolerance: float
    shortcuts: tuple[str, ...]
    anchor: Adapter | None

    def sample(self, request: Request) -> Trajectories:
        """A group whose noise depends on the request's seed and nothing else."""

    def generate(self, conditionings: list[Conditioning], seeds: list[tuple[int, ...]]) -> np.ndarray:
        """Outputs [N, ...], one for each conditioning, in one batch of mixed prompts; the noise of each is its own seed's."""

    def score(self, trajectories: Trajectories, reference: frozenset[int] = frozenset(), only: int | None = None) -> Iterator[Score]:
        """Recomputes the trained actions with gradient, through the code that sampled them, a part at a time, so that a graph
        can be freed before the next.

        reference: columns whose KL and reference log-prob are wanted. only: the one part that is wanted, counted modulo their number.
        """

    def parameters(self) -> list:
        """The trainable parameters, in the order of `adapter_state`."""

    def adapter_state(self) -> dict[str, np.ndarray]:
        """Copies of the trainable tensors, fp32, by name."""

    def load_adapter(self, adapter: Adapter) -> str:
        """Loads every trainable tensor and returns the digest of what the policy now holds. Raises InputError, with the weights
        as they were, for one that is not this policy's."""

    def save_adapter(self, folder: Path) -> None:
        """Writes what it holds in the format that others read."""

    def base_digest(self) -> str:
        """sha256 of every frozen weight."""


def arrays_digest(arrays: dict[str, np.ndarray], context: str = "") -> str:
    """sha256 over names, dtypes, shapes and bytes, in name order."""
    digest = hashlib.sha256(context.encode())
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        digest.update(f"{name}|{array.dtype}|{array.shape}".encode())
        digest.update(array.data)
    return digest.hexdigest()
