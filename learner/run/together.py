"""What runs of several seeds leave together, beside what each leaves alone: intervals over seeds, a picture, a page, an MLflow run.

    run.json  config.yaml  log.txt  summary.json  summary.md  seeds.png  report.html  seed0/  seed1/  ...
"""

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from learner.config.parse import write_config
from learner.config.settings import Config
from learner.run.folder import LOCK, LOST_S, NOT_FINITE, RunFolder
from learner.run.pictures import seeds_png
from learner.run.progress import Progress, measured
from learner.run.report import Page
from learner.run.tracking import Tracker
from learner.watch.examination import interval
from rewards.trust import RUN
from rollout.io.files import replace_file, write_json

ENDS = ("failed", "killed", "stopped", "finished")  # together they ended as the first of these that one of them did
PLACES = ("heldout", "best_of_base", "trained")


class Together:
    """The folder of them all, which is claimed first; `tracker` once it is tracked."""

    def __init__(self, config: Config, page: Page):
        """Raises InputError as `RunFolder.create` and `reopen` do."""
        self.config, self.page, self.started = config, page, time.time()
        parts = tuple(f"seed{seed}" for seed in config.seeds)
        name = f"s{'-'.join(map(str, config.seeds))}"
        wait_s = LOST_S if config.run_name else 0.0
        self.folder = RunFolder.reopen(config.resume, parts, wait_s) if config.resume else RunFolder.create(config.run_dir, name, parts)
        write_config(config, self.folder.config)
        self.progress = Progress(config.iterations, name="all seeds")
        self.progress.log_to(self.folder.log)

    def track(self) -> str:
        """Opens the MLflow run above theirs, or the one that goes on; returns its id. Raises InputError as `Tracker` does."""
        file = self.folder.path / RUN
        said = json.loads(file.read_text(encoding="utf-8"))
        going_on = said.get("mlflow")
        opened = Tracker.resume(self.config, self.folder.path, going_on, self.progress.note) if going_on else None
        self.tracker = opened or Tracker.start(self.config, self.folder.path, self.progress.note)
        write_json(file, {**said, "mlflow": self.tracker.run_id})
        return self.tracker.run_id

    def close(self) -> None:
        """Once every run's report is closed: what they say together, in the places and words of a run alone."""
        path = self.folder.path
        folders = {seed: path / f"seed{seed}" for seed in self.config.seeds}
        files = {seed: file for seed, folder in folders.items() if (file := folder / "summary.json").exists()}
        ended = {seed: json.loads(file.read_text(encoding="utf-8"), object_hook=_with_numbers) for seed, file in files.items()}
        if not ended:  # nothing could be written
            return
        summary = {**together(ended), "samplers": self.config.cluster.samplers.plain, "wall_seconds": time.time() - self.started}
        replace_file(path / "summary.md", table(summary, ended).encode())
        seeds_png(path / "seeds.png", [_rewards(folders[seed]) for seed in ended])
        try:
            self.page([folders[seed] for seed in ended], self.folder.page, None)
        except Exception as error:  # for which no run ends
            reason = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
            self.progress.note(f"warning: {self.folder.page} could not be written ({reason})")
        write_json(self.folder.summary, summary)
        kept = [each for each in sorted(path.iterdir()) if each.is_file() and each.name != LOCK]
        self.tracker.finish({"stopped": "finished"}.get(summary["status"], summary["status"]), kept, (path / "summary.md").read_text())
        self.progress.summary(summary, path)


def together(summaries: Mapping[int, Mapping[str, Any]]) -> dict[str, Any]:
    """One summary of those of several seeds, which measures what all have measured: each number has the `mean` of theirs and `ci95`, its
    half-width of 95 % over seeds (Student's t); where theirs have intervals of their own also `ci95_within`, what these alone leave the
    mean: sqrt(sum ci95^2) / n."""
    every = list(summaries.values())
    statuses = [summary["status"] for summary in every]
    return {
        "status": min(statuses, key=ENDS.index), "iterations": min(summary["iterations"] for summary in every), "seeds": list(summaries),
        "max_log_prob_gap": max(summary["max_log_prob_gap"] for summary in every),
        "warnings": [f"seed {seed}: {text}" for seed, summary in summaries.items() for text in summary["warnings"]],
        "adapters": {str(seed): summary.get("adapter_sha256") for seed, summary in summaries.items()},
        **{place: _over([summary[place] for summary in every]) for place in PLACES if all(place in summary for summary in every)},
    }  # fmt: skip


def _over(entries: list[Any]) -> Any:
    """Of one entry a seed: theirs by name, of numbers the interval; what is no number, such as why there is none, stays."""
    if not isinstance(entries[0], Mapping):
        if all(isinstance(entry, int) for entry in entries) and len(set(entries)) == 1:  # what was asked for, such as a number of samples
            return entries[0]
        odd = [entry for entry in entries if not isinstance(entry, (int, float))]
        return odd[0] if odd else interval(np.array(entries)[:, None], fixed_prompts=False)
    if entries[0].keys() == {"before", "after"} and all(isinstance(value, (int, float)) for entry in entries for value in entry.values()):
        entries = [{**entry, "gain": entry["after"] - entry["before"]} for entry in entries]
    found = {name: _over([entry[name] for entry in entries]) for name in entries[0] if all(name in entry for entry in entries)}
    if "ci95" not in found:
        return found
    return {**found["mean"], "ci95_within": float(np.sqrt(np.sum([entry["ci95"] ** 2 for entry in entries])) / len(entries))}


def table(summary: Mapping[str, Any], summaries: Mapping[int, Mapping[str, Any]]) -> str:
    """Markdown: a row for each thing that was measured before and after, its gain at every seed and over them."""
    gains = {seed: {name: f"{gain} {verdict}" for name, _, _, gain, verdict in measured(each)} for seed, each in summaries.items()}
    heads = ["", *(f"seed {seed}" for seed in summaries), "before", "after", "gain over seeds"]
    rows = [
        [name, *(of[name].strip() for of in gains.values()), before, after, f"{gain} {verdict}".strip()]
        for name, before, after, gain, verdict in measured(summary)
    ]  # fmt: skip
    lines = [heads, ["---"] * len(heads), *rows]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines) + "\nGains; ± is 95 %: of a seed over its prompts, else over seeds.\n"


def _with_numbers(found: dict[str, Any]) -> dict[str, Any]:
    """Those that JSON has no number for again as numbers; see `rollout.io.files.strict`."""
    return {name: float(value) if value in NOT_FINITE else value for name, value in found.items()}


def _rewards(folder: Path) -> list[float]:
    """The mean reward of every iteration."""
    lines = (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines() if (folder / "metrics.jsonl").exists() else []
    return [float(json.loads(line)["mean_reward"]) for line in lines]
