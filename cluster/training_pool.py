"""The actors of a run, or of one among several, as one object: publish an adapter, roll out groups, score them, update, all by fixed order.

What comes back is ordered by request, never by arrival, so a result cannot depend on how many samplers there were or
which of them was fast. The driver holds what it reads of a group, and makes rewards of its scores; the actions lie where they
were made.
"""

import copy
import dataclasses
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
from ray.actor import ActorHandle

from cluster.actors import Build, LearnerActor, Made, RewardActor
from cluster.pool import Begun, Pool, started
from cluster.present import Present
from cluster.remote_learner import RemoteLearner
from cluster.samplers import Job, Published, Samplers
from cluster.scorers import Scorers, Scoring
from cluster.updating import Updating
from learner.config.settings import Config, Objective
from learner.gradient import SyncError
from learner.learner import ADAPTABLE, State
from learner.tally import ScoredGroup
from learner.update import Update, update
from rewards.compose import Composer
from rewards.family import Rewards
from rollout.adapter import Adapter
from rollout.io.files import replace_file
from rollout.policy import Group, Request


@dataclass
class ScoredRollout:
    """Groups and what a reward actor made of each, in request order.

    `seconds` that were waited for the groups, `tail_seconds` from the last of them until the last result. `made`: where the whole
    of each lies; `makers`: the samplers that made it.
    """

    groups: list[Group]
    results: list
    made: list[Made]
    makers: list[ActorHandle]
    seconds: float
    tail_seconds: float


class Pending:
    """A rollout that was begun: its groups and what a reward actor makes of each."""

    def __init__(
        self, samplers: Samplers, published: Published, scoring: Scoring, sizes: list[int], send: Callable, made: Callable,
        arrived: Callable[[int], None],
    ):  # fmt: skip
        """sizes: samples of each group; send(sampler, i): starts one, and gives where it and its actions will lie; made(i, group, actions): the
        whole of it."""
        self.samplers, self.scoring, self._start, self._made, self.arrived = samplers, scoring, send, made, arrived
        self.groups, self.actions, self.made, self.makers = ([None] * len(sizes) for _ in range(4))
        self.job = Job(published, len(sizes), self._send, self._take, "sample", sizes=sizes)
        samplers.begin(self.job)

    def _send(self, sampler: ActorHandle, index: int) -> ray.ObjectRef:
        group, self.actions[index] = self._start(sampler, index)
        self.makers[index] = sampler
        return group

    def _take(self, index: int, ref: ray.ObjectRef, group: Group, done: int) -> None:
        own = ray.put(group)  # of the driver's own, which no node takes with it
        self.groups[index], self.made[index] = group, self._made(index, own, self.actions[index])
        self.scoring.add(index, own)
        self.arrived(done)

    @property
    def waited(self) -> float:
        """Seconds that nothing was done but wait for its samples."""
        return self.job.waited

    def result(self) -> ScoredRollout:
        """Once all of it is sampled and scored."""
        self.samplers.finish(self.job.published.pool)
        waited = time.perf_counter()
        results = self.scoring.results()
        return ScoredRollout(self.groups, results, self.made, self.makers, self.waited, time.perf_counter() - waited)


class TrainingPool(Pool):
    """N samplers, a learner and reward actors."""

    def __init__(
        self, config: Config, build: Build, rewards: Rewards, shared: Any = None, tell: Callable[[str], None] = lambda line: None,
        present: Callable[[Mapping[str, Any]], None] = lambda found: None, others: Mapping[int, Build] = {},
    ):  # fmt: skip
        """rewards: the family's; shared: what the driver worked out for all reward actors; present: is given what `Present` tells;
        others: by seed, of the runs `beside`."""
        cluster = config.cluster
        super().__init__(cluster, 1 + cluster.reward_actors, tell)
        self.present = Present(self.spans, present)
        self.config, self._learner_builds, self.composer = config, {config.seed: build, **others}, Composer(config.reward.parsed())
        self._conditionings: dict[str, ray.ObjectRef] = {}  # by digest: each crosses the cluster once a node
        self.learner = RemoteLearner(self._new_learner, cluster.learner_deadline, lambda *waiting: self.samplers.turn(*waiting), tell)
        self._shared = rewards, ray.put(shared), os.getcwd()
        scorers = [self._new_scorer() for _ in range(cluster.reward_actors)]
        self.start_samplers(build)
        actors = [started(self._new_scorer, scorer) for scorer in scorers]
        self.scorers = Scorers(
            actors, lambda: started(self._new_scorer), cluster.reward_batch, cluster.reward_deadline, tell, self.samplers.turn
        )  # fmt: skip
        self.learner.await_start()
        self.samplers.await_all()

    def turned(self) -> None:
        self.present.take(self.samplers, self.scorers, self.learner)

    def beside(self, config: Config) -> "TrainingPool":
        """The same actors for the run of another seed, with an adapter, reward histories and spans of its own."""
        other = copy.copy(self)
        other.config, other.composer, other.spans, other.published = config, Composer(config.reward.parsed()), self.spans.beside(), None
        return other

    def _new_learner(self) -> Begun:
        threads = self.cluster.sampler_cpus
        actor = self.new(LearnerActor, 0, threads)
        return actor, actor.start.remote(self.config, self._learner_builds, threads)

    def _new_scorer(self) -> Begun:
        threads = self.cluster.sampler_cpus
        actor = self.new(RewardActor, 0, threads)
        return actor, actor.start.remote(self.config, *self._shared, threads)

    def launch(self, requests: list[Request], arrived: Callable[[int], None] = lambda done: None) -> Pending:
        """Begins to sample and score every request under the published adapter, which must be one of the learner's own.

        Raises SyncError for any other: no group of it could be trained on.
        """
        own, adapter = self.learned.facts, self.published.adapter
        if own["recent"].get(str(adapter.version)) != adapter.sha256:
            raise SyncError(
                f"adapter version {adapter.version} ({adapter.sha256[:12]}) is published, the learner made "
                f"{', '.join(f'{version} ({digest[:12]})' for version, digest in own['recent'].items())}"
            )
        return self._begin(requests, "score", arrived)

    def examine(self, requests: list[Request], arrived: Callable[[int], None] = lambda done: None) -> Pending:
        """Begins groups, and an `Examination` of each by reward and judge. `arrived(n)` is called when n groups are in."""
        return self._begin(requests, "examine", arrived)

    def _begin(self, requests: list[Request], method: str, arrived: Callable[[int], None]) -> Pending:
        conditionings, published = [self._conditioning(request) for request in requests], self.published

        def send(sampler: ActorHandle, index: int) -> list[ray.ObjectRef]:
            request = requests[index]
            sha256 = published.adapter.sha256
            return sampler.sample.remote(conditionings[index], request.group_size, request.seed, request.trained_steps, sha256)

        def made(index: int, group: ray.ObjectRef, actions: ray.ObjectRef) -> Made:
            return Made(group, conditionings[index], actions, published.ref, requests[index].trained_steps)

        scoring = self.scorers.begin(method, len(requests), self.spans)
        pending = Pending(self.samplers, published, scoring, [request.group_size for request in requests], send, made, arrived)
        self.present.doing = method  # which is begun: what was under way before it is finished
        return pending

    def _conditioning(self, request: Request) -> ray.ObjectRef:
        digest = request.conditioning.digest
        if digest not in self._conditionings:
            self._conditionings[digest] = ray.put(request.conditioning)
        return self._conditionings[digest]

    def update(self, rollout: ScoredRollout) -> Update:
        """Trains on the rollout: rewards and advantages here, gradients where the groups lie, the step at the learner."""
        rewards = self.composer.total(rollout.results)
        return update([ScoredGroup(*pair) for pair in zip(rollout.groups, rewards, strict=True)], Updating(self, rollout), self.config.rollout.trained_samples)

    @property
    def learned(self) -> State:
        """Of the learner, after its last finished call."""
        return self.learner.states[self.config.seed]

    @property
    def objective(self) -> Objective:
        """As health may have changed it."""
        settings = self.learned.facts["settings"]
        return self.config.objective.replace(**{name: settings[name] for name, holder in ADAPTABLE.items() if holder == "objective"})

    @property
    def state(self) -> State:
        """All that a run goes on from: the learner's, and the histories of adaptive rewards."""
        own = self.learned
        return dataclasses.replace(own, facts=own.facts | {"reward": self.composer.state()})

    def adapter(self, version: int | None = None) -> Adapter:
        """What the learner holds, or the older version that groups may still come from."""
        return self.learned.adapter(version)

    def evaluation_adapter(self) -> Adapter:
        """What the learner holds, or the moving average that evaluation uses when there is one."""
        return self.learner.ask(lambda actor: actor.evaluation_adapter.remote(self.config.seed))

    def restore(self, state: State) -> None:
        self.composer.load_state(state.facts["reward"])
        self.learner.restore(self.config.seed, state)

    def adapt(self, changes: dict[str, float]) -> None:
        """New values for learning rate, KL penalty or clip, from the next update on."""
        self.learner.update(self.config.seed, lambda actor: actor.adapt.remote(self.config.seed, changes))

    def save_adapter(self, folder: Path, adapter: Adapter) -> None:
        """Writes `adapter` in the format that others read, on the driver's machine."""
        for name, content in self.learner.ask(lambda actor: actor.adapter_files.remote(self.config.seed, adapter)).items():
            replace_file(folder / name, content)
