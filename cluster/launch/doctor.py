"""`--check`: what would stand in a run's way on this cluster, seen from each of its nodes, before anything starts."""

import os
import secrets
import tempfile
import time
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import GetTimeoutError, RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from cluster.calls import get
from cluster.connect import connected
from cluster.launch.checks import CHECKS, Seen
from cluster.launch.nodes import await_nodes, given_cluster
from cluster.launch.probe import ROOT, Facts, Probe
from learner.config.settings import Config
from rollout.family import family
from rollout.io.errors import InputError, RunFailed

PORTS = ("NodeManagerPort", "ObjectManagerPort")
ANSWER_S = 120  # for a node to say all of itself: torch is imported, weights are read


def check(config: Config, nodes: int, wait_s: float) -> str:
    """Prints a line of each finding and what helps, or that there is none; returns the command's status."""
    try:
        given_cluster(nodes)
        with connected():
            findings = []
            try:
                await_nodes(nodes, wait_s, lambda line: print(line, flush=True))
            except RunFailed as error:
                findings.append(str(error))
            seen = look(config)
            findings += [line for find in CHECKS for line in find(seen, config)]
    except InputError as error:  # RAY_ADDRESS
        seen, findings = [], [f"{error}; see `ray status` on the head, and what it listens on"]
    for line in findings:
        print(line)
    if not findings:
        print(f"nothing found on {len(seen)} node{'s' * (len(seen) > 1)} ({', '.join(node.address for node in seen)})")
    return "failed" if findings else "finished"


def look(config: Config) -> list[Seen]:
    """Every living node, as Ray counts it and as it says itself; the driver's first."""
    own = ray.get_runtime_context().get_node_id()
    alive = sorted((node for node in ray.nodes() if node["Alive"]), key=lambda node: (node["NodeID"] != own, node["NodeManagerAddress"]))
    names = called(alive)
    ports = {node["NodeID"]: [f"{node['NodeManagerAddress']}:{node[port]}" for port in PORTS] for node in alive}
    probes = {name: Probe.options(scheduling_strategy=NodeAffinitySchedulingStrategy(name, soft=False)).remote() for name in names}
    weights = weights_of(config)
    asked = {
        name: probe.facts.remote(weights, [port for other, of_other in ports.items() if other != name for port in of_other])
        for name, probe in probes.items()
    }  # fmt: skip
    end = time.monotonic() + ANSWER_S
    said = {name: _answer(ref, end - time.monotonic()) for name, ref in asked.items()}
    there = {name: probe for name, probe in probes.items() if isinstance(said[name], Facts)}
    clocks = {name: _ahead(probe) for name, probe in there.items()}
    folders = _folder(config, there)
    resources = {node["NodeID"]: node["Resources"] for node in alive}
    return [Seen(names[name], resources[name], said[name], clocks.get(name, 0.0), folders.get(name, "")) for name in names]


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


def _answer(ref: ray.ObjectRef, wait_s: float) -> Facts | str:
    """What a node says, or in a line why it says nothing."""
    try:
        return get(ref, max(0.0, wait_s))
    except GetTimeoutError:
        return f"did not answer in {ANSWER_S} s"
    except (RayError, ImportError, RunFailed) as error:
        return " ".join(str(error).split())[:300]


def _ahead(probe: ray.actor.ActorHandle) -> float:
    """Seconds that a node's clock is ahead of this one's, less what the way there and back explains. Negative: behind."""
    before = time.time()
    there = get(probe.now.remote(), ANSWER_S)
    after = time.time()
    return there - min(max(there, before), after)


def _folder(config: Config, probes: dict[str, ray.actor.ActorHandle]) -> dict[str, str]:
    """By node, what keeps it from sharing the place of run_dir with the driver. Nothing is left there."""
    place = Path(config.run_dir or "runs/x").absolute().parent
    while not place.exists():
        place = place.parent
    try:
        with tempfile.TemporaryDirectory(prefix=".check-", dir=place) as folder:
            driver = secrets.token_hex(8)
            Path(folder, driver).write_text(driver)
            errors = {name: get(probe.write.remote(folder, name), ANSWER_S) for name, probe in probes.items()}
            names = [driver, *(name for name, error in errors.items() if not error)]
            unseen = {name: set(names) - get(probe.read.remote(folder, names), ANSWER_S) for name, probe in probes.items()}
            lost = {name for name in names if not Path(folder, name).exists()}
    except OSError as error:
        return dict.fromkeys(probes, f"{place} cannot be written by the driver ({error.strerror})")
    found = {}
    for name in probes:
        if driver in unseen[name]:
            found[name] = f"{place} is another one than the driver's"
        elif errors[name]:
            found[name] = f"{place} cannot be written ({errors[name]})"
        elif name in lost or unseen[name]:
            found[name] = f"what it writes into {place} is not seen by all"
    return found
