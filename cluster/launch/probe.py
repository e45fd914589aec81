"""What a node says of itself, asked by an actor that runs there."""

import hashlib
import os
import platform
import socket
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import ray
import torch

from rollout.io.machine import cpu_kind

ROOT = Path(__file__).resolve().parents[2]
ROOMS = ("rollout", "rewards", "learner", "cluster")
PACKAGES = ("torch", "ray", "numpy", "transformers")
# Files that weights and their shapes come in: read whole. Of others beside them, such as a data set, names and sizes say enough.
WEIGHTS = (".pt", ".pth", ".tar", ".bin", ".safetensors", ".json")
CONNECT_S = 3  # for another node's port to answer
SHARED_MEMORY = "/dev/shm"
MISSING = "missing"


@dataclass(frozen=True)
class Facts:
    """versions: by name, and that of our own files as a digest. cpus: that a process there may use. gpus: that torch can use; gpu_error:
    why not more. shared_memory: bytes that are free there, None where a system has none. weights: by path, a digest, or why there is
    none. unreachable: of the HOST:PORT it was to reach."""

    versions: dict[str, str]
    cpu_kind: str
    cpus: int
    gpus: int
    gpu_error: str
    shared_memory: int | None
    weights: dict[str, str]
    unreachable: list[str]


@ray.remote(num_cpus=0)
class Probe:
    """On one node, in the gaps of whatever else runs there."""

    def facts(self, weights: Sequence[str], others: Sequence[str]) -> Facts:
        gpus, gpu_error = _gpus()
        with ThreadPoolExecutor(16) as pool:
            unreachable = [address for address, reached in zip(others, pool.map(_reached, others)) if not reached]
        return Facts(
            versions={"python": platform.python_version(), **{name: _version(name) for name in PACKAGES}, "this project": _own_files()},
            cpu_kind=cpu_kind(),
            cpus=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
            gpus=gpus,
            gpu_error=gpu_error,
            shared_memory=_shared_memory(),
            weights={path: digest_of(Path(path)) for path in weights},
            unreachable=unreachable,
        )

    def now(self) -> float:
        return time.time()

    def write(self, folder: str, name: str) -> str:
        """Leaves a file of that name in `folder`. Returns why it cannot, else nothing."""
        try:
            Path(folder, name).write_text(name)
        except OSError as error:
            return error.strerror
        return ""

    def read(self, folder: str, names: Sequence[str]) -> set[str]:
        """Those of the files that are seen from here, whole."""
        return {name for name in names if _text(Path(folder, name)) == name}


def _gpus() -> tuple[int, str]:
    count = torch.cuda.device_count()
    try:
        for index in range(count):
            torch.zeros(1, device=f"cuda:{index}")
        return count, "" if count else f"torch {torch.__version__} sees none"
    except (AssertionError, RuntimeError) as error:
        return index, " ".join(str(error).split())[:200]


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "none"


def _own_files() -> str:
    digest = hashlib.sha256()
    for path in sorted(path for room in ROOMS for path in (ROOT / room).rglob("*") if path.is_file() and "__pycache__" not in path.parts):
        digest.update(str(path.relative_to(ROOT)).encode() + hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def digest_of(path: Path) -> str:
    """Of a file's content, or of a folder's files."""
    digest = hashlib.sha256()
    try:
        for file in sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]:
            digest.update(f"{file.relative_to(path)} {file.stat().st_size}".encode())
            if file == path or file.suffix in WEIGHTS:
                with file.open("rb") as content:
                    while part := content.read(2**20):
                        digest.update(part)
    except OSError as error:
        return MISSING if isinstance(error, FileNotFoundError) else str(error.strerror)
    return digest.hexdigest()


def _shared_memory() -> int | None:
    try:
        found = os.statvfs(SHARED_MEMORY)
    except OSError:
        return None
    return found.f_bavail * found.f_frsize


def _reached(address: str) -> bool:
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), CONNECT_S).close()
    except OSError:
        return False
    return True


def _text(path: Path) -> str | None:
    try:
        return path.read_text()
    except OSError:
        return None
