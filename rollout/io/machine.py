"""What the machine says of itself and of this process, on Linux and macOS alike."""

import os
import platform
import re
import resource
import sys
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

PACKAGES = ("motion-grpo", "torch", "ray", "numpy", "transformers", "pyarrow")  # that numbers may depend on


def peak_memory() -> int:
    """Most bytes of memory that this process has held so far."""
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024


def machine() -> dict[str, str]:
    """What it is, in words."""
    return {"system": platform.platform(), "processor": platform.machine(), "cpus": str(os.cpu_count())}


def versions(packages: Sequence[str] = PACKAGES) -> dict[str, str]:
    """Of Python and of packages, those that numbers may depend on, as far as they are installed."""
    found = {"python": platform.python_version()}
    for name in packages:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def device_kind(device: str) -> str:
    """What decides the last bits of what is computed on "cpu" or "cuda": the kind of CPU or the GPU's name, and torch."""
    import torch  # seconds, for processes that compute

    return f"{torch.cuda.get_device_name(device)}, torch {torch.__version__}" if device.startswith("cuda") else cpu_kind()


def cpu_kind() -> str:
    """How the CPU rounds: its kind, the kernels torch chose for it, and torch itself."""
    import torch

    try:
        facts = dict(re.findall(r"^(vendor_id|cpu family|model)\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE))
    except OSError:
        facts = {}
    kind = " ".join(facts.get(name, "") for name in ("vendor_id", "cpu family", "model")).strip() or platform.processor()
    return f"{kind}, {torch.backends.cpu.get_cpu_capability()}, torch {torch.__version__.partition('+')[0]}"
