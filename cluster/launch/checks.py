"""What may be wrong with a cluster, each a function of what its nodes say: a line of what was found and what helps, or nothing.

Nothing here asks anybody anything, so a fault of any kind can be put before it.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import ceil

from cluster.launch.probe import MISSING, SHARED_MEMORY, Facts
from cluster.placement import Node, shares
from learner.config.settings import Config
from rollout.io.errors import InputError

CLOCKS_S = 2.0  # apart; more, and files on shared storage come from the future
GROUP_MB = 100  # what the actions of a large group take
HELD = 2  # groups of a sampler that lie on its node at a time: the one it made, and the one that is read


@dataclass(frozen=True)
class Seen:
    """A node. resources: as Ray counts them. said: what it says of itself, or why it says nothing. ahead: seconds that its clock is.
    folder: what keeps it from sharing the run's place with the driver."""

    address: str
    resources: dict[str, float]
    said: Facts | str
    ahead: float = 0.0
    folder: str = ""

    @property
    def gpus(self) -> int:
        return int(self.resources.get("GPU", 0))

    @property
    def cpus(self) -> float:
        return self.resources.get("CPU", 0)


Check = Callable[[Sequence[Seen], Config], Iterator[str]]


def silent(nodes: Sequence[Seen], config: Config) -> Iterator[str]:
    for node in nodes:
        if isinstance(node.said, str):
            yield f"{node.address}: says nothing ({node.said}); install this project there, at the driver's version, and see its Ray logs"


def ports(nodes: Sequence[Seen], config: Config) -> Iterator[str]:
    for node in answering(nodes):
        if node.said.unreachable:
            yield (
                f"{node.address}: cannot reach {', '.join(node.said.unreachable)}; open these ports between the nodes (ray start "
                "--node-manager-port, --object-manager-port)"
            )


def clocks(nodes: Sequence[Seen], config: Config) -> Iterator[str]:
    for node in nodes:
        if abs(node.ahead) > CLOCKS_S:
            where = "ahead" if node.ahead > 0 else "behind"
            yield f"{node.address}: its clock is {abs(node.ahead):.1f} s {where}; run chrony or ntpd there"


def versions(nodes: Sequence[Seen], config: Config) -> Iterator[str]:
    for node, driver in others(nodes):
        for name in driver.versions:
            found, expected = node.said.versions.get(name, "none"), driver.versions[name]
            if found != expected:
                yield f"{node.address}: {name} {found[:12]}, the driver's node has {expected[:12]}; install the same one everywhere"


def weights(nodes: Sequence[Seen], config: Config) -> Iterator[str]:
    for node, driver in others(nodes):
        if differ := [path for path, digest in driver.weights.items() if node.said.weights[path] != digest]:
            missing = node.said.weights[differ[0]] == MISSING
            more = f" and {len(differ) - 1} more" if len(differ) > 1 else ""
            yield (
                f"{node.address}: {'has no' if missing else 'has another'} {differ[0]}{more}; copy the driver's there, or put all on "
                "storage that every node mounts"
            )


def kinds_of_cpu(nodes: Sequence[Seen], config: Config) -> Iterator[str]:
    if any(node.gpus for node in nodes) and config.cluster.gpus_per_actor != 0:
        return
    for node, driver in others(nodes):
        if node.said.cpu_kind != driver.cpu_kind:
            yield (
                f"{node.address}: its CPU is {node.said.cpu_kind}, the driver's {driver.cpu_kind}; take nodes of one kind: on others the "
                "same sums have other last bits, and are refused"
            )


def cores(nodes: Sequence[Seen], config: Config) -> Iterator[str]:
    for node in answering(nodes):
        if node.cpus > node.said.cpus:
            yield (
                f"{node.address}: Ray counts {node.cpus:g} CPUs, and a process there may use {node.said.cpus}; ray start "
                f"--num-cpus={node.said.cpus}"
            )


def gpus(nodes: Sequence[Seen], config: Config) -> Iterator[str]:
    for node in answering(nodes):
        if node.gpus > node.said.gpus:
            yield (
                f"{node.address}: Ray counts {node.gpus} GPUs, and torch can use {node.said.gpus} ({node.said.gpu_error}); install a "
                "build of torch for its driver, or leave GPUs alone with --cluster.gpus_per_actor 0"
            )


def shared_memory(nodes: Sequence[Seen], config: Config) -> Iterator[str]:
    even = ceil(config.cluster.samplers.high / len(nodes))
    for node in answering(nodes):
        needed = HELD * GROUP_MB * min(even, int(node.cpus // config.cluster.sampler_cpus))
        free = node.said.shared_memory
        if free is not None and free / 1e6 < needed:
            yield (
                f"{node.address}: {SHARED_MEMORY} has {free / 1e6:.0f} MB free, large groups of its samplers take {needed}; docker "
                "run --shm-size=8g, or in Kubernetes an emptyDir of medium Memory there"
            )
        elif (store := node.resources.get("object_store_memory", 0)) / 1e6 < needed:
            yield (
                f"{node.address}: Ray's object store is {store / 1e6:.0f} MB, large groups of its samplers take {needed}; ray start "
                f"--object-store-memory={needed * 10**6}"
            )


def run_folder(nodes: Sequence[Seen], config: Config) -> Iterator[str]:
    if len(nodes) > 1 and config.run_dir is None:
        yield "--run_dir: not given, and a job works in a copy of the folder it is submitted from; give an absolute path on shared storage"
    for node in nodes:
        if node.folder:
            yield f"{node.address}: {node.folder}; mount the same storage there, else a run whose driver's node is lost cannot go on"


def placement(nodes: Sequence[Seen], config: Config) -> Iterator[str]:
    try:
        shares([Node(node.cpus, node.gpus) for node in nodes], config.cluster, 1 + config.cluster.reward_actors)
    except InputError as error:
        yield f"{error}; add nodes, or ask for less"


CHECKS: tuple[Check, ...] = (
    silent, ports, clocks, versions, weights, kinds_of_cpu, cores, gpus, shared_memory, run_folder, placement
)  # fmt: skip


def answering(nodes: Sequence[Seen]) -> list[Seen]:
    return [node for node in nodes if isinstance(node.said, Facts)]


def others(nodes: Sequence[Seen]) -> list[tuple[Seen, Facts]]:
    """Every node but the first that answers, which is the driver's where that does, each beside what that one says."""
    first, *rest = answering(nodes) or [None]
    return [(node, first.said) for node in rest]
