"""Waiting until the cluster has as many nodes as were asked for."""

import os
import time
from collections.abc import Callable

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


def await_nodes(wanted: int, wait_s: float, tell: Callable[[str], None]) -> None:
    """Returns once `wanted` nodes or more answer, and every other that Ray takes for living too: to one that has just died it would
    go on giving actors for half a minute.

    tell: is given a line whenever a node came or went meanwhile. Raises RunFailed, with who is there, after `wait_s` seconds.
    """
    end, before, asked = time.monotonic() + wait_s, None, {}
    while True:
        living = {node["NodeID"]: node["NodeManagerAddress"] for node in ray.nodes() if node["Alive"]}
        asked = {name: asked.get(name) or _ask(name) for name in living}
        there = sorted(living[name] for name, ref in asked.items() if _answered(ref))
        found = f"{len(there)} of {wanted} nodes answer ({', '.join(there) or 'none yet'})"
        if wanted <= len(there) == len(living):
            return
        if time.monotonic() >= end:
            raise RunFailed(f"--nodes: {found} after {wait_s:g} s; see what `ray start` said on the others, or wait longer with --wait_s")
        if found != before:
            tell(f"waiting: {found}")
        before = found
        stop_if_asked()
        time.sleep(POLL_S)


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
