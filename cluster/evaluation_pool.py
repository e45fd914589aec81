"""The actors of an evaluation: samplers that generate batches, and one that reads them."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import ray
from ray.actor import ActorHandle

from cluster.actors import Build, EvaluatorActor
from cluster.calls import LOST, cause_of, get
from cluster.pool import Begun, Pool, started
from cluster.samplers import Job
from learner.config.settings import Cluster
from rollout.io.errors import RunFailed

IN_FLIGHT = 4  # batches that wait for the evaluator actor


class EvaluationPool(Pool):
    """`reader` builds, on a device, what reads outputs: it is called with the outputs of a batch and whatever came with them."""

    def __init__(self, cluster: Cluster, build: Build, reader: Callable[[str], Callable], tell: Callable[[str], None] = lambda line: None):
        super().__init__(cluster, 1, tell)
        self._reader = reader
        begun = self._new_evaluator()
        self.start_samplers(build)
        self.evaluator = started(self._new_evaluator, begun)
        self.samplers.await_all()

    def _new_evaluator(self) -> Begun:
        threads = self.cluster.sampler_cpus
        actor = self.new(EvaluatorActor, 0, threads)
        return actor, actor.start.remote(self._reader, threads)

    def generate(
        self, batches: Sequence[tuple], arrived: Callable[[int], None] = lambda done: None,
        measured: Callable[[int, Any], None] = lambda index, found: None,
    ) -> list[Any]:  # fmt: skip
        """What is read of every batch (conditionings, seeds, what the reader is told of it), in order; `batches` builds each when
        it is asked for it.

        `arrived(n)` is called when n batches are generated, `measured(i, what)` with what is read of batch i as soon as it is.
        """
        found, measuring, told = [None] * len(batches), {}, {}

        def send(sampler: ActorHandle, index: int) -> ray.ObjectRef:
            conditionings, seeds, told[index] = batches[index]
            return sampler.generate.remote(conditionings, seeds, self.published.adapter.sha256)

        def take(index: int, ref: ray.ObjectRef, outputs: Any, done: int) -> None:
            measuring[self.evaluator.measure.remote(ref, *told.pop(index))] = index
            arrived(done)
            gather(len(measuring), timeout=0)

        def gather(most: int, timeout: float | None = None) -> None:
            for ref in ray.wait(list(measuring), num_returns=most, timeout=timeout)[0]:
                index = measuring.pop(ref)
                (found[index],) = self._measured([ref])
                measured(index, found[index])

        self.samplers.begin(Job(self.published, len(batches), send, take, "generate"))
        self.samplers.finish(self)
        while measuring:
            gather(1)
        return found

    def measure(self, given: Iterable[tuple]) -> list[Any]:
        """What is read of everything in `given`, in order."""
        refs: list[ray.ObjectRef] = []
        for each in given:
            if len(refs) >= IN_FLIGHT:  # do not hold a whole data set twice
                ray.wait([refs[-IN_FLIGHT]])
            refs.append(self.evaluator.measure.remote(*each))
        return self._measured(refs)

    def _measured(self, refs: list[ray.ObjectRef]) -> list[Any]:
        try:
            return [get(ref) for ref in refs]
        except LOST as death:
            raise RunFailed(f"the evaluator {cause_of(death, None)}") from None
