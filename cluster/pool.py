"""The actors of a run as one object: publish an adapter, roll out groups, score them, update, all by fixed order.

What comes back is ordered by request, never by arrival, so a result cannot depend on how many samplers there were or
which of them was fast.
"""

import functools
import os
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
import ray
from ray.actor import ActorHandle
from ray.exceptions import GetTimeoutError

from cluster.actors import EvaluatorActor, LearnerActor, RewardActor, SamplerActor
from cluster.calls import LOST, cause_of, get
from cluster.remote_learner import RemoteLearner
from cluster.samplers import START_DEADLINE_S, Job, Samplers
from cluster.scorers import Scorers, Scoring
from learner.config.settings import Cluster, Config
from learner.evaluate.measures import Measured
from learner.evaluate.settings import EvaluateConfig
from learner.learner import State, SyncError, Update
from rewards.motion.texts import Embedded
from rollout.adapter import Adapter
from rollout.io.errors import InputError, RunFailed
from rollout.io.files import replace_file
from rollout.motion.policy import MotionPolicySettings
from rollout.policy import Group, Request, Rollout

IN_FLIGHT = 4  # batches that wait for the evaluator actor


class Pending:
    """A rollout that was begun: its groups and what a reward actor makes of each."""

    def __init__(self, samplers: Samplers, scoring: Scoring, requests: list[Request], sha256: str, arrived: Callable[[int], None]):
        self.samplers, self.scoring, self.arrived = samplers, scoring, arrived
        self.groups, self.handles = [None] * len(requests), [None] * len(requests)
        self.job = Job(len(requests), lambda sampler, i: sampler.sample.remote(requests[i], sha256), self._take)
        samplers.begin(self.job)

    def _take(self, index: int, ref: ray.ObjectRef, group: Group, done: int) -> None:
        self.groups[index], self.handles[index] = group, ref
        self.scoring.add(index, ref)
        self.arrived(done)

    @property
    def waited(self) -> float:
        """Seconds that nothing was done but wait for its samples."""
        return self.job.waited

    def result(self) -> Rollout:
        """Once all of it is sampled and scored."""
        self.samplers.finish()
        waited = time.perf_counter()
        results = self.scoring.results()
        return Rollout(self.groups, results, self.waited, time.perf_counter() - waited, self.handles)


class Pool:
    """N samplers, and with them a learner and reward actors to train, or an evaluator actor to evaluate."""

    def __init__(
        self, config: Config | EvaluateConfig, settings: MotionPolicySettings, texts: Embedded | None = None,
        tell: Callable[[str], None] = lambda line: None,
    ):  # fmt: skip
        """texts: what the driver embedded already; reward actors encode only captions it does not hold. tell: is given a line
        about every actor that is lost."""
        self.config = config
        cluster, training = config.cluster, isinstance(config, Config)
        self._gpus = gpus_per_actor(cluster, cluster.samplers + 1 + (cluster.reward_actors if training else 0))
        self._adapter: Adapter | None = None
        if training:
            new_learner = functools.partial(self._new_learner, settings)
            self.learner = RemoteLearner(new_learner, cluster.learner_deadline, lambda *waiting: self.samplers.turn(*waiting), tell)
            self._shared = ray.put(texts), os.getcwd()
            scorers = [self._new_scorer() for _ in range(cluster.reward_actors)]
        else:
            self.evaluator = self._new(EvaluatorActor, 0, cluster.sampler_cpus)
            evaluator_started = self.evaluator.start.remote(config, cluster.sampler_cpus)
        start, build = functools.partial(self._new, SamplerActor, cluster.sampler_cpus, cluster.sampler_cpus), self._build(settings)
        self.samplers = Samplers(start, build, cluster.samplers, cluster.min_samplers, cluster.sampler_deadline, tell)
        if training:
            actors = [self._started(*scorer) for scorer in scorers]
            self.scorers = Scorers(actors, self._another_scorer, cluster.reward_batch, cluster.reward_deadline, tell)
            self.learner.await_start()
        else:
            self._started(self.evaluator, evaluator_started)
        self.samplers.await_all()

    def _new(self, kind, cpus: int, threads: int) -> ActorHandle:
        # An idle OpenMP pool that spins would take the core from the actor that works.
        environment = {"OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads), "OMP_WAIT_POLICY": "passive"}
        return kind.options(num_cpus=cpus, num_gpus=self._gpus, runtime_env={"env_vars": environment}).remote()

    def _build(self, settings: MotionPolicySettings) -> Callable[[ActorHandle], ray.ObjectRef]:
        return lambda actor: actor.start.remote(settings, self.config.cluster.sampler_cpus)

    def _new_learner(self, settings: MotionPolicySettings) -> tuple[ActorHandle, ray.ObjectRef]:
        threads = self.config.cluster.learner_cpus
        actor = self._new(LearnerActor, 0, threads)
        return actor, actor.start.remote(self.config, settings, threads)

    def _new_scorer(self) -> tuple[ActorHandle, ray.ObjectRef]:
        threads = self.config.cluster.sampler_cpus
        actor = self._new(RewardActor, 0, threads)
        return actor, actor.start.remote(self.config, *self._shared, threads)

    def _another_scorer(self) -> ActorHandle:
        return self._started(*self._new_scorer())

    def _started(self, actor: ActorHandle, start: ray.ObjectRef) -> ActorHandle:
        try:
            get(start, START_DEADLINE_S)
        except GetTimeoutError:
            offer = ray.cluster_resources()
            raise RunFailed(f"the actors did not start within {START_DEADLINE_S:.0f} s; the cluster offers {offer}") from None
        except LOST as death:
            raise RunFailed(f"an actor {cause_of(death, None)} while it started") from None
        return actor

    def reload(self, settings: MotionPolicySettings) -> None:
        """Every sampler builds the policy of `settings`; it samples nothing before the next `publish`."""
        self.samplers.rebuild(self._build(settings))

    def publish(self, adapter: Adapter) -> None:
        """Has every sampler load it and acknowledge what it then holds, once all that was launched is sampled.

        Raises SyncError when the adapter is not whole, or a sampler holds anything else afterwards.
        """
        try:
            adapter.tensors()
        except InputError as error:
            raise SyncError(f"not published: {error}") from None
        self.samplers.load(adapter)
        self._adapter = adapter

    def launch(self, requests: list[Request], arrived: Callable[[int], None] = lambda done: None) -> Pending:
        """Begins to sample and score every request under the published adapter, which must be one of the learner's own.

        Raises SyncError for any other: no group of it could be trained on.
        """
        own = self.learner.state.facts
        if own["recent"].get(str(self._adapter.version)) != self._adapter.sha256:
            raise SyncError(
                f"adapter version {self._adapter.version} ({self._adapter.sha256[:12]}) is published, the learner made "
                f"{', '.join(f'{version} ({digest[:12]})' for version, digest in own['recent'].items())}"
            )
        return Pending(self.samplers, self.scorers.begin("score", len(requests)), requests, self._adapter.sha256, arrived)

    def examine(self, requests: list[Request], arrived: Callable[[int], None] = lambda done: None) -> Rollout:
        """Groups, and an `Examination` of each by reward and judge. `arrived(n)` is called when n groups are in."""
        return Pending(self.samplers, self.scorers.begin("examine", len(requests)), requests, self._adapter.sha256, arrived).result()

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

        self.samplers.begin(Job(len(batches), send, take))
        self.samplers.finish()
        return self._measured(measuring)

    def measure(self, crops: Iterable[tuple[np.ndarray, np.ndarray]]) -> list[Measured]:
        """A `Measured` of the real motions of every (features, lengths), in order."""
        refs: list[ray.ObjectRef] = []
        for features, lengths in crops:
            if len(refs) >= IN_FLIGHT:  # do not hold the crops of a whole split twice
                ray.wait([refs[-IN_FLIGHT]])
            refs.append(self.evaluator.measure.remote(features, lengths, False))
        return self._measured(refs)

    def _measured(self, refs: list[ray.ObjectRef]) -> list[Measured]:
        try:
            return [get(ref) for ref in refs]
        except LOST as death:
            raise RunFailed(f"the evaluator {cause_of(death, None)}") from None

    def update(self, rollout: Rollout) -> Update:
        """Trains on the rollout. The same groups are sent again should the learner, or a node that held them, be lost."""
        handles = iter((rollout.handles,))

        def send(actor: ActorHandle) -> ray.ObjectRef:
            groups = next(handles, None) or [ray.put(group) for group in rollout.groups]
            return actor.update.remote(rollout.results, *groups)

        return self.learner.update(send)

    def adapter(self, version: int | None = None) -> Adapter:
        """What the learner holds, or the older version that groups may still come from."""
        return self.learner.state.adapter(version)

    def evaluation_adapter(self) -> Adapter:
        """What the learner holds, or the moving average that evaluation uses when there is one."""
        return self.learner.ask(lambda actor: actor.evaluation_adapter.remote())

    def restore(self, state: State) -> None:
        self.learner.restore(state)

    def adapt(self, changes: dict[str, float]) -> None:
        """New values for learning rate, KL penalty or clip, from the next update on."""
        self.learner.update(lambda actor: actor.adapt.remote(changes))

    def save_adapter(self, folder: Path, adapter: Adapter) -> None:
        """Writes `adapter` in PEFT's format, on the driver's machine."""
        for name, content in self.learner.ask(lambda actor: actor.adapter_files.remote(adapter)).items():
            replace_file(folder / name, content)


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
