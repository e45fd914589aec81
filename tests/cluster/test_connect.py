"""A private Ray is private: whoever lacks its token is refused, its token is for its owner, and it has no dashboard."""

import os
import shutil
import tempfile

import grpc
import pytest
import ray
from ray.core.generated.gcs_service_pb2 import InternalKVKeysRequest
from ray.core.generated.gcs_service_pb2_grpc import InternalKVGcsServiceStub

from cluster.connect import TOKEN, connected


@pytest.fixture(scope="module", autouse=True)
def private_ray():
    """In place of the room's own: what `connected` starts."""
    folder = tempfile.mkdtemp(prefix="ray", dir="/tmp")
    with pytest.MonkeyPatch.context() as patch:
        for name in ("RAY_ADDRESS", "RAY_AUTH_MODE"):
            patch.delenv(name, raising=False)
        patch.setenv("RAY_TMPDIR", folder)
        with connected():
            yield
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
    token = os.environ.get("RAY_AUTH_TOKEN") or TOKEN.read_text().strip()
    assert keys(("authorization", f"Bearer {token}")) > 0


@pytest.mark.skipif("RAY_AUTH_TOKEN" in os.environ, reason="the token comes from the environment")
def test_the_token_is_for_its_owner_alone():
    assert TOKEN.stat().st_mode & 0o077 == 0


def test_there_is_no_dashboard():
    assert not ray._private.worker.global_worker.node.webui_url


def test_what_the_documentation_starts_listens_on_loopback():
    from tests.test_architecture import ROOT

    text = "".join((ROOT / name).read_text() for name in ("README.md", "cluster/README.md")).replace("\\\n", " ")
    heads = [line for line in text.splitlines() if line.lstrip().startswith("ray start --head")]
    assert heads and all("--dashboard-host=127.0.0.1" in line for line in heads)
    assert "0.0.0.0" not in text and text.count("export RAY_AUTH_MODE=token") >= len(heads)
    assert not [line for line in text.splitlines() if "mlflow ui" in line and "--host" in line]  # its default is loopback
