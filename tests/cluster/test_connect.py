"""A private Ray is private: whoever lacks its token is refused, it writes none down, and it has no dashboard. It starts with
whatever TMPDIR and HOME a batch system gives it. A cluster that is not there is refused at once."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path

import grpc
import pytest
import ray
from ray._common.network_utils import node_ip_address_from_perspective
from ray._private import services
from ray.core.generated.gcs_service_pb2 import InternalKVKeysRequest
from ray.core.generated.gcs_service_pb2_grpc import InternalKVGcsServiceStub

from cluster import connect
from cluster.connect import connected, warn_of_small_memory
from rollout.io.errors import InputError

DEEP = "slurm_jobdir/1355700/tmp.t0016/a_scratch_folder_of_this_job_alone/local"


@pytest.fixture(scope="module", autouse=True)
def private_ray():
    """In place of the room's own: what `connected` starts, in a TMPDIR that is too long for sockets and a HOME that is empty."""
    folder = Path(tempfile.mkdtemp(prefix="ray", dir="/tmp"))
    (folder / DEEP).mkdir(parents=True)
    (folder / "home").mkdir()
    os.environ.pop("RAY_AUTH_TOKEN", None)  # for good: Ray reads the one that is made now once for this process
    with ExitStack() as stack:
        with pytest.MonkeyPatch.context() as patch:
            for name in ("RAY_ADDRESS", "RAY_AUTH_MODE", "RAY_TMPDIR"):
                patch.delenv(name, raising=False)
            patch.setenv("TMPDIR", str(folder / DEEP))
            patch.setenv("HOME", str(folder / "home"))
            patch.setattr(tempfile, "tempdir", None)
            stack.enter_context(connected())
        yield folder
    shutil.rmtree(folder, ignore_errors=True)


def keys(*metadata) -> int:
    """How many keys the control service tells whoever asks with these credentials."""
    with grpc.insecure_channel(ray.get_runtime_context().gcs_address) as channel:
        return len(InternalKVGcsServiceStub(channel).InternalKVKeys(InternalKVKeysRequest(), timeout=30, metadata=metadata).results)


@pytest.mark.parametrize(
    "metadata", [(), (("authorization", "Bearer "),), (("authorization", f"Bearer {'0' * 64}"),)], ids=["none", "empty", "wrong"]
)
def test_a_client_without_the_token_is_refused(metadata):
    with pytest.raises(grpc.RpcError) as caught:
        keys(*metadata)
    assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED


def test_one_with_the_token_is_not():
    token = os.environ["RAY_AUTH_TOKEN"]
    assert len(token) == 64 and keys(("authorization", f"Bearer {token}")) > 0


def test_its_files_lie_where_tmpdir_says_and_none_in_home(private_ray):
    link = Path(ray._private.worker._global_node.get_session_dir_path())
    assert len(str(link)) < 80 and (private_ray / DEEP / "ray").resolve() in link.resolve().parents
    assert list((private_ray / "home").iterdir()) == []


def test_its_processes_do_not_hear_that_the_terminal_is_closed():
    """They would die before the driver has saved, and take it with them."""
    blocked = ray.remote(lambda: signal.pthread_sigmask(signal.SIG_BLOCK, set()))
    assert signal.SIGHUP in ray.get(blocked.remote())
    assert signal.SIGHUP not in signal.pthread_sigmask(signal.SIG_BLOCK, set())


def entered(**environment) -> subprocess.CompletedProcess:
    """What a process that tries to join says."""
    code = "from cluster.connect import connected\nfrom rollout.io.command import exit_code\nexit(exit_code(connected().__enter__))"
    return subprocess.run([sys.executable, "-c", code], env={**os.environ, **environment}, capture_output=True, text=True, timeout=60)


def test_a_client_with_another_token_hears_so_in_one_line():
    done = entered(RAY_ADDRESS=ray.get_runtime_context().gcs_address, RAY_AUTH_MODE="token", RAY_AUTH_TOKEN="0" * 64)
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert done.stderr.startswith("error: RAY_ADDRESS: ") and "UNAUTHENTICATED" in done.stderr and "RAY_AUTH_TOKEN" in done.stderr


def test_there_is_no_dashboard():
    assert not ray._private.worker.global_worker.node.webui_url


def test_what_the_documentation_starts_listens_on_loopback():
    from tests.test_architecture import ROOT

    text = "".join((ROOT / name).read_text() for name in ("README.md", "cluster/README.md", "docs/cluster.md")).replace("\\\n", " ")
    heads = [line for line in text.splitlines() if line.lstrip().startswith("ray start --head")]
    assert heads and all("--dashboard-host=127.0.0.1" in line for line in heads)
    assert "0.0.0.0" not in text and text.count("export RAY_AUTH_MODE=token") >= len(heads)
    assert not [line for line in text.splitlines() if "mlflow ui" in line and "--host" in line]  # its default is loopback


# What is refused before any Ray is touched ------------------------------------------------------------------------------


def refused(**environment) -> str:
    with pytest.MonkeyPatch.context() as patch, pytest.raises(InputError) as caught:
        patch.delenv("RAY_TMPDIR", raising=False)
        for name, value in environment.items():
            patch.setenv(name, value)
        with connected():
            pass
    return str(caught.value)


@pytest.mark.parametrize("address", ["ray://127.0.0.1:10001", "http://127.0.0.1:80", "head", ":", ":6379", "::1:6379", "head:port", "ray://me:sesame@head:1"])
def test_an_address_that_is_none(address):
    words = refused(RAY_ADDRESS=address)
    assert words.startswith("RAY_ADDRESS: found ") and "expected HOST:PORT" in words and "sesame" not in words


def test_a_cluster_that_is_gone_or_never_was_one(monkeypatch):
    monkeypatch.setattr(connect, "PROBE_S", 0.5)
    with socket.create_server(("", 0)) as silent:
        heard = refused(RAY_ADDRESS=f"127.0.0.1:{silent.getsockname()[1]}")
        assert "no Ray cluster at 127.0.0.1" in heard and "DEADLINE_EXCEEDED" in heard
        gone = silent.getsockname()[1]
    assert "UNAVAILABLE" in refused(RAY_ADDRESS=f"127.0.0.1:{gone}")


@contextmanager
def head_service(listens: str, folder: Path):
    """A real control service without a node, that listens at one address. Gives its port."""
    with socket.create_server((listens, 0)) as free:
        port = free.getsockname()[1]
    words = [services.GCS_SERVER_EXECUTABLE, f"--log_dir={folder}", f"--config_list={services.serialize_config({})}"]
    words += [f"--gcs_server_port={port}", "--metrics-agent-port=0", f"--node-ip-address={listens}", "--session-name=x"]
    process = subprocess.Popen(words, env={**os.environ, "RAY_AUTH_MODE": "disabled"}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        end = time.monotonic() + 60
        with socket.socket() as probe:
            while probe.connect_ex((listens, port)):
                assert time.monotonic() < end
                time.sleep(0.1)
        yield port
    finally:
        process.kill()
        process.wait()


def test_a_cluster_at_the_other_end_of_a_tunnel_is_refused_as_what_ray_will_ask(tmp_path):
    """`ssh -L` and `kubectl port-forward` listen on loopback, which Ray takes for this machine's own address."""
    if (own := node_ip_address_from_perspective()).startswith("127."):
        pytest.skip("this machine has no address but loopback")
    with head_service("127.0.0.1", tmp_path) as port:
        done = entered(RAY_ADDRESS=f"127.0.0.1:{port}", RAY_AUTH_MODE="disabled")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert done.stderr.startswith(f"error: RAY_ADDRESS: no Ray cluster at 127.0.0.1:{port}, which for Ray is {own}:{port} (UNAVAILABLE: ")


def test_a_cluster_without_a_node_on_this_machine_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(connect, "PROBE_S", 1)
    with head_service(own := ray.util.get_node_ip_address(), tmp_path) as port:
        words = refused(RAY_ADDRESS=f"{own}:{port}")
    assert words.startswith(f"RAY_ADDRESS: the Ray cluster at {own}:{port} has no node on this machine") and "ray job submit" in words


def test_auto_follows_the_address_file_of_a_cluster_that_is_gone(monkeypatch, tmp_path):
    monkeypatch.setattr("ray._private.services.find_gcs_addresses", lambda: frozenset())  # those of other tests on this machine
    assert "no Ray cluster runs on this machine" in refused(RAY_ADDRESS="auto", RAY_TMPDIR=str(tmp_path))
    (tmp_path / "ray").mkdir()
    (tmp_path / "ray" / "ray_current_cluster").write_text("127.0.0.1:1")
    assert "no Ray cluster at 127.0.0.1:1" in refused(RAY_ADDRESS="auto", RAY_TMPDIR=str(tmp_path))


@pytest.mark.parametrize("place", ["/proc/none", "{}/file", "{}/file/below"])
def test_a_ray_tmpdir_that_cannot_be_written(place, tmp_path):
    (tmp_path / "file").touch()
    place = place.format(tmp_path)
    words = refused(RAY_ADDRESS="", RAY_TMPDIR=place)
    assert words.startswith("RAY_TMPDIR, TMPDIR: expected a folder that can be written") and place in words


def test_a_tmpdir_that_cannot_be_written_is_passed_over(monkeypatch):
    monkeypatch.delenv("RAY_TMPDIR", raising=False)
    monkeypatch.setenv("TMPDIR", "/proc/none")
    monkeypatch.setattr(tempfile, "tempdir", None)
    with connect._temporary_folder() as folder:
        assert os.access(Path(folder).parent, os.W_OK) and not folder.startswith("/proc")


def test_a_ray_that_is_too_old(monkeypatch):
    monkeypatch.setattr(ray, "__version__", "2.58.1")
    assert refused() == "ray: found 2.58.1, expected at least 2.59"


def test_shared_memory_that_is_too_small_is_said(caplog):
    warn_of_small_memory(0)
    assert not caplog.records
    warn_of_small_memory(1e18)
    assert "--shm-size" in caplog.text or not Path("/dev/shm").exists()
