"""`--check`: what would stand in a run's way on this cluster, seen from each of its nodes, before anything starts."""

import os
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import ray
from ray.actor import ActorHandle
from ray.exceptions import GetTimeoutError, RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from cluster.calls import get
from cluster.connect import connected
from cluster.launch.checks import CHECKS, Seen
from cluster.launch.nodes import await_nodes, given_cluster
from cluster.launch.probe import ROOT, Probe
from learner.config.settings import Config
from rollout.family import family
from rollout.io.errors import InputError, RunFailed

PORTS = ("NodeManagerPort", "ObjectManagerPort")
DRIVER = "driver"
ANSWER_S = 120  # for a node to say all of itself: torch is imported, weights are read


def check(config: Config, nodes: int, wait_s: float, hosts: Sequence[str]) -> str:
    """Prints a line of each finding and what helps, or that there is none; returns the command's status. Raises InputError for a model
    that is not there."""
    weights = weights_of(config)
    try:
        given_cluster(nodes)
        with connected():
            findings = []
            try:
                await_nodes(nodes, wait_s, lambda line: print(line, flush=True), hosts)
            except RunFailed as error:
                findings.append(str(error))
            seen = look(config, weights)
            findings += [line for find in CHECKS for line in find(seen, config)]
    except InputError as error:  # RAY_ADDRESS
        seen, findings = [], [f"{error}; see `ray status` on the head, and what it listens on"]
    for line in findings:
        print(line)
    if not findings:
        print(f"nothing found on {len(seen)} node{'s' * (len(seen) > 1)} ({', '.join(node.address for node in seen)})")
    return "failed" if findings else "finished"


class Probes:
    """One on every node, by its id. A node that once fails to answer is asked nothing more."""

    def __init__(self, nodes: Iterable[str]):
        self.answering = {
            node: Probe.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False)).remote() for node in nodes
        }  # fmt: skip
        self.silent: dict[str, str] = {}  # why

    def ask(self, send: Callable[[str, ActorHandle], ray.ObjectRef], nodes: Iterable[str] | None = None) -> dict[str, Any]:
        """What each node answers to what `send` sends to its probe."""
        end, answers = time.monotonic() + ANSWER_S, {}
        asked = {node: send(node, probe) for node, probe in self.answering.items() if nodes is None or node in nodes}
        for node, ref in asked.items():
            try:
                answers[node] = get(ref, max(0.0, end - time.monotonic()))
            except GetTimeoutError:
                self.silent[node] = f"did not answer in {ANSWER_S} s"
            except (RayError, RuntimeError, ImportError) as error:  # the last two: our files are not there, or are others
                self.silent[node] = str(error).strip().splitlines()[-1][-200:]
        self.answering = {node: probe for node, probe in self.answering.items() if node not in self.silent}
        return answers


def look(config: Config, weights: list[str]) -> list[Seen]:
    """Every living node, as Ray counts it and as it says itself; the driver's first."""
    own = ray.get_runtime_context().get_node_id()
    alive = sorted((node for node in ray.nodes() if node["Alive"]), key=lambda node: (node["NodeID"] != own, node["NodeManagerAddress"]))
    names, probes = called(alive), Probes(node["NodeID"] for node in alive)
    ports = {node["NodeID"]: [f"{node['NodeManagerAddress']}:{node[port]}" for port in PORTS] for node in alive}

    def of_others(node: str) -> list[str]:
        return [port for other, of_other in ports.items() if other != node for port in of_other]

    facts = probes.ask(lambda node, probe: probe.facts.remote(weights, of_others(node)))
    clocks = {node: ahead for node in list(probes.answering) if (ahead := _ahead(node, probes)) is not None}
    folders = _folder(config, probes)
    said, counted = facts | probes.silent, {node["NodeID"]: node["Resources"] for node in alive}
    return [Seen(name, counted[node], said[node], clocks.get(node, 0.0), folders.get(node, "")) for node, name in names.items()]


def called(nodes: list[dict[str, Any]]) -> dict[str, str]:
    """By id what people call a node: its address, and where several share one the start of the id too."""
    addresses = [node["NodeManagerAddress"] for node in nodes]
    return {
        node["NodeID"]: f"{address} ({node['NodeID'][:6]})" if addresses.count(address) > 1 else address
        for node, address in zip(nodes, addresses)
    }  # fmt: skip


def weights_of(config: Config) -> list[str]:
    """The model's files, and files and folders that the settings of its reward name, beside what ships with the project."""
    components = [value for component in config.reward.parsed().values() for value in component.options.values()]
    named = [value for value in (*(value for _, value in config.reward), *components) if isinstance(value, str) and os.path.isabs(value)]
    paths = {Path(path) for path in (*family(config.family).files(config).values(), *named)}
    return sorted(str(path) for path in paths if not path.is_relative_to(ROOT))


def _ahead(node: str, probes: Probes) -> float | None:
    """Seconds that a node's clock is ahead of this one's, less what the way there and back explains. Negative: behind."""
    before = time.time()
    answer = probes.ask(lambda node, probe: probe.now.remote(), [node])
    after = time.time()
    return answer[node] - min(max(answer[node], before), after) if answer else None


def _folder(config: Config, probes: Probes) -> dict[str, str]:
    """By node, what keeps it from sharing the place of run_dir with the driver. Nothing is left there."""
    place = Path(config.run_dir or "runs/x").absolute().parent
    while not place.exists():
        place = place.parent
    try:
        with tempfile.TemporaryDirectory(prefix=".check-", dir=place) as folder:
            Path(folder, DRIVER).write_text(DRIVER)
            errors = probes.ask(lambda node, probe: probe.write.remote(folder, node))
            written = [DRIVER, *(node for node, error in errors.items() if not error)]
            read = probes.ask(lambda node, probe: probe.read.remote(folder, written))
    except OSError as error:
        return dict.fromkeys(probes.answering, f"{place} cannot be written by the driver ({error.strerror})")
    found = {}
    for node, seen in read.items():
        if DRIVER not in seen:
            found[node] = f"{place} is another one than the driver's"
        elif errors[node]:
            found[node] = f"{place} cannot be written ({errors[node]})"
        elif set(written) - seen:
            found[node] = f"{place} does not show what other nodes wrote there"
    return found
