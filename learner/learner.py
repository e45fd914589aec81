"""The learner: the gradients of groups in, a new adapter out."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from learner.adamw import KINDS, AdamW
from learner.config.settings import Objective, Optimizer
from learner.gradient import Lesson, Partial, SyncError, gradient, recompute, witness
from learner.tally import ScoredGroup
from learner.update import Update, update
from rollout.adapter import Adapter
from rollout.io.errors import InputError, RunFailed
from rollout.policy import Policy, Trajectories

# By which settings hold it.
ADAPTABLE = {"learning_rate": "options", "kl_penalty": "objective", "clip_epsilon": "objective", "clip_epsilon_high": "objective"}


def part(arrays: dict[str, np.ndarray], prefix: str) -> dict[str, np.ndarray]:
    """The arrays named `<prefix>/<name>`, by name."""
    return {name.removeprefix(f"{prefix}/"): value for name, value in arrays.items() if name.startswith(f"{prefix}/")}


@dataclass(frozen=True)
class State:
    """All that a learner needs to go on as if nothing had happened, the base model and the settings apart.

    arrays: `<kind>/<tensor>`, kind one of adapter, average, anchor, exp_avg, exp_avg_sq, step, and `recent/<version>` for older
    adapters that groups may still come from. facts: plain JSON. No state of a random generator: all noise derives from
    the seeds of requests.
    """

    arrays: dict[str, np.ndarray]
    facts: dict

    def adapter(self, version: int | None = None) -> Adapter:
        """The current adapter, or an older one that groups may still come from. Raises SyncError for tensors without the
        digest that they were kept under."""
        current = self.facts["version"]
        version = current if version is None else version
        adapter = Adapter.pack(version, part(self.arrays, "adapter" if version == current else f"recent/{version}"))
        if adapter.sha256 != self.facts["recent"][str(version)]:
            raise SyncError(
                f"a state of adapter version {version} holds weights {adapter.sha256[:12]}, not its {self.facts['recent'][str(version)][:12]}"
            )
        return adapter

    def anchor(self) -> Adapter | None:
        """What the KL of the loss is to; None: the base model."""
        anchor = part(self.arrays, "anchor")
        return Adapter.pack(self.facts["version"], anchor) if anchor else None


class Learner:
    """Owns the policy's trainable weights and the optimizer. Nothing in it depends on how many samplers there are."""

    def __init__(self, policy: Policy, objective: Objective, optimizer: Optimizer, max_staleness: int = 0):
        """max_staleness: how many adapter versions a group may lag behind the learner's."""
        self.policy, self.objective, self.options, self.max_staleness = policy, objective, optimizer, max_staleness
        self.optimizer = AdamW(optimizer.weight_decay)
        self.recent = [Adapter.pack(0, policy.adapter_state())]  # oldest first; the last one is the learner's own
        policy.load_adapter(self.adapter)
        self._average = policy.adapter_state()
        self._names = list(self._average)
        self._anchor = policy.adapter_state() if objective.anchor == "average" else {}

    @property
    def adapter(self) -> Adapter:
        return self.recent[-1]

    def update(self, scored: list[ScoredGroup], trained_samples: int | None = None) -> Update:
        """`learner.update.update` with all of it in this process: the groups are whole."""
        return update(scored, InOneProcess(self, [entry.group for entry in scored]), trained_samples)

    def step(self, gradients: Sequence[np.ndarray], first: bool) -> float:
        """One optimizer step on the sum of flat gradients, in the order given; none where there are none. The weights become the
        next version, the same one in all steps of an update. Returns the gradient's norm.

        Raises RunFailed, before any weight changes, for a norm that is not finite.
        """
        norm = 0.0
        if gradients:
            total = torch.from_numpy(gradients[0].copy())
            for each in gradients[1:]:
                total += torch.from_numpy(each)
            total = total.to(self.policy.device)
            parameters = self.policy.parameters()
            for parameter, own in zip(parameters, total.split([parameter.numel() for parameter in parameters]), strict=True):
                parameter.grad = own.view_as(parameter).to(parameter.dtype)
            norm = torch.nn.utils.clip_grad_norm_(parameters, self.options.grad_clip).item()  # the one wait for the device
            if not math.isfinite(norm):
                raise RunFailed(f"the gradient norm is {norm} at adapter version {self.adapter.version}; no step was taken")
            self.optimizer.step(dict(zip(self._names, parameters, strict=True)), self.options.learning_rate)
        self._advance(first)
        return norm

    def witness(self, group: Trajectories, lesson: Lesson, partial: Partial, part: int) -> float:
        """Recomputes one part of a group that others computed: see `learner.gradient.witness`. One that the learner's own weights
        cannot reproduce is recomputed under those that it came from."""
        if not lesson.behind or not lesson.first:
            return witness(self.policy, group, lesson, partial, part)
        (old,) = (adapter for adapter in self.recent if adapter.version == group.adapter_version)
        self.policy.load_adapter(old)
        try:
            return recompute(self.policy, group, lesson, part)
        finally:
            self.policy.load_adapter(self.adapter)

    def evaluation_adapter(self) -> Adapter:
        """The moving average of the adapter when `ema_decay` is set, else the adapter itself."""
        return Adapter.pack(self.adapter.version, self._average) if self.options.ema_decay else self.adapter

    def adapt(self, changes: dict[str, float]) -> None:
        """New values for some of `ADAPTABLE`, from the next update on."""
        for name, value in changes.items():
            held_by = ADAPTABLE[name]
            setattr(self, held_by, getattr(self, held_by).replace(**{name: value}))

    def state(self) -> State:
        """A copy; see `State`."""
        arrays = {f"adapter/{name}": value for name, value in self.adapter.tensors().items()}
        for old in self.recent[:-1]:
            arrays |= {f"recent/{old.version}/{name}": value for name, value in old.tensors().items()}
        if self.options.ema_decay:
            arrays |= {f"average/{name}": value.copy() for name, value in self._average.items()}
        if self.objective.anchor == "average":
            arrays |= {f"anchor/{name}": value.copy() for name, value in self._anchor.items()}
        for name, held in self.optimizer.state.items():
            arrays |= {f"{kind}/{name}": value.cpu().numpy().copy() for kind, value in held.items()}
        settings = {name: getattr(getattr(self, held_by), name) for name, held_by in ADAPTABLE.items()}
        recent = {str(adapter.version): adapter.sha256 for adapter in self.recent}
        return State(arrays, {"version": self.adapter.version, "recent": recent, "settings": settings})

    def load(self, state: State) -> None:
        """Goes on from `state`. Raises InputError when its tensors are not the policy's, SyncError when they do not have the
        digest that they were saved under."""
        recent = [state.adapter(version) for version in sorted(map(int, state.facts["recent"]))]
        self.policy.load_adapter(state.adapter())
        if self.options.ema_decay:
            self._average = {name: value.copy() for name, value in part(state.arrays, "average").items()}
        if self.objective.anchor == "average":
            self._anchor = {name: value.copy() for name, value in part(state.arrays, "anchor").items()}
        self.optimizer.state = {}
        for name in part(state.arrays, "step"):
            step, *moments = (torch.tensor(state.arrays[f"{kind}/{name}"]) for kind in KINDS)
            self.optimizer.state[name] = dict(zip(KINDS, (step, *(moment.to(self.policy.device) for moment in moments))))
        self.adapt(state.facts["settings"])
        self.recent = recent

    def _advance(self, first: bool) -> None:
        """The weights as they are now become the next version."""
        version = self.adapter.version + first
        try:
            adapter = Adapter.pack(version, self.policy.adapter_state())
        except InputError as error:
            raise RunFailed(f"the update destroyed the weights: {error}") from None
        self.recent = [*(self.recent if first else self.recent[:-1]), adapter][-(self.max_staleness + 1) :]
        self.policy.loaded = version, adapter.sha256
        for average, decay in ((self._average, self.options.ema_decay), (self._anchor, self.objective.anchor_decay)):
            if average:
                for name, value in self.policy.adapter_state().items():
                    average[name] = decay * average[name] + (1 - decay) * value


class InOneProcess:
    """See `learner.update.Taught`: the learner's own policy takes the gradients, and witnesses only what is of older weights."""

    def __init__(self, learner: Learner, groups: list[Trajectories]):
        self.learner, self.groups, self.objective, self.learning_rate = learner, groups, learner.objective, learner.options.learning_rate

    @property
    def adapter(self) -> Adapter:
        return self.learner.adapter

    @property
    def anchor(self) -> Adapter | None:
        return self.learner.state().anchor()

    @property
    def recent(self) -> Mapping[int, str]:
        return {adapter.version: adapter.sha256 for adapter in self.learner.recent}

    def gradients(self, lessons: Mapping[int, Lesson]) -> list[Partial]:
        taken = [gradient(self.learner.policy, self.groups[i], lesson) for i, lesson in lessons.items()]
        self._buffers = [buffer for _, buffer in taken]
        partials = [partial for partial, _ in taken]
        self._gaps = [
            self.learner.witness(self.groups[i], lesson, partial, i % len(partial.sketches))
            for (i, lesson), partial in zip(lessons.items(), partials) if lesson.behind and lesson.first
        ]  # fmt: skip
        return partials

    def step(self, partials: Sequence[Partial], first: bool) -> dict[str, float]:
        return {"grad_norm": self.learner.step(self._buffers, first), "log_prob_gap": max(self._gaps, default=0.0)}
