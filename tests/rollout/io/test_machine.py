"""Units are those of the system."""

import resource
import sys

import numpy as np

from rollout.io.machine import peak_memory


def test_peak_memory_is_in_bytes_whatever_the_system_counts_in(monkeypatch):
    block = np.ones(50_000_000, np.uint8)
    assert block.nbytes < peak_memory() < 100e9
    monkeypatch.setattr(sys, "platform", "darwin")
    assert peak_memory() == resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    monkeypatch.setattr(sys, "platform", "linux")
    assert peak_memory() == 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
