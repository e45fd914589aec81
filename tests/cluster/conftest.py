"""A small private Ray that the files of tests share."""

import shutil
import tempfile

import pytest
import ray


@pytest.fixture(scope="package", autouse=True)
def private_ray():
    folder = tempfile.mkdtemp(prefix="ray", dir="/tmp")  # a long path breaks Ray's sockets
    options = {"num_cpus": 3, "num_gpus": 0, "include_dashboard": False, "log_to_driver": False, "logging_level": "error"}
    ray.init(address="local", _temp_dir=folder, **options)
    yield
    ray.shutdown()
    shutil.rmtree(folder, ignore_errors=True)
