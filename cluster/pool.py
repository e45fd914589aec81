"""The actors of a run as one object: publish an adapter, roll out groups, score them, update, all by fixed order.

What comes back is ordered by request, never by arrival, so a result cannot depend on how many samplers there were or
which of them was fast.
"""

import os
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
import ray
from ray.actor import ActorHandle
from ray.exceptions import GetTimeoutError, RayActorError

from cluster.actors import EvaluatorActor, LearnerActor, RewardActor, SamplerActor
from cluster.calls import get
from cluster.scorers import Scorers
from learner.evaluate_settings import EvaluateConfig
from learner.learner import SyncError, Update
from learner.measures import Measured
from learner.settings import Cluster, Config
from rewards.texts import Embedded
from rollout.adapter import Adapter
from rollout.errors import InputError
from rollout.motion.policy import MotionPolicySettings
from rollout.policy import Group, Request, Rollout

START_DEADLINE_S = 300.0
RESTARTS_PER_SAMPLER = 3
IN_FLIGHT = 4  # batches that wait for the evaluator actor


class Pool:
    """N samplers, and with them a learner and reward actors to train, or an evaluator actor to evaluate."""

    def __init__(self, config: Config | EvaluateConfig, settings: MotionPolicySettings, texts: Embedded | None = None):
        """texts: what the driver embedded already; reward actors encode only captions it does not hold."""
        self.config, self.settings = config, settings
        cluster, training = config.cluster, isinstance(config, Config)
        self._gpus = gpus_per_actor(cluster, cluster.samplers + 1 + (cluster.reward_actors if training else 0))
        self._restarts_left = RESTARTS_PER_SAMPLER * cluster.samplers
        self._adapter_ref, self._adapter = None, None
        self._starting: list[ray.ObjectRef] = []
        if training:
            self.learner = self._start(LearnerActor, 0, cluster.learner_cpus, config, settings)
            self._shared = ray.put(texts), os.getcwd()
            actors = [self._start_scorer() for _ in range(cluster.reward_actors)]
            self.scorers = Scorers(actors, self._another_scorer, cluster.reward_batch, cluster.reward_deadline)
        else:
            self.evaluator = self._start(EvaluatorActor, 0, cluster.sampler_cpus, config)
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

    def _start_scorer(self) -> ActorHandle:
        return self._start(RewardActor, 0, self.config.cluster.sampler_cpus, self.config, *self._shared)

    def _another_scorer(self) -> ActorHandle:
        actor = self._start_scorer()
        self._await_starts()
        return actor

    def _await_starts(self) -> None:
        while self._starting:
            try:
                get(self._starting.pop(0), START_DEADLINE_S)
            except GetTimeoutError:
                offer = ray.cluster_resources()
                raise RuntimeError(f"the actors did not start within {START_DEADLINE_S:.0f} s; the cluster offers {offer}") from None

    def reload(self, settings: MotionPolicySettings) -> None:
        """Every sampler builds the policy of `settings`; it samples nothing before the next `publish`."""
        self.settings = settings
        cpus = self.config.cluster.sampler_cpus
        loading = {i: sampler.start.remote(settings, cpus) for i, sampler in enumerate(self.samplers)}
        for i, done in loading.items():
            try:
                get(done, START_DEADLINE_S)
            except RayActorError as death:
                self._restart_sampler(i, death)

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
        self._restart_sampler(i, death)
        self._verify(get(self.samplers[i].load_adapter.remote(self._adapter_ref), START_DEADLINE_S))

    def _restart_sampler(self, i: int, death: RayActorError) -> None:
        if self._restarts_left == 0:
            raise RuntimeError(f"samplers keep dying ({RESTARTS_PER_SAMPLER} restarts each are used up): {death}")
        self._restarts_left -= 1
        ray.kill(self.samplers[i])  # it may only have been unreachable, and would keep its CPUs
        self.samplers[i] = self._start_sampler()
        self._await_starts()

    def score(self, requests: list[Request]) -> Rollout:
        """Groups, and the `Scores` of each: every component of the reward, raw."""
        return self._rollout(requests, "score", lambda done: None)

    def examine(self, requests: list[Request], arrived: Callable[[int], None] = lambda done: None) -> Rollout:
        """Groups, and an `Examination` of each by reward and judge. `arrived(n)` is called when n groups are in."""
        return self._rollout(requests, "examine", arrived)

    def generate(self, batches: Sequence[tuple], arrived: Callable[[int], None] = lambda done: None) -> list[Measured]:
        """A `Measured` of every batch (conditionings, seeds), in order; `batches` builds each when it is asked for it.

        `arrived(n)` is called when n batches are generated.
        """
        measuring, lengths = [None] * len(batches), {}

        def send(sampler: ActorHandle, index: int) -> ray.ObjectRef:
            conditionings, seeds = batches[index]
            lengths[index] = np.array([conditioning.prompt.length for conditioning in conditionings])
            return sampler.generate.remote(conditionings, seeds, self._adapter.sha256)

        def take(index: int, ref: ray.ObjectRef, motions: np.ndarray, done: int) -> None:
            measuring[index] = self.evaluator.measure.remote(ref, lengths[index], True)
            arrived(done)

        self._dispatch(len(batches), send, take)
        return [get(ref) for ref in measuring]

    def measure(self, crops: Iterable[tuple[np.ndarray, np.ndarray]]) -> list[Measured]:
        """A `Measured` of the real motions of every (features, lengths), in order."""
        refs: list[ray.ObjectRef] = []
        for features, lengths in crops:
            if len(refs) >= IN_FLIGHT:  # do not hold the crops of a whole split twice
                ray.wait([refs[-IN_FLIGHT]])
            refs.append(self.evaluator.measure.remote(features, lengths, False))
        return [get(ref) for ref in refs]

    def _rollout(self, requests: list[Request], method: str, arrived: Callable[[int], None]) -> Rollout:
        """Samples every request under the published adapter; a reward actor reads each group by `method` as it arrives."""
        started = time.perf_counter()
        groups, group_refs = ([None] * len(requests) for _ in range(2))
        scoring = self.scorers.begin(method, len(requests))

        def send(sampler: ActorHandle, index: int) -> ray.ObjectRef:
            return sampler.sample.remote(requests[index], self._adapter.sha256)

        def take(index: int, ref: ray.ObjectRef, group: Group, done: int) -> None:
            groups[index], group_refs[index] = group, ref
            scoring.add(index, ref)
            arrived(done)

        self._dispatch(len(requests), send, take)
        sampled = time.perf_counter()
        results = scoring.results()
        return Rollout(groups, results, sampled - started, time.perf_counter() - sampled, group_refs)

    def _dispatch(self, pieces: int, send: Callable, take: Callable) -> None:
        """Has the samplers do pieces 0 .. pieces-1 of work: `send(sampler, index)` starts one, `take(index, ref, value,
        done)` is given each as it arrives, with how many have.

        A piece lost with its sampler is done again elsewhere: its seed makes it the same.
        """
        waiting = list(reversed(range(pieces)))
        idle, busy = list(range(len(self.samplers))), {}
        while waiting or busy:
            while waiting and idle:
                index, worker = waiting.pop(), idle.pop(0)
                busy[send(self.samplers[worker], index)] = (index, worker)
            (ref,), _ = ray.wait(list(busy), num_returns=1)
            index, worker = busy.pop(ref)
            try:
                value = get(ref)
            except RayActorError as death:
                self._replace_sampler(worker, death)
                waiting.append(index)
            else:
                take(index, ref, value, pieces - len(waiting) - len(busy))
            idle.append(worker)

    def update(self, rollout: Rollout) -> Update:
        return get(self.learner.update.remote(rollout.results, *rollout.handles))

    def adapter(self, for_evaluation: bool = False) -> Adapter:
        """What the learner holds now, or the moving average that evaluation uses when there is one."""
        method = self.learner.evaluation_adapter if for_evaluation else self.learner.adapter
        return get(method.remote())

    def save_adapter(self, folder: Path, adapter: Adapter) -> None:
        get(self.learner.save_adapter.remote(folder, adapter))


def gpus_per_actor(cluster: Cluster, actors: int) -> float:
    """GPUs for each of `actors`, samplers and all others: one when the cluster has enough, an equal share of fewer, else 0.

    Raises InputError when the cluster has not the CPUs or GPUs that the configuration asks for.
    """
    resources = ray.cluster_resources()
    cpus, gpus = resources.get("CPU", 0), resources.get("GPU", 0)
    needed = cluster.samplers * cluster.sampler_cpus
    if needed > cpus:
        raise InputError(
            f"cluster.samplers: {cluster.samplers} of {cluster.sampler_cpus} CPU each need {needed} CPUs, the cluster has {cpus:g}"
        )
    if cluster.gpus_per_actor is not None:
        if actors * cluster.gpus_per_actor > gpus:
            raise InputError(
                f"cluster.gpus_per_actor: {actors} actors of {cluster.gpus_per_actor:g} GPU each need "
                f"{actors * cluster.gpus_per_actor:g} GPUs, the cluster has {gpus:g}"
            )
        return cluster.gpus_per_actor
    return 1.0 if gpus >= actors else int(gpus / actors * 1000) / 1000
