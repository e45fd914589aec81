"""The actors of a run as one object: publish an adapter, roll out groups, score them, update, all by fixed order.

What comes back is ordered by request, never by arrival, so a result cannot depend on how many samplers there were or
which of them was fast.
"""

import time
from collections.abc import Callable
from pathlib import Path

import ray
from ray.actor import ActorHandle
from ray.exceptions import GetTimeoutError, RayActorError, RayTaskError

from cluster.actors import LearnerActor, RewardActor, SamplerActor
from learner.learner import SyncError, Update
from learner.settings import Config
from rewards.texts import Embedded
from rollout.adapter import Adapter
from rollout.errors import InputError
from rollout.motion.policy import MotionPolicySettings
from rollout.policy import Request, Rollout

START_DEADLINE_S = 300.0
RESTARTS_PER_SAMPLER = 3


class Pool:
    """N samplers, a reward actor, a learner."""

    def __init__(self, config: Config, settings: MotionPolicySettings, texts: Embedded):
        """texts: what the driver embedded already; the reward actor encodes only captions it does not hold."""
        self.config, self.settings = config, settings
        self._gpus = gpus_per_actor(config)
        cluster = config.cluster
        self._restarts_left = RESTARTS_PER_SAMPLER * cluster.samplers
        self._adapter_ref, self._adapter = None, None
        self._starting: list[ray.ObjectRef] = []
        self.learner = self._start(LearnerActor, 0, cluster.learner_cpus, config, settings)
        self.reward = self._start(RewardActor, 0, cluster.sampler_cpus, config, texts)
        self.samplers = [self._start_sampler() for _ in range(cluster.samplers)]
        self._await_starts()

    def _start(self, kind, cpus: int, threads: int, *arguments) -> ActorHandle:
        # An idle OpenMP pool that spins would take the core from the actor that works.
        environment = {"OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads), "OMP_WAIT_POLICY": "passive"}
        actor = kind.options(num_cpus=cpus, num_gpus=self._gpus, runtime_env={"env_vars": environment}).remote()
        self._starting.append(actor.start.remote(*arguments, threads))
        return actor

    def _start_sampler(self) -> ActorHandle:
        cpus = self.config.cluster.sampler_cpus
        return self._start(SamplerActor, cpus, cpus, self.settings)

    def _await_starts(self) -> None:
        while self._starting:
            try:
                get(self._starting.pop(0), START_DEADLINE_S)
            except GetTimeoutError:
                offer = ray.cluster_resources()
                raise RuntimeError(f"the actors did not start within {START_DEADLINE_S:.0f} s; the cluster offers {offer}") from None

    def publish(self, adapter: Adapter) -> None:
        """One `ray.put`; every sampler loads it and acknowledges the digest of what it then holds.

        Raises SyncError when a sampler holds anything else afterwards.
        """
        self._adapter, self._adapter_ref = adapter, ray.put(adapter)
        loading = {i: sampler.load_adapter.remote(self._adapter_ref) for i, sampler in enumerate(self.samplers)}
        for i, acknowledgement in loading.items():
            try:
                self._verify(get(acknowledgement, START_DEADLINE_S))
            except RayActorError as death:
                self._replace_sampler(i, death)

    def _verify(self, held: str) -> None:
        if held != self._adapter.sha256:
            raise SyncError(
                f"a sampler holds weights {held[:12]} after loading adapter version {self._adapter.version} ({self._adapter.sha256[:12]})"
            )

    def _replace_sampler(self, i: int, death: RayActorError) -> None:
        """A fresh actor in place of a dead one; it gets no work before it has acknowledged the current adapter."""
        if self._restarts_left == 0:
            raise RuntimeError(f"samplers keep dying ({RESTARTS_PER_SAMPLER} restarts each are used up): {death}")
        self._restarts_left -= 1
        ray.kill(self.samplers[i])  # it may only have been unreachable, and would keep its CPUs
        self.samplers[i] = self._start_sampler()
        self._await_starts()
        self._verify(get(self.samplers[i].load_adapter.remote(self._adapter_ref), START_DEADLINE_S))

    def score(self, requests: list[Request]) -> Rollout:
        """Groups, and every component of their reward."""
        return self._rollout(requests, self.reward.score, lambda done: None)

    def examine(self, requests: list[Request], arrived: Callable[[int], None] = lambda done: None) -> Rollout:
        """Groups, and an `Examination` of each by reward and judge. `arrived(n)` is called when n groups are in."""
        return self._rollout(requests, self.reward.examine, arrived)

    def _rollout(self, requests: list[Request], consume, arrived: Callable[[int], None]) -> Rollout:
        """Samples every request under the published adapter and hands each group to `consume` as it arrives.

        A group lost with its sampler is sampled again elsewhere: its seed makes it the same group.
        """
        started = time.perf_counter()
        waiting = list(reversed(range(len(requests))))
        idle, busy = list(range(len(self.samplers))), {}
        groups, group_refs, result_refs = ([None] * len(requests) for _ in range(3))
        while waiting or busy:
            while waiting and idle:
                index, worker = waiting.pop(), idle.pop(0)
                busy[self.samplers[worker].sample.remote(requests[index], self._adapter.sha256)] = (index, worker)
            (ref,), _ = ray.wait(list(busy), num_returns=1)
            index, worker = busy.pop(ref)
            try:
                groups[index] = get(ref)
                group_refs[index], result_refs[index] = ref, consume.remote(ref)
                arrived(len(requests) - len(waiting) - len(busy))
            except RayActorError as death:
                self._replace_sampler(worker, death)
                waiting.append(index)
            idle.append(worker)
        sampled = time.perf_counter()
        results = [get(ref) for ref in result_refs]
        return Rollout(groups, results, sampled - started, time.perf_counter() - sampled, [*group_refs, *result_refs])

    def update(self, rollout: Rollout) -> Update:
        return get(self.learner.update.remote(*rollout.handles))

    def adapter(self, for_evaluation: bool = False) -> Adapter:
        """What the learner holds now, or the moving average that evaluation uses when there is one."""
        method = self.learner.evaluation_adapter if for_evaluation else self.learner.adapter
        return get(method.remote())

    def save_adapter(self, folder: Path, adapter: Adapter) -> None:
        get(self.learner.save_adapter.remote(folder, adapter))


def get(ref: ray.ObjectRef, deadline_s: float | None = None):
    """`ray.get` that raises an actor's own exception, without Ray's copy of the remote traceback, and an actor's death
    as RayActorError."""
    try:
        return ray.get(ref, timeout=deadline_s)
    except RayTaskError as error:
        raise error.cause from None


def gpus_per_actor(config: Config) -> float:
    """GPUs for each of samplers, reward and learner: one when the cluster has enough, an equal share of fewer, else 0.

    Raises InputError when the cluster has not the CPUs or GPUs that the configuration asks for.
    """
    cluster, resources = config.cluster, ray.cluster_resources()
    cpus, gpus = resources.get("CPU", 0), resources.get("GPU", 0)
    needed = cluster.samplers * cluster.sampler_cpus
    if needed > cpus:
        raise InputError(
            f"cluster.samplers: {cluster.samplers} of {cluster.sampler_cpus} CPU each need {needed} CPUs, the cluster has {cpus:g}"
        )
    actors = cluster.samplers + 2
    if cluster.gpus_per_actor is not None:
        if actors * cluster.gpus_per_actor > gpus:
            raise InputError(
                f"cluster.gpus_per_actor: {actors} actors of {cluster.gpus_per_actor:g} GPU each need "
                f"{actors * cluster.gpus_per_actor:g} GPUs, the cluster has {gpus:g}"
            )
        return cluster.gpus_per_actor
    return 1.0 if gpus >= actors else int(gpus / actors * 1000) / 1000
