"""The table that all parts write, each its own section, with what was run, when and where."""

import argparse
import os
import platform
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

TITLE = "# Torture\n\nEvery fault is real: signals, lost nodes, full disks; nothing is mocked. \"same\" is equality to the last bit."


class Table:
    """One section: a heading, how it was made, and rows of which every one says whether it held. It is written row by row."""

    def __init__(self, out: Path, heading: str, about: str, columns: Sequence[str]):
        """out: the folder of table.md, where this section replaces an earlier one."""
        self.out, self.heading, self.about, self.columns = out, heading, about, [*columns, "held"]
        self.rows: list[list[str]] = []
        self.failed, self.started = 0, time.perf_counter()

    def add(self, *cells, held: bool) -> None:
        self.failed += not held
        self.rows.append([*(str(cell).replace("|", "/") for cell in cells), "yes" if held else "NO"])
        print(f"[{time.strftime('%H:%M:%S')}] {self.heading}: {' | '.join(self.rows[-1])}", flush=True)
        self._write()

    def _write(self) -> None:
        command = " ".join(["python -m", f"benchmarks.torture.{Path(sys.argv[0]).stem}", *sys.argv[1:]])
        machine = f"{os.cpu_count()} cores of {platform.machine()}, load {os.getloadavg()[1]:.0f}"
        made = f"`{command}` ({time.strftime('%Y-%m-%d')}, {machine}, {(time.perf_counter() - self.started) / 60:.0f} min)"
        lines = [" | ".join(row).join(("| ", " |")) for row in (self.columns, ["---"] * len(self.columns), *self.rows)]
        section = "\n".join([self.heading, "", made, "", self.about, "", *lines])
        path = self.out / "table.md"
        before = path.read_text().rstrip("\n").split("\n\n## ") if path.exists() else [TITLE]
        others = [part for part in before[1:] if not part.startswith(f"{self.heading}\n")]
        path.write_text("\n\n## ".join([before[0], *sorted([*others, section])]) + "\n")


def part(
    about: str, options: Callable[[argparse.ArgumentParser], None], measure: Callable[[argparse.Namespace, Path], Table]
) -> None:  # fmt: skip
    """The command of a part: `measure(arguments, work)` in a new folder `work` with a short name (Ray has sockets there). Exits
    with 1 when a row did not hold."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", required=True, type=Path)
    parser.add_argument("--quick", action="store_true", help="a few cases, in minutes")
    options(parser)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):  # bit for bit with actors of one thread
        os.environ[name] = "1"
    work = Path(tempfile.mkdtemp(prefix="tort", dir="/tmp"))
    try:
        table = measure(arguments, work)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    sys.exit(bool(table.failed))
