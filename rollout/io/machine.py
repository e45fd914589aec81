"""What the machine says of this process, on Linux and macOS alike."""

import resource
import sys


def peak_memory() -> int:
    """Most bytes of memory that this process has held so far."""
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024
