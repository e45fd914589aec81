"""A disk that fills up under a run: `python -m benchmarks.torture.disk_full --out DIR`.

The disks are small tmpfs in mount namespaces of this command's own (`unshare`), so nothing of them outlasts it.
"""

import contextlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.torture.outcome import differences
from benchmarks.torture.process import finish, left, start
from benchmarks.torture.table import Table, part
from learner.run.checkpoint import Checkpoints
from rollout.motion.record import read_rollout
from tests.tiny import write_run_config

ITERATIONS = 6
FULL_AFTER = 3  # iterations for which there is room, about
NO_SPACE = "No space left on device"
INSIDE = "TORTURE_NAMESPACE"


def disk(place: Path, size: int) -> None:
    """What lies in `place` from now on lies on a disk of `size` bytes."""
    held = {path.name: path.read_bytes() for path in place.iterdir() if path.is_file()}
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(place)], check=True)
    for name, content in held.items():
        (place / name).write_bytes(content)


def make_room(place: Path) -> None:
    (place / "ballast").unlink(missing_ok=True)
    subprocess.run(["mount", "-o", "remount,size=256m", str(place)], check=True)


def fill(place: Path, free: int) -> None:
    """All but `free` bytes of the disk."""
    disk_ = os.statvfs(place)
    with contextlib.suppress(OSError), (place / "ballast").open("wb") as file:  # the run writes too: then it is full already
        file.write(bytes(max(0, disk_.f_bavail * disk_.f_frsize - free)))


class Case:
    """One kind of file that cannot be written any more."""

    def __init__(self, config: Path, work: Path, undisturbed: Path):
        self.config, self.work, self.undisturbed = config, work, undisturbed

    def run(
        self, name: str, place: Path, when: Callable[[Path], bool], small: Callable[[], None], table: Table, *flags, message: str = NO_SPACE
    ) -> None:  # fmt: skip
        """`place` becomes too small, by `small`, as soon as `when(run folder)`."""
        run = self.work / name / "run"
        run.parent.mkdir(exist_ok=True)
        process = start(self.work, *common(self.config, run), *flags)
        while process.poll() is None and not when(run):
            time.sleep(0.01)
        small()
        code, errors = finish(process)
        told = (code, errors.count("\n"), errors[:7], message in errors) == (1, 1, "error: ", True)
        wrong = [] if told else [f"exit {code}: {errors[-200:]!r}"]
        wrong += halves(run)
        make_room(place)
        code, said = finish(start(self.work, "--resume", run))
        wrong += [f"resumed: exit {code}: {said[-200:]}"] if code or said else list(filter(None, [differences(run, self.undisturbed)]))
        wrong += [f"left: {line[:80]}" for line in left(self.work / "ray")]
        subprocess.run(["umount", "--recursive", str(place)], check=True)
        table.add(name, errors.strip().replace(str(self.work), "")[:220], "; ".join(wrong) or "same", held=not wrong)


def common(config: Path, run: Path) -> list:
    return ["--config", config, "--run_dir", run, "--iterations", ITERATIONS, "--cluster.max_staleness", 1, "--seed", 5]


def halves(run: Path) -> list[str]:
    """Files that bear their final name and are not whole."""
    found = []
    for path in (run / "rollouts").glob("*.parquet"):
        try:
            read_rollout(path)
        except ValueError as error:
            found.append(str(error))
    kept = Checkpoints(run / "checkpoints", 1)
    for number in kept.saved():
        try:
            kept.load(number)
        except ValueError as error:
            found.append(str(error))
    if (run / "summary.json").exists():
        json.loads((run / "summary.json").read_text())
    return found


def lines(run: Path) -> int:
    path = run / "metrics.jsonl"
    return path.read_text().count("\n") if path.exists() else 0


def measure(arguments, work: Path) -> Table:
    config, table = write_run_config(work / "config"), Table(
        arguments.out, "Disk full",
        f"Runs of {ITERATIONS} iterations whose disk, a real one of a few kB, has no room left for one kind of file after a "
        "few of them. Each must end with one line and exit code 1, with nothing half-written under its final name, and once there is "
        "room end with --resume as an undisturbed run.",
        ("no room for", "what the run says", "resumed"),
    )  # fmt: skip
    undisturbed = work / "undisturbed"
    code, errors = finish(start(work, *common(config, undisturbed)))
    assert (code, errors) == (0, ""), errors
    case = Case(config, work, undisturbed)
    names = ("rollout", "checkpoint") if arguments.quick else ("rollout", "checkpoint", "metrics", "mlflow")
    for name in names:
        run = work / name / "run"
        if name in ("rollout", "checkpoint"):
            place = run / f"{name}s"
            largest = max(path.stat().st_size for path in (undisturbed / place.name).iterdir())
            room = FULL_AFTER if name == "rollout" else 2.5  # two checkpoints are kept while a third is written
            case.run(name, place, lambda run: place.exists(), lambda: disk(place, int(room * largest)), table)
        elif name == "metrics":
            run.mkdir(parents=True)
            disk(run, 1 << 20)

            def full() -> None:
                """The folder itself fills up: rollouts and checkpoints lie elsewhere. One page is free, so a line is cut off."""
                for part in ("rollouts", "checkpoints"):
                    shutil.copytree(run / part, work / "elsewhere" / part)
                    subprocess.run(["mount", "--bind", str(work / "elsewhere" / part), str(run / part)], check=True)
                fill(run, 4096)

            case.run(name, run, lambda run: (run / "checkpoints" / "000000.safetensors").exists(), full, table)
        else:
            store = work / "store"
            store.mkdir()
            disk(store, 4 << 20)
            flags, message = ["--tracking.uri", f"sqlite:///{store / 'mlflow.db'}"], "tracking.uri: cannot use the store"
            case.run(name, store, lambda run: lines(run) >= 1, lambda: fill(store, 0), table, *flags, message=message)
    return table


if __name__ == "__main__":
    if not os.environ.get(INSIDE):
        if shutil.which("unshare") is None:
            sys.exit("error: this part needs unshare (util-linux), to mount small disks that nobody else sees")
        words = ["unshare", "--mount", *([] if os.geteuid() == 0 else ["--map-root-user"])]
        os.execvpe("unshare", [*words, sys.executable, "-m", "benchmarks.torture.disk_full", *sys.argv[1:]], {**os.environ, INSIDE: "yes"})
    part(__doc__, lambda parser: None, measure)
