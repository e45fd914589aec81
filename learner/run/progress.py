"""What a person sees while a run goes on: a live view in a terminal, otherwise one plain line per iteration."""

import math
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.box import SIMPLE
from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from learner.watch.examination import CHANGES, LESS_IS_BETTER, change_of

BLOCKS = "▁▂▃▄▅▆▇█"
NUMBERS = {"mean_ratio": "ratio", "kl": "KL", "log_prob_gap": "gap", "grad_norm": "gradient"}  # by metric, what a line calls it
STAGES = ("rollout", "reward", "update", "publish", "evaluate")
TREND = 40  # iterations that the sparkline shows
WINDOW = 10  # iterations whose seconds predict the rest


class Progress:
    """`with Progress(iterations) as progress:` around a run. name: of one that takes turns with others, `beside` in all; its lines on
    the console begin with it.

    In a pipe, a file or a job's log, or where several take turns, nothing is drawn over and no escape codes are written. `log_to`
    keeps the plain lines in a file too, in a terminal as elsewhere.
    """

    def __init__(self, iterations: int, console: Console | None = None, unit: str = "iteration", name: str = "", beside: int = 1):
        self._iterations, self._unit, self._name, self._beside = iterations, unit, name, beside
        self._log: Path | None = None
        self._lines: list[str] = []
        self._console = console or Console()
        self._stage = ""
        self._spinner = Spinner("dots")
        self._done = 0
        self._shown: Mapping[str, float] = {}
        self._pace = ""
        self._heldout: float | None = None
        self._rewards: list[float] = []
        self._seconds: deque[float] = deque(maxlen=WINDOW)
        terminal = self._console.is_terminal and not self._console.is_dumb_terminal
        self._live = Live(console=self._console, get_renderable=self._view, refresh_per_second=4) if terminal and not name else None

    def __enter__(self) -> "Progress":
        if self._live:
            self._live.start()
        return self

    def __exit__(self, *error) -> None:
        self._stage = ""
        if self._live:
            self._live.stop()

    def log_to(self, path: Path) -> None:
        """Append every line to `path` from now on, and those so far: the run folder is made after the first stages."""
        self._log = path
        self._append(self._lines)

    def resume(self, rewards: list[float]) -> None:
        """So many iterations are done already; their mean rewards."""
        self._rewards, self._done = list(rewards), len(rewards)

    def stage(self, doing: str, done: int | None = None, total: int | None = None, line: bool = True, unit: str = "samples") -> None:
        """Say what happens now, such as "starting Ray ...", or with `done` of `total` units.

        A terminal shows it in place. Elsewhere the start and the end of a counted stage are lines of their own, unless
        `line` is false: for what happens inside an iteration, which has its own line.
        """
        text = doing if total is None else f"{doing}: {done}/{total} {unit}"
        changed, self._stage = doing != self._stage, doing
        self._spinner.update(text=text)
        if line and (changed or done == total):
            self._write(text)

    def note(self, text: str) -> None:
        """A line that stays, such as a warning."""
        self._write(text, in_terminal=True)

    def iteration(self, number: int, metrics: Mapping[str, float], pace: str = "") -> None:
        """Iteration `number` (1 .. iterations) is done; `metrics` by the run's names, `seconds_<stage>` among them. pace: how fast it
        was, for the live view."""
        if "mean_reward" in metrics:
            self._rewards.append(float(metrics["mean_reward"]))
        self._seconds.append(sum(float(metrics.get(f"seconds_{stage}", 0.0)) for stage in STAGES))
        # Last, since the live view is drawn by another thread from all of them.
        self._heldout = metrics.get("heldout_reward", self._heldout)
        self._shown, self._pace, self._done, self._stage = dict(metrics), pace, number, ""
        self._write("  ".join([self._count(), self._reward(), *self._numbers(), self._spent(), f"{self._left()} left"]))

    def step(self, text: str, seconds: float) -> None:
        """One more unit is done, and took so long."""
        self._seconds.append(seconds)
        self._done += 1
        self._write("  ".join([self._count(), text, f"{self._left()} left"]))

    def _count(self) -> str:
        return f"{self._unit} {self._done:>{len(str(self._iterations))}}/{self._iterations}"

    def summary(self, summary: Mapping[str, Any], folder: Path) -> None:
        """The end: before, after and gain with their 95 % intervals, and where the results lie. Missing parts are skipped."""
        if self._live:
            self._live.stop()
        status = f"run {summary.get('status', 'ended')}"
        table = Table("", "before", "after", "gain", "", title=status, box=SIMPLE)
        for name, before, after, gain, verdict in measured(summary):
            table.add_row(name, before, after, gain, verdict)
            self._write(f"{name:<36} before {before:<12} after {after:<12} gain {gain:<13} {verdict}".rstrip())
        if self._live and table.rows:
            self._console.print(table)
        for text in summary.get("warnings", ()):
            self.note(f"warning: {text}")
        facts = [f"{name} {summary[name]}" for name in ("iterations", "seed", "seeds", "samplers", "max_log_prob_gap") if name in summary]
        if "wall_seconds" in summary:
            facts.append(_duration(summary["wall_seconds"]))
        if summary.get("adapter_sha256"):
            facts.append(f"adapter {summary['adapter_sha256'][:12]}")
        self.note(f"{status}: {', '.join(facts)}")
        kept = sorted(Path(folder).iterdir()) if Path(folder).is_dir() else []
        names = " ".join(path.name + ("/" if path.is_dir() else "") for path in kept if not path.name.startswith("."))
        self.note(f"results in {folder}: {names}")

    def _left(self) -> str:
        """What the latest iterations predict for the rest; the evaluation at the end is not in it."""
        if not self._seconds:
            return "?"
        return _duration(self._beside * sum(self._seconds) / len(self._seconds) * (self._iterations - self._done))

    def _reward(self) -> str:
        if "mean_reward" not in self._shown:
            return "reward -"
        return f"reward {self._rewards[-1]:.3f} ({self._rewards[-1] - self._rewards[0]:+.3f} since the first)"

    def _numbers(self) -> list[str]:
        return [f"{short} {float(self._shown[name]):.4g}" for name, short in NUMBERS.items() if name in self._shown]

    def _spent(self) -> str:
        spent = {stage: self._shown[f"seconds_{stage}"] for stage in STAGES if f"seconds_{stage}" in self._shown}
        return "seconds: " + " ".join(f"{stage} {float(value):.1f}" for stage, value in spent.items())

    def _view(self) -> Group:
        bar = Table.grid(padding=(0, 1))
        progress = ProgressBar(total=self._iterations, completed=self._done, width=40)
        bar.add_row(f"{self._unit} {self._done}/{self._iterations}", progress, f"{self._left()} left")
        lines = [bar]
        if self._shown:
            lines.append(Text.assemble(self._reward(), "  ", (sparkline(self._rewards[-TREND:]), "green")))
            lines.append(Text("  ".join(self._numbers())))
            heldout = f"held-out reward {self._heldout:.3f}" if self._heldout is not None else ""
            lines.append(Text("  ".join(filter(None, [self._pace, heldout]))))
            lines.append(Text(self._spent(), style="dim"))
        return Group(*lines, *([self._spinner] if self._stage else []))

    def _write(self, text: str, in_terminal: bool = False) -> None:
        self._lines.append(text)
        if self._log:
            self._append([text])
        if self._live is None:
            # The encoding of a log may lack a sign such as ±, and a run must not die of that.
            encoding = self._console.encoding
            line = f"{self._name}  {text}" if self._name else text
            self._console.file.write(line.encode(encoding, "replace").decode(encoding) + "\n")
            self._console.file.flush()
        elif in_terminal:
            self._console.print(Text(text))

    def _append(self, lines: list[str]) -> None:
        with self._log.open("a", encoding="utf-8") as file:
            file.writelines(line + "\n" for line in lines)


def sparkline(values: list[float]) -> str:
    """One block a value, between the smallest and the largest; a value that is not finite is a space."""
    finite = [value for value in values if math.isfinite(value)]
    low, spread = (min(finite), max(finite) - min(finite) or 1.0) if finite else (0.0, 1.0)
    top = len(BLOCKS) - 1
    return "".join(BLOCKS[round((value - low) / spread * top)] if math.isfinite(value) else " " for value in values)


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(float(seconds)), 60)
    return f"{minutes // 60}h{minutes % 60:02}m" if minutes >= 60 else f"{minutes}m{rest:02}s" if minutes else f"{rest}s"


def measured(summary: Mapping[str, Any]) -> list[tuple[str, str, str, str, str]]:
    """Name, before, after, gain and verdict of everything in the summary that was measured before and after."""
    chosen = summary.get("best_of_base") or {}
    places = {
        "held-out": summary.get("heldout"), f"beside best of {chosen.get('samples')} of the base:": chosen,
        "trained": summary.get("trained"), "": summary,
    }  # fmt: skip
    rows = []
    for place, entries in places.items():
        for name, entry in (entries or {}).items():
            if isinstance(entry, Mapping) and "before" in entry and "after" in entry:
                label = f"{place} {name}{' (less is better)' if name in LESS_IS_BETTER else ''}".strip()
                rows.append((label, *_numbers_of(name, entry)))
    return rows


def _numbers_of(name: str, entry: Mapping[str, Any]) -> tuple[str, str, str, str]:
    before, after = entry["before"], entry["after"]
    if missing := [value or "not measured" for value in (before, after) if value is None or isinstance(value, str)]:
        return "-", "-", "-", missing[0]
    interval = "{mean:.3f}±{ci95:.3f}".format
    shown = [interval(**each) if isinstance(each, Mapping) else f"{each:.3f}" for each in (before, after)]
    if "gain" not in entry:
        return *shown, f"{after - before:+.3f}", CHANGES[change_of(name, after - before, None)]
    mean, half = entry["gain"]["mean"], entry["gain"]["ci95"]
    return *shown, f"{mean:+.3f}±{half:.3f}", CHANGES[change_of(name, mean, half)]
