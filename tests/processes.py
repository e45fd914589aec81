"""What the machine says of a process."""

import contextlib
import time
from pathlib import Path


def still_there(pid: int) -> bool:
    """Whether the process outlives its actor by 10 s, other than as a zombie."""
    for _ in range(100):
        with contextlib.suppress(OSError):
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z":
                time.sleep(0.1)
                continue
        return False
    return True
