"""Where an actor computes, and how exactly: its threads, the GPU that Ray gave it, and kernels that give the same bits each time.

What this promises and what it cannot: `cluster/README.md`, "What is equal to the last bit".
"""

import ray
import torch

from learner.config.settings import Cluster
from rollout.io.errors import InputError

# Read when CUDA starts, so they are in an actor's environment before it. The first is 1 in NVIDIA's images, whatever torch is told.
AS_TOLD = {"TORCH_ALLOW_TF32_CUBLAS_OVERRIDE": "0"}
EXACT = {"CUBLAS_WORKSPACE_CONFIG": ":4096:8"}


def environment(cluster: Cluster, threads: int) -> dict[str, str]:
    """Of an actor of so many threads. An idle OpenMP pool that spins would take the core from the actor that works."""
    own = {"OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads), "OMP_WAIT_POLICY": "passive"}
    return own | AS_TOLD | (EXACT if cluster.deterministic else {})


def compute_exactly(gpu: bool) -> None:
    """The same call gives the same bits: torch refuses an operation that cannot.

    On a GPU attention is the plain one, which is the same computation with a gradient and without: the recompute's. A CPU's
    own kernels are that already.
    """
    torch.set_deterministic_debug_mode("error")  # `use_deterministic_algorithms`, but for its import of the compiler: a second an actor
    torch.backends.cudnn.benchmark = False
    if gpu:
        for enable in (torch.backends.cuda.enable_flash_sdp, torch.backends.cuda.enable_mem_efficient_sdp, torch.backends.cuda.enable_cudnn_sdp):
            enable(False)


def allow_tf32(precision: str) -> None:
    """Whether this process may multiply and convolve fp32 numbers in TF32, which torch by itself allows of one of the two."""
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = precision == "tf32"


def own_device(threads: int, precision: str = "fp32") -> str:
    """Pins the process to its threads and precision, and says where its model goes: the GPU that Ray gave it, else the CPU.

    Raises InputError when torch cannot use that GPU.
    """
    torch.set_num_threads(threads)
    allow_tf32(precision)
    if not (granted := ray.get_gpu_ids()):
        return "cpu"
    try:
        torch.zeros(1, device="cuda")
    except (AssertionError, RuntimeError) as error:  # a build for CPUs; no driver, or one that is too old
        raise InputError(
            f"cluster.gpus_per_actor: node {ray.util.get_node_ip_address()} gave an actor GPU {granted[0]}, which torch {torch.__version__} "
            f"cannot use ({' '.join(str(error).split())[:200]}); 0 leaves GPUs alone"
        ) from None
    return "cuda"
