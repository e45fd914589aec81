"""The one GPU that `--device` names, chosen before Ray starts and counts them."""

import logging
import os

import torch

from rollout.io.settings import refuse

log = logging.getLogger(__name__)


def use_gpu(device: int | None) -> None:
    """Hides every GPU of this machine but number `device` of those that CUDA_VISIBLE_DEVICES leaves; None hides none.

    Without any the run takes the CPU, and a cluster that is joined shares out its own: both are said. Raises InputError when there
    are GPUs and not that one.
    """
    if device is None:
        return
    count, visible = torch.cuda.device_count(), os.environ.get("CUDA_VISIBLE_DEVICES")
    if os.environ.get("RAY_ADDRESS", "local") not in ("", "local"):
        log.warning("cluster.device: %d means a GPU of this machine; the cluster of RAY_ADDRESS shares out its own", device)
    elif not count:
        log.warning("cluster.device: this machine has no GPU that torch can use; the run takes the CPU")
    elif device >= count:
        refuse("cluster.device", device, f"one of the {count} GPUs that there are, 0 to {count - 1}")
    else:
        os.environ["CUDA_VISIBLE_DEVICES"] = visible.split(",")[device].strip() if visible else str(device)
