"""The kinds of Ray actor. Each wraps one object of another room and adds nothing to its maths.

Each is built by `start`, since an error in a constructor reaches the driver as text and not as an exception.
"""

import dataclasses
import os
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import ray

from cluster.calls import LOST_OBJECT, Whereabouts, get
from cluster.device import compute_exactly, own_device
from learner.config.settings import Config
from learner.gradient import Lesson, Partial, SyncError, digest, gradient
from learner.learner import Learner, State
from rewards.family import Examination, Rewards
from rewards.own_class import use_folder
from rewards.scoring import Scores
from rollout.adapter import Adapter
from rollout.io.errors import InputError
from rollout.io.machine import device_kind
from rollout.policy import Conditioning, Group, Policy, Request, Trajectories

Build = Callable[[str], Policy]  # on a device


@dataclass(frozen=True)
class Made:
    """Where a group lies: what driver and reward read, what it was made from, and its actions, which stay on the node that made
    them. Should they go with it, they are sampled again under `origin`, the adapter they came from."""

    group: ray.ObjectRef
    conditioning: ray.ObjectRef
    actions: ray.ObjectRef
    origin: ray.ObjectRef
    trained_steps: int

    def whole(self, policy: Policy) -> Trajectories:
        """The group with its actions. `policy` holds afterwards what it held before. Raises SyncError for a group that is another
        one when it is sampled again."""
        group, conditioning = get(self.group), get(self.conditioning)
        try:
            return Trajectories.of(group, conditioning, get(self.actions))
        except LOST_OBJECT:
            held = Adapter.pack(policy.loaded[0], policy.adapter_state())
        policy.load_adapter(get(self.origin))
        again = policy.sample(Request(conditioning, len(group), group.seed, self.trained_steps))
        policy.load_adapter(held)
        if again.group().digest != group.digest:
            raise SyncError(f"prompt {group.prompt.text!r}: sampled again, its group is another one than before")
        return Trajectories.of(group, conditioning, again.actions)


class Process:
    """How every actor computes, and what it can say of itself."""

    def __init__(self, deterministic: bool = True):
        if deterministic:
            compute_exactly(gpu=bool(ray.get_gpu_ids()))

    def whereabouts(self) -> Whereabouts:
        return Whereabouts(os.getpid(), ray.util.get_node_ip_address(), ray._private.worker.global_worker.get_err_file_path())


@ray.remote
class SamplerActor(Process):
    """Samples groups and takes their gradients. Holds no state but the adapter, which it must be given before it may do either."""

    def start(self, build: Build, threads: int, precision: str) -> None:
        self.policy = build(own_device(threads, precision))

    def load_adapter(self, adapter: Adapter) -> tuple[int, str]:
        """Version and digest of the weights the policy holds afterwards, read back from its parameters. Raises SyncError for
        an adapter that is not whole or not this policy's, which leaves the weights as they were."""
        try:
            return adapter.version, self.policy.load_adapter(adapter)
        except InputError as error:
            raise SyncError(f"a sampler refused what was published: {error}") from None

    @ray.method(num_returns=2)
    def sample(self, conditioning: Conditioning, size: int, seed: tuple[int, ...], trained_steps: int, sha256: str) -> tuple[Group, dict]:
        """One group under the adapter `sha256`, and its actions, which stay in this node's memory; refuses to sample under any
        other (a fresh actor holds none)."""
        self._require(sha256)
        made = self.policy.sample(Request(conditioning, size, seed, trained_steps))
        return made.group(), made.actions

    @ray.method(num_returns=2)
    def gradient(self, lesson: Lesson, made: Made) -> tuple[Partial, np.ndarray]:
        """What the group that was made gives under the lesson's adapter, and the gradient itself, which stays in this node's memory."""
        return gradient(self.policy, made.whole(self.policy), lesson)

    def generate(self, conditionings: list[Conditioning], seeds: list[tuple[int, ...]], sha256: str) -> np.ndarray:
        """A batch of outputs for evaluation, [N, ...], under the adapter `sha256` as in `sample`."""
        self._require(sha256)
        return self.policy.generate(conditionings, seeds)

    def _require(self, sha256: str) -> None:
        held = self.policy.loaded[1]
        if held != sha256:
            raise SyncError(f"a sampler with adapter {held[:14]} was asked to sample under {sha256[:14]}")


@ray.remote
class RewardActor(Process):
    """Scores groups with the reward; for evaluation also with what judges, which never trains anything."""

    def start(self, config: Config, rewards: Rewards, shared: Any, folder: str, threads: int) -> None:
        """rewards: the family's; shared: what the driver worked out; folder: where the modules of the user lie, as the driver
        sees them."""
        use_folder(folder)
        self.rewards = rewards
        self.scorer, self.judges = self.rewards.load(config, own_device(threads), shared)

    def score(self, *groups: Group) -> list[Scores]:
        """Every component of the reward of each group, raw."""
        return self.scorer(self.rewards.subjects(*groups)).split([len(group) for group in groups])

    def examine(self, *groups: Group) -> list[Examination]:
        return self.rewards.examine(groups, self.scorer, self.judges)


@ray.remote
class EvaluatorActor(Process):
    """Reads what samplers generated for an evaluation."""

    def start(self, build: Callable[[str], Callable], threads: int) -> None:
        self.read = build(own_device(threads))

    def measure(self, *given: Any) -> Any:
        return self.read(*given)


@ray.remote
class LearnerActor(Process):
    """Owns the trainable weights and the optimizer of every seed, and witnesses what samplers compute. The seeds share one policy, which
    holds the weights of the one that was worked for last."""

    def start(self, config: Config, builds: Mapping[int, Build], threads: int) -> dict[int, State]:
        """The states, by seed, that runs of these policies begin with."""
        device, first = own_device(threads, config.cluster.precision), {}
        for seed, build in builds.items():
            self.policy = None  # never two in memory
            self.policy = build(device)
            first[seed] = Adapter.pack(0, self.policy.adapter_state())
        self.learners = {}
        for seed, adapter in first.items():
            self.policy.load_adapter(adapter)
            self.learners[seed] = Learner(self.policy, config.objective, config.optimizer, config.cluster.max_staleness)
        return {seed: self.state(seed) for seed in self.learners}

    def state(self, seed: int) -> State:
        """That of the learner, and what it is computed on."""
        state = self.learners[seed].state()
        return dataclasses.replace(state, facts=state.facts | {"device": device_kind(str(self.policy.device))})

    def load(self, seed: int, state: State) -> State:
        self.learners[seed].load(state)
        return self.state(seed)

    def adapt(self, seed: int, changes: dict[str, float]) -> tuple[None, State]:
        return self.learners[seed].adapt(changes), self.state(seed)

    def evaluation_adapter(self, seed: int) -> Adapter:
        return self.learners[seed].evaluation_adapter()

    def witness(self, seed: int, lesson: Lesson, made: Made, partial: Partial, part: int) -> float:
        """See `Learner.witness`."""
        return self._holding(seed).witness(made.whole(self.policy), lesson, partial, part)

    def step(self, seed: int, first: bool, digests: list[str], witnessed: int, *found: Any) -> tuple[dict[str, float], State]:
        """One optimizer step. found: what was witnessed, so many gaps; then gradients in request order, which have these digests.
        Raises SyncError for one that was damaged on its way."""
        (gaps, gradients), learner = (found[:witnessed], found[witnessed:]), self._holding(seed)
        for sha256, each in zip(digests, gradients, strict=True):
            if digest(each) != sha256:
                raise SyncError(f"a gradient of adapter version {learner.adapter.version} was damaged on its way")
        return {"grad_norm": learner.step(gradients, first), "log_prob_gap": max(gaps, default=0.0)}, self.state(seed)

    def adapter_files(self, seed: int, adapter: Adapter) -> dict[str, bytes]:
        """`adapter` in the format that others read, by file name; the weights being trained are put back afterwards."""
        with tempfile.TemporaryDirectory() as folder:
            self.policy.load_adapter(adapter)
            try:
                self.policy.save_adapter(Path(folder))
            finally:
                self._holding(seed)
            return {path.name: path.read_bytes() for path in Path(folder).iterdir()}

    def _holding(self, seed: int) -> Learner:
        """The learner of that seed, once the policy holds its weights."""
        learner = self.learners[seed]
        if self.policy.loaded != (learner.adapter.version, learner.adapter.sha256):
            self.policy.load_adapter(learner.adapter)
        return learner
