"""The actors of a run as one object: publish an adapter, roll out groups, score them, update, all by fixed order.

What comes back is ordered by request, never by arrival, so a result cannot depend on how many samplers there were or
which of them was fast. The driver holds what it reads of a group; the actions lie where they were made until the learner
fetches them.
"""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
from ray.actor import ActorHandle

from cluster.actors import Build, LearnerActor, RewardActor
from cluster.pool import Pool, started
from cluster.remote_learner import RemoteLearner
from cluster.samplers import Job, Samplers
from cluster.scorers import Scorers, Scoring
from learner.config.settings import Config
from learner.learner import State, SyncError, Update
from rewards.family import Rewards
from rollout.adapter import Adapter
from rollout.io.files import replace_file
from rollout.policy import Group, Request


@dataclass
class ScoredRollout:
    """Groups and what a reward actor made of each, in request order.

    `seconds` that were waited for the groups, `tail_seconds` from the last of them until the last result. `actions`: where
    those of each group lie.
    """

    requests: list[Request]
    groups: list[Group]
    results: list
    actions: list[ray.ObjectRef]
    seconds: float
    tail_seconds: float


class Pending:
    """A rollout that was begun: its groups and what a reward actor makes of each."""

    def __init__(self, samplers: Samplers, scoring: Scoring, requests: list[Request], send: Callable, arrived: Callable[[int], None]):
        """send(sampler, request): starts one group, and gives where it and its actions will lie."""
        self.samplers, self.scoring, self.requests, self._start, self.arrived = samplers, scoring, requests, send, arrived
        self.groups, self.actions = [None] * len(requests), [None] * len(requests)
        self.job = Job(len(requests), self._send, self._take)
        samplers.begin(self.job)

    def _send(self, sampler: ActorHandle, index: int) -> ray.ObjectRef:
        group, self.actions[index] = self._start(sampler, self.requests[index])
        return group

    def _take(self, index: int, ref: ray.ObjectRef, group: Group, done: int) -> None:
        self.groups[index] = group
        self.scoring.add(index, ray.put(group))  # of the driver's own, which no node takes with it
        self.arrived(done)

    @property
    def waited(self) -> float:
        """Seconds that nothing was done but wait for its samples."""
        return self.job.waited

    def result(self) -> ScoredRollout:
        """Once all of it is sampled and scored."""
        self.samplers.finish()
        waited = time.perf_counter()
        results = self.scoring.results()
        return ScoredRollout(self.requests, self.groups, results, self.actions, self.waited, time.perf_counter() - waited)


class TrainingPool(Pool):
    """N samplers, a learner and reward actors."""

    def __init__(self, config: Config, build: Build, rewards: Rewards, shared: Any = None, tell: Callable[[str], None] = lambda line: None):
        """rewards: the family's; shared: what the driver worked out for all reward actors."""
        cluster = config.cluster
        super().__init__(cluster, 1 + cluster.reward_actors, tell)
        self.config, self._learner_build = config, build
        self._conditionings: dict[str, ray.ObjectRef] = {}  # by digest: each crosses the cluster once a node
        self.learner = RemoteLearner(self._new_learner, cluster.learner_deadline, lambda *waiting: self.samplers.turn(*waiting), tell)
        self._shared = rewards, ray.put(shared), os.getcwd()
        scorers = [self._new_scorer() for _ in range(cluster.reward_actors)]
        self.start_samplers(build)
        actors = [started(*scorer) for scorer in scorers]
        self.scorers = Scorers(actors, lambda: started(*self._new_scorer()), cluster.reward_batch, cluster.reward_deadline, tell)
        self.learner.await_start()
        self.samplers.await_all()

    def _new_learner(self) -> tuple[ActorHandle, ray.ObjectRef]:
        threads = self.cluster.sampler_cpus
        actor = self.new(LearnerActor, 0, threads)
        return actor, actor.start.remote(self.config, self._learner_build, threads)

    def _new_scorer(self) -> tuple[ActorHandle, ray.ObjectRef]:
        threads = self.cluster.sampler_cpus
        actor = self.new(RewardActor, 0, threads)
        return actor, actor.start.remote(self.config, *self._shared, threads)

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
        return self._begin(requests, "score", arrived)

    def examine(self, requests: list[Request], arrived: Callable[[int], None] = lambda done: None) -> ScoredRollout:
        """Groups, and an `Examination` of each by reward and judge. `arrived(n)` is called when n groups are in."""
        return self._begin(requests, "examine", arrived).result()

    def _begin(self, requests: list[Request], method: str, arrived: Callable[[int], None]) -> Pending:
        return Pending(self.samplers, self.scorers.begin(method, len(requests)), requests, self._sample, arrived)

    def _sample(self, sampler: ActorHandle, request: Request) -> list[ray.ObjectRef]:
        conditioning = self._conditioning(request)
        return sampler.sample.remote(conditioning, request.group_size, request.seed, request.trained_steps, self._adapter.sha256)

    def _conditioning(self, request: Request) -> ray.ObjectRef:
        digest = request.conditioning.digest
        if digest not in self._conditionings:
            self._conditionings[digest] = ray.put(request.conditioning)
        return self._conditionings[digest]

    def update(self, rollout: ScoredRollout) -> Update:
        """Trains on the rollout. Groups whose actions went with a node are sampled again, from their seeds and under the adapter
        they came from, should the learner miss them."""

        def send(actor: ActorHandle) -> ray.ObjectRef:
            parts = zip(rollout.groups, map(self._conditioning, rollout.requests), rollout.actions, strict=True)
            return actor.update.remote(rollout.results, *(part for each in parts for part in each))

        return self.learner.update(send, lambda: self._sample_again(rollout))

    def _sample_again(self, rollout: ScoredRollout) -> None:
        """Puts new actions in the place of all, which are the same to the bit; SyncError when they are not."""
        self.samplers.finish()
        published, made = self._adapter, {}
        self.publish(self.adapter(rollout.groups[0].adapter_version))

        def send(sampler: ActorHandle, index: int) -> ray.ObjectRef:
            group, rollout.actions[index] = self._sample(sampler, rollout.requests[index])
            return group

        self.samplers.begin(Job(len(rollout.groups), send, lambda index, ref, group, done: made.update({index: group})))
        self.samplers.finish()
        self.publish(published)
        for index, group in made.items():
            if group.digest != rollout.groups[index].digest:
                raise SyncError(f"prompt {group.prompt.text!r}: sampled again, its group is another one than before")

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
        """Writes `adapter` in the format that others read, on the driver's machine."""
        for name, content in self.learner.ask(lambda actor: actor.adapter_files.remote(adapter)).items():
            replace_file(folder / name, content)
