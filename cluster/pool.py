"""What every pool has: samplers that hold a published adapter, and how its actors are started."""

import functools
import time
from collections.abc import Callable

import ray
from ray.actor import ActorHandle
from ray.exceptions import GetTimeoutError

from cluster.actors import Build, SamplerActor
from cluster.calls import LOST, cause_of, get
from cluster.device import environment
from cluster.placement import place
from cluster.samplers import ATTEMPTS, START_DEADLINE_S, Published, Samplers
from cluster.spans import Spans
from learner.config.settings import Cluster
from learner.gradient import SyncError
from rollout.adapter import Adapter
from rollout.io.errors import InputError, RunFailed


class Pool:
    """N samplers. What a kind of pool adds is started first, by its constructor, since it starts beside the samplers."""

    def __init__(self, cluster: Cluster, others: int, tell: Callable[[str], None]):
        """others: actors beside the samplers. tell: is given a line about every actor that is lost, and about waiting for nodes."""
        self.cluster, self._tell, self.spans = cluster, tell, Spans()
        self._shares = place(cluster, others, tell)
        self.published: Published | None = None  # what every sampler holds that works for this pool

    def start_samplers(self, build: Build) -> None:
        """Begins to start them; `samplers.await_all` waits until they are there."""
        cluster = self.cluster
        start = functools.partial(self.new, SamplerActor, cluster.sampler_cpus, cluster.sampler_cpus)
        self.samplers = Samplers(
            start, self._build(build), cluster.samplers, cluster.sampler_deadline, self._tell, self.spans, self.turned
        )

    def turned(self) -> None:
        """Whenever the driver waits, at least once a second."""

    def new(self, kind, cpus: int, threads: int) -> ActorHandle:
        gpus = self._shares.sampler if kind is SamplerActor else self._shares.other
        own = {"env_vars": environment(self.cluster, threads)}
        return kind.options(num_cpus=cpus, num_gpus=gpus, runtime_env=own).remote(self.cluster.deterministic)

    def _build(self, build: Build) -> Callable[[ActorHandle], ray.ObjectRef]:
        return lambda actor: actor.start.remote(build, self.cluster.sampler_cpus, self.cluster.precision)

    def reload(self, build: Build) -> None:
        """Every sampler builds another policy; it samples nothing before the next `publish`."""
        self.samplers.rebuild(self._build(build))
        self.published = None

    def publish(self, adapter: Adapter) -> None:
        """Has every sampler load it and acknowledge what it then holds, once all that was launched is sampled.

        Raises SyncError when the adapter is not whole, or a sampler holds anything else afterwards.
        """
        try:
            adapter.tensors()
        except InputError as error:
            raise SyncError(f"not published: {error}") from None
        started = time.monotonic()
        self.published = self.samplers.load(adapter, self)
        self.spans.add("driver", "publish", started)


Begun = tuple[ActorHandle, ray.ObjectRef]  # a new actor, and what its `start` will answer


def started(begin: Callable[[], Begun], begun: Begun | None = None) -> ActorHandle:
    """The actor that was `begun`, once its `start` has answered. One that dies first, as on a node that is dead and not known to
    be yet, is begun again. RunFailed when that has become hopeless."""
    for attempt in range(ATTEMPTS):
        actor, start = begun if begun and not attempt else begin()
        try:
            get(start, START_DEADLINE_S)
            return actor
        except GetTimeoutError:
            offer = ray.cluster_resources()
            raise RunFailed(f"the actors did not start within {START_DEADLINE_S:.0f} s; the cluster offers {offer}") from None
        except LOST as death:
            cause = cause_of(death, None)
    raise RunFailed(f"actors keep dying while they start, {ATTEMPTS} times in a row: the last one {cause}")
