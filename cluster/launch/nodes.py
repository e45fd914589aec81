"""Waiting until the cluster has as many nodes as were asked for."""

import os
import time
from collections.abc import Callable, Mapping, Sequence, Set
from typing import Any

import ray
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from rollout.io.command import stop_if_asked
from rollout.io.errors import InputError, RunFailed

POLL_S = 0.2


def given_cluster(nodes: int) -> bool:
    """Whether RAY_ADDRESS says which cluster. Raises InputError where it does not and this machine is not enough."""
    if os.environ.get("RAY_ADDRESS", "local") not in ("", "local"):
        return True
    if nodes > 1:
        raise InputError(f"--nodes: found {nodes} and no RAY_ADDRESS, expected the address of a cluster, or one node: this machine")
    return False


def await_nodes(wanted: int, wait_s: float, tell: Callable[[str], None], hosts: Sequence[str] = ()) -> None:
    """Returns once `wanted` nodes or more answer, and every other that Ray takes for living too: to one that has just died it would
    go on giving actors for half a minute.

    tell: is given a line whenever a node came or went meanwhile. hosts: what the nodes are called, where that is known. Raises
    RunFailed, with who is there and who is not, after `wait_s` seconds.
    """
    end, before, asked, seen = time.monotonic() + wait_s, None, {}, {}
    while True:
        living = {node["NodeID"]: node for node in ray.nodes() if node["Alive"]}
        seen |= living
        asked = {name: asked.get(name) or _ask(name) for name in living}
        answering = {name for name, ref in asked.items() if _answered(ref)}
        found = f"{len(answering)} of {wanted} nodes answer ({_addresses(living, answering) or 'none yet'})"
        if wanted <= len(answering) == len(living):
            return
        if time.monotonic() >= end:
            words = f"{found} after {wait_s:g} s{missing(seen, {*living}, answering, hosts)}"
            raise RunFailed(f"--nodes: {words}; see what `ray start` said there, or wait longer with --wait_s")
        if found != before:
            tell(f"waiting: {found}")
        before = found
        stop_if_asked()
        time.sleep(POLL_S)


def missing(seen: Mapping[str, Mapping[str, Any]], living: Set[str], answering: Set[str], hosts: Sequence[str]) -> str:
    """Words for who is. seen: by id every node that lived meanwhile, as Ray describes it. A host is known by its node's address or name,
    with or without the domain."""
    names = {name for node in seen.values() for name in (node["NodeManagerAddress"], node["NodeManagerHostname"].partition(".")[0])}
    back = {seen[name]["NodeManagerAddress"] for name in living}
    gone = {name for name, node in seen.items() if node["NodeManagerAddress"] not in back}
    found = {
        "no answer from": _addresses(seen, living - answering), "lost": _addresses(seen, gone),
        "no node is called": ", ".join(host for host in hosts if not {host, host.partition(".")[0]} & names),
    }  # fmt: skip
    return "".join(f"; {what} {which}" for what, which in found.items() if which)


def _addresses(nodes: Mapping[str, Mapping[str, Any]], ids: Set[str]) -> str:
    return ", ".join(sorted(nodes[name]["NodeManagerAddress"] for name in ids))


@ray.remote(num_cpus=0, max_retries=0)
def _present() -> bool:
    return True


def _ask(node: str) -> ray.ObjectRef:
    return _present.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False)).remote()


def _answered(ref: ray.ObjectRef) -> bool:
    """Whether the node does. One that was lost meanwhile does not, and is no longer among the living soon."""
    try:
        return bool(ray.wait([ref], timeout=0)[0]) and ray.get(ref)
    except RayError:
        return False
