"""`--device N` is the one GPU that Ray will find. No test machine needs one: how many torch counts is given."""

import os

import pytest
import torch

from cluster.gpu import use_gpu
from rollout.io.errors import InputError


@pytest.fixture
def gpus(monkeypatch):
    def give(count: int, visible: str | None = None):
        monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
        monkeypatch.delenv("RAY_ADDRESS", raising=False)
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible or "")
        if visible is None:
            monkeypatch.delenv("CUDA_VISIBLE_DEVICES")

    return give


@pytest.mark.parametrize("count, visible, device, left", [(2, None, 1, "1"), (4, None, 0, "0"), (2, "4,7", 1, "7"), (1, "GPU-ab", 0, "GPU-ab")])
def test_the_others_are_hidden(gpus, count, visible, device, left):
    gpus(count, visible)
    use_gpu(device)
    assert os.environ["CUDA_VISIBLE_DEVICES"] == left


def test_one_that_is_not_there_is_refused(gpus):
    gpus(2)
    with pytest.raises(InputError, match="^cluster.device: found 2, expected one of the 2 GPUs that there are, 0 to 1$"):
        use_gpu(2)


@pytest.mark.parametrize("count, address, said", [(0, "", "has no GPU that torch can use; the run takes the CPU"), (2, "h:1", "cluster of RAY_ADDRESS")])
def test_without_a_choice_it_is_said(gpus, monkeypatch, caplog, count, address, said):
    gpus(count)
    monkeypatch.setenv("RAY_ADDRESS", address)
    use_gpu(3)
    assert said in caplog.text and "CUDA_VISIBLE_DEVICES" not in os.environ
    caplog.clear()
    use_gpu(None)
    assert caplog.text == ""
