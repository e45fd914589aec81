"""What the machine says of processes."""

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


def processes_of(folder: Path) -> list[str]:
    """Command lines of the living processes that name `folder`."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_text().replace("\0", " ").strip()
        except OSError:  # it ended meanwhile
            continue
        if str(folder) in line:
            found.append(line)
    return found
