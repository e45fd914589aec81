"""What the machine says of processes."""

import contextlib
import time
from pathlib import Path

import pytest


def still_there(pid: int) -> bool:
    """Whether the process outlives its actor by 10 s, other than as a zombie."""
    _require_proc()
    for _ in range(100):
        with contextlib.suppress(OSError):
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z":
                time.sleep(0.1)
                continue
        return False
    return True


def processes_of(folder: Path) -> list[str]:
    """Command lines of the living processes that name `folder`."""
    _require_proc()
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_text().replace("\0", " ").strip()
        except OSError:  # it ended meanwhile
            continue
        if str(folder) in line:
            found.append(line)
    return found


def _require_proc() -> None:
    if not Path("/proc/self/stat").exists():
        pytest.skip("this system has no /proc, which says what processes there are")
