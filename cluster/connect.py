"""Starting a private Ray on this machine, or joining the cluster this process was submitted to."""

import logging
import os
import re
import secrets
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import grpc
import ray

from rollout.io.credentials import redacted
from rollout.io.errors import InputError, RunFailed

log = logging.getLogger(__name__)
OLDEST = (2, 59)  # the first Ray whose own local cluster answers only who knows a token
PROBE_S = 10  # for a cluster to say that it is there
ADDRESS = re.compile(r"([^\s:]+|\[[\da-fA-F:.]+\]):\d+")
SOCKET = "/ray/session_2026-01-01_00-00-00_000000_4194304/sockets/plasma_store"  # what Ray adds to the name of a folder
LONGEST_SOCKET = 103 if sys.platform == "darwin" else 107  # bytes


@contextmanager
def connected() -> Iterator[None]:
    """Joins RAY_ADDRESS when it is set (as `ray job submit` does), else starts a private local Ray and stops it again.

    Ray's own output stays quiet: an actor's errors reach the driver as exceptions. Its services listen on every interface
    of the machine, so a private Ray answers only who knows its token (RAY_AUTH_TOKEN, or one made here and written nowhere),
    unless RAY_AUTH_MODE says otherwise, and has no dashboard. Raises InputError for a cluster that cannot be joined.
    """
    if tuple(map(int, ray.__version__.split(".")[:2])) < OLDEST:
        raise InputError(f"ray: found {ray.__version__}, expected at least {'.'.join(map(str, OLDEST))}")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    address, options = os.environ.get("RAY_ADDRESS"), {}
    private = address in (None, "", "local")
    with ExitStack() as stack:
        if private:
            address = "local"
            os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
            os.environ.setdefault("RAY_prestart_worker_first_driver", "0")  # no actor takes one: each has its own environment
            options = {"include_dashboard": False, "_temp_dir": stack.enter_context(_temporary_folder())}
        else:
            _require_cluster(address)
        stack.callback(ray.shutdown)
        # Ray's processes must outlive a terminal that is closed, until what was finished is saved.
        unblocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
        try:
            ray.init(address, log_to_driver=False, logging_level="error", **options)
        except Exception as error:  # of its many processes any may fail, in any way
            reason = " ".join(str(error).split())[:200] or type(error).__name__
            if private:
                raise RunFailed(f"Ray did not start ({reason}); its logs lie in {options['_temp_dir']}/session_latest/logs") from None
            raise InputError(f"RAY_ADDRESS: cannot join {address} ({reason})") from None
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, unblocked)
        if private:
            warn_of_small_memory(ray.cluster_resources().get("object_store_memory", 0))
        yield


def _require_cluster(address: str) -> None:
    """A cluster that is gone, or has no node on this machine, is refused in seconds: `ray.init` would ask it for minutes."""
    from ray._private.grpc_utils import init_grpc_channel  # not in a Ray that is too old
    from ray._private.services import canonicalize_bootstrap_address, get_ray_address_from_environment
    from ray.core.generated.gcs_service_pb2 import CheckAliveRequest, GetAllNodeInfoRequest
    from ray.core.generated.gcs_service_pb2_grpc import NodeInfoGcsServiceStub

    try:
        head = get_ray_address_from_environment(address, None)
    except ConnectionError:
        raise InputError("RAY_ADDRESS: found auto, and no Ray cluster runs on this machine") from None
    if "/" in head or not ADDRESS.fullmatch(head):
        raise InputError(f"RAY_ADDRESS: found {redacted(head)}, expected HOST:PORT as `ray start --head` prints it, or auto")
    asked = canonicalize_bootstrap_address(head)  # of loopback Ray makes this machine's own address, where a tunnel does not listen
    named = head if asked == head else f"{head}, which for Ray is {asked}"
    try:
        with init_grpc_channel(asked, [("grpc.enable_http_proxy", 0)]) as channel:
            head_service = NodeInfoGcsServiceStub(channel)
            head_service.CheckAlive(CheckAliveRequest(), timeout=PROBE_S)
            _require_node(lambda: head_service.GetAllNodeInfo(GetAllNodeInfoRequest(), timeout=PROBE_S).node_info_list, named)
    except grpc.RpcError as error:
        if address == "auto" and error.code() is grpc.StatusCode.UNAUTHENTICATED:
            return  # for such a cluster `ray.init` looks for a token itself
        remedy = "; export RAY_AUTH_MODE=token and RAY_AUTH_TOKEN" if error.code() is grpc.StatusCode.UNAUTHENTICATED else ""
        raise InputError(f"RAY_ADDRESS: no Ray cluster at {named} ({error.code().name}: {error.details()[:200]}){remedy}") from None


def _require_node(nodes: Callable[[], Iterable[Any]], named: str) -> None:
    """One of the cluster's `nodes` on this machine, which may have only just been started."""
    from ray._private.services import find_node_ids

    end = time.monotonic() + PROBE_S
    while not find_node_ids() & {node.node_id.hex() for node in nodes()}:
        if time.monotonic() > end:
            raise InputError(
                f"RAY_ADDRESS: the Ray cluster at {named} has no node on this machine, expected one (`ray start --address=HOST:PORT`):"
                " from elsewhere `ray job submit` starts a driver on the cluster"
            )
        time.sleep(0.5)


@contextmanager
def _temporary_folder() -> Iterator[str]:
    """For the files of a private Ray: `ray` in RAY_TMPDIR, else in the first folder of TMPDIR and the system's that can be written.

    One whose name is too long for sockets gets a short link to it, for as long as this lasts.
    """
    chosen = os.environ.get("RAY_TMPDIR")
    with ExitStack() as stack:
        try:
            place = Path(chosen or tempfile.gettempdir()).absolute()
            place.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=place / "ray" if (place / "ray").exists() else place, buffering=0) as file:
                file.write(b"room")
            if len(os.fsencode(place)) + len(SOCKET) > LONGEST_SOCKET:
                link = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ray-", dir="/tmp")), "tmp")
                link.symlink_to(place)
                place = link
        except OSError as error:
            raise InputError(f"RAY_TMPDIR, TMPDIR: expected a folder that can be written, found {error}") from None
        yield str(place / "ray")


def warn_of_small_memory(store: float) -> None:
    """Says so where shared memory has not the bytes of Ray's `store` of objects, as in Docker, and it uses the disk instead."""
    try:
        shared = os.statvfs("/dev/shm")
    except OSError:  # not on this system
        return
    free = shared.f_bavail * shared.f_frsize
    if free < store:
        log.warning(
            "/dev/shm: %d MB are free, fewer than the %d of Ray's object store, which goes through the disk instead: slower"
            " (docker run --shm-size=8g)", free / 1e6, store / 1e6,
        )  # fmt: skip
