import pytest
import ray
from ray.cluster_utils import Cluster as RayCluster


@pytest.fixture(scope="package", autouse=True)
def private_ray():
    """A cluster of its own, to which nodes are added, whose GPUs are declared and not there."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        site = RayCluster(True, head_node_args={"num_cpus": 2, "num_gpus": 3, "include_dashboard": False})
        ray.init(address=site.address, log_to_driver=False, logging_level="error")
        yield site
        ray.shutdown()
        site.shutdown()
