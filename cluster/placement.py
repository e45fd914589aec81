"""How many GPUs each actor reserves, so that all find a place whatever order Ray places them in, now and after a loss.

Ray takes a node for one that has room when the sums of its free CPUs and GPUs suffice; an actor sent to a node on which no
single GPU has its share free waits there for ever. So shares are such that the sums never deceive. They say who sits
beside whom and nothing else: Ray limits neither the memory nor the time of a GPU.

Of a range of samplers those that find no room wait for it in Ray, and would take the place of a learner that is lost. So there
the others never have places of their own: they sit in what samplers leave of their GPUs, which is too little for a sampler.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import ceil

import ray
from ray.autoscaler.sdk import request_resources

from learner.config.settings import Cluster
from rollout.io.command import stop_if_asked
from rollout.io.errors import InputError
from rollout.io.settings import refuse

UNIT = 10_000  # Ray counts resources in ten-thousandths
LARGEST = 16  # GPUs of a node that may come


@dataclass(frozen=True)
class Node:
    """What one machine of the cluster has."""

    cpus: float
    gpus: int


@dataclass(frozen=True)
class Shares:
    """GPUs of each sampler, and of each of the others: the learner, and reward or evaluator actors."""

    sampler: float
    other: float


def place(cluster: Cluster, others: int, tell: Callable[[str], None]) -> Shares:
    """The shares on the cluster that Ray is connected to. One that lacks something may grow for `cluster.wait_s` seconds: its
    autoscaler is asked to. tell: is given a line about what there is, whenever that changes. Raises InputError as `shares`."""
    end, before, samplers = time.monotonic() + cluster.wait_s, None, cluster.samplers.low
    gpu = {"GPU": cluster.gpus_per_actor} if cluster.gpus_per_actor else {}
    try:
        while True:
            nodes = [Node(of.get("CPU", 0), int(of.get("GPU", 0))) for of in (node["Resources"] for node in ray.nodes() if node["Alive"])]
            try:
                return shares(nodes, cluster, others)
            except InputError:
                if time.monotonic() >= end:
                    raise
            if before is None:
                beside = [gpu] * apart(cluster, others) if gpu else []
                request_resources(bundles=[{"CPU": cluster.sampler_cpus} | gpu] * samplers + beside)
            if nodes != before:
                wanted = f"{samplers * cluster.sampler_cpus} CPUs" + (f", {_gpus(cluster, others)} GPUs" if gpu else "")
                has = f"{sum(node.cpus for node in nodes):g} CPUs, {sum(node.gpus for node in nodes)} GPUs"
                tell(f"waiting for {wanted}: the cluster has {has}{f' on {len(nodes)} nodes' if len(nodes) > 1 else ''}")
            before = nodes
            stop_if_asked()
            time.sleep(0.5)
    finally:
        if before is not None:
            request_resources(bundles=[])  # or the autoscaler would keep the nodes when the run is over


def shares(nodes: Sequence[Node], cluster: Cluster, others: int) -> Shares:
    """A GPU for everybody where there are enough. Else as many samplers share one as must, and all the others fit in beside
    them on any one. `cluster.gpus_per_actor` is everybody's, in effect: larger where no more actors fit on a GPU for it. Of a range
    of samplers it is theirs; as many as must share one so that its least number has room, and the others fit in beside them.

    Raises InputError that says what the nodes lack.
    """
    asked, samplers, with_gpus = cluster.gpus_per_actor, cluster.samplers.low, [node for node in nodes if node.gpus]
    most = max((node.gpus for node in nodes), default=0)
    if asked and asked > 1 and asked % 1:
        raise InputError(f"cluster.gpus_per_actor: found {asked:g}, expected a whole number, or at most 1")
    _require_cpus(nodes, cluster, "the cluster has")
    if asked == 0 or (asked is None and not with_gpus):
        if cluster.precision == "tf32":
            refuse("cluster.precision", "tf32", "fp32 or bf16: TF32 is of GPUs alone, and this run has none")
        return Shares(0, 0)
    if with_gpus:
        _require_cpus(with_gpus, cluster, "its nodes with GPUs (which --cluster.gpus_per_actor 0 leaves alone) have")
    rooms = [(int(node.cpus // cluster.sampler_cpus), node.gpus) for node in with_gpus]
    if asked is None:
        if cluster.samplers.fixed and _fit(rooms, 1, samplers, others):
            return Shares(1, 1)
        on_one = next(n for n in range(1, samplers + 1) if _fit(rooms, n, samplers, 0))
        return _beside(on_one, most if cluster.samplers.fixed else max(most, LARGEST), cluster, others)
    sharing = apart(cluster, others)
    if not _fit(rooms, _on_one(asked), samplers, sharing):
        found, needed = sum(node.gpus for node in with_gpus), _gpus(cluster, others)
        where = ", some without CPUs for a sampler" if found >= needed else ""
        fitting = next((n for n in range(1, UNIT + 1) if _fit(rooms, n, samplers, sharing)), None)
        raise InputError(
            f"cluster.gpus_per_actor: {samplers + sharing} actors of {asked:g} GPU each need {needed} GPUs, the cluster has {found}"
            f"{where}{f'; {UNIT // fitting / UNIT:g} would fit' if fitting else ''}"
        )
    if not cluster.samplers.fixed:
        return _beside(_on_one(asked), max(most, LARGEST), cluster, others)
    return Shares(*[asked if asked >= 1 else UNIT // _on_one(asked) / UNIT] * 2)


def apart(cluster: Cluster, others: int) -> int:
    """Of the others, those that need as much of a GPU as a sampler does, under `cluster.gpus_per_actor`."""
    return others if cluster.samplers.fixed else 0


def _on_one(share: float) -> float:
    """Actors of that share on one GPU; a fraction when it takes several."""
    return int(1 / share + 1e-9) if share <= 1 else 1 / share


def _gpus(cluster: Cluster, others: int) -> int:
    """GPUs that actors of `cluster.gpus_per_actor` need."""
    return ceil((cluster.samplers.low + apart(cluster, others)) / _on_one(cluster.gpus_per_actor))


def _require_cpus(nodes: Sequence[Node], cluster: Cluster, whose: str) -> None:
    samplers, found = cluster.samplers.low, sum(node.cpus for node in nodes)
    held = sum(int(node.cpus // cluster.sampler_cpus) for node in nodes)
    if held < samplers:
        needed = samplers * cluster.sampler_cpus
        where = f" on {len(nodes)} nodes that hold {held} of them" if needed <= found else ""
        raise InputError(f"cluster.samplers: {samplers} of {cluster.sampler_cpus} CPU each need {needed} CPUs, {whose} {found:g}{where}")


def _fit(rooms: list[tuple[int, int]], on_one: float, samplers: int, others: int) -> bool:
    """Whether all fit when a GPU holds so many of them, even where the others took the places that samplers need. rooms: by
    node, samplers that its CPUs hold, and GPUs. No share is left over on a GPU that would not be enough for one more."""
    places = [(int(gpus * on_one + 1e-9), cpus) for cpus, gpus in rooms]
    taken = [(min(place, cpus), place) for place, cpus in places if place]
    displaced = max(0, others - min((place - held for held, place in taken), default=0))
    return sum(held for held, _ in taken) - displaced >= samplers


def _beside(on_one: int, most: int, cluster: Cluster, others: int) -> Shares:
    """So many samplers a GPU, each with as little as keeps the rests of a whole node, of at most so many GPUs, below one more share;
    the others divide what that leaves of one GPU."""
    sampler = UNIT * most // (on_one * most + 1) + 1
    other = (UNIT - on_one * sampler) // others
    if other < 1:
        actors = f"{cluster.samplers} samplers and {others} other actors"
        raise InputError(f"cluster.samplers: {actors} are too many for nodes of at most {most} GPUs")
    return Shares(sampler / UNIT, other / UNIT)
