"""What a run tells and keeps: progress, metrics, rollouts, pictures, summary, MLflow. What it decides is in `learner/watch`."""

import contextlib
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from learner.run.folder import LOCK, REAL, RunFolder
from learner.run.pictures import heldout_curves_png, reward_curve_png
from learner.run.plan import Plan
from learner.run.progress import Progress
from learner.run.spans import idle_of, spans_of
from learner.run.tracking import Tracker
from learner.update import Update
from learner.watch.advisories import ADVICE, Advisories, Spent, spent_of
from learner.watch.examination import best_of, compare, gained
from learner.watch.rules import STAGES
from learner.watch.watcher import Watcher
from rewards.compose import component_metrics
from rewards.family import Examination
from rewards.scoring import Scores
from rollout.adapter import Adapter
from rollout.family import Change, Judged
from rollout.io.files import write_json
from rollout.policy import Group, Request
from rollout.record import kept_samples, row_of, write_rollout

UNTRACKED = ("rollouts", "evaluations", "checkpoints", LOCK, "summary.json")  # MLflow gets the summary before it is written there
PICTURED_GAINS = (0.95, 0.75, 0.5, 0.25)  # quantiles of the held-out gain whose motions are drawn
WATCHED = 8  # held-out prompts of which every evaluation keeps what the model makes of them
Examined = tuple[list[Group], list[Examination]]
# Writes that of run folders, from a summary that is {} while a run trains, None where they have it: its verdict.
Page = Callable[[list[Path], Path, Mapping[str, Any] | None], str]


class Report:
    """Collects one run. Every method writes at once what it was given, so that a killed run leaves all it did."""

    def __init__(self, plan: Plan, folder: RunFolder, progress: Progress, tracker: Tracker, page: Page):
        self.plan, self.folder, self.progress, self.tracker, self.page = plan, folder, progress, tracker, page
        self.started, self.history, self.max_gap = time.time(), [], 0.0
        self.results: dict = {}
        self.resumed_at: int | None = None
        self.watcher = Watcher(plan.config, plan.quality, self._warn)
        self.advisories = Advisories()
        self._before: dict[str, Examined] = {}

    def counting(self, doing: str, requests: list[Request]) -> Callable[[int], None]:
        """A callback for finished groups that shows samples."""
        size, total = requests[0].group_size, sum(request.group_size for request in requests)
        return lambda groups: self.progress.stage(doing, groups * size, total)

    def before(self, **examined: Examined) -> None:
        """`heldout` and `trained`, examined under the base model."""
        self._before = examined
        if not self.watcher.heldout.entries:  # a run that goes on has that of its beginning
            self.watcher.judged(0, examined["heldout"][1])
        self._keep(0, *examined["heldout"])
        self._keep_recorded(examined["heldout"][0])
        self._show({})

    def judged(self, iterations: int, groups: list[Group], results: list[Examination]) -> dict[str, float]:
        """Held-out prompts examined after so many iterations: their metrics, and a curve."""
        metrics = self.watcher.judged(iterations, results)
        self._keep(iterations, groups, results)
        heldout_curves_png(self.folder.path / "heldout.png", self.watcher.heldout.entries)
        return metrics

    def _keep(self, iterations: int, groups: list[Group], results: list[Examination]) -> None:
        """Every sample of some held-out prompts, always the same ones under the same noise: how the model learns can be watched."""
        columns, rows = self.plan.family.columns(), []
        for place in _watched(groups):
            group, result = groups[place], results[place]
            judge = {} if result.judge is None else {"judge": result.judge}  # as a component of its name would be, and go before it
            for sample in range(len(group)):
                rows.append(row_of(group, sample, columns, True) | {
                    "iteration": iterations, "group": int(place), "advantage": 0.0, "reward": float(result.reward[sample]),
                    "components": {name: float(values[sample]) for name, values in (judge | result.components).items()},
                })  # fmt: skip
        write_rollout(self.folder.evaluations / f"{iterations:06d}.parquet", rows, columns)

    def _keep_recorded(self, groups: list[Group]) -> None:
        """Beside them, where the prompts' clips are known, what people did: to be looked at, scored by nobody."""
        if (find := getattr(self.plan.family, "recorded", None)) is None:
            return
        columns, rows, places = self.plan.family.columns(), [], list(_watched(groups))
        for place, clip in zip(places, find([groups[place] for place in places])):
            if clip is not None:
                rows.append(row_of(clip, 0, columns, True) | {
                    "iteration": 0, "group": int(place), "advantage": 0.0, "reward": float("nan"), "components": {},
                })  # fmt: skip
        if rows:
            write_rollout(self.folder.evaluations / REAL, rows, columns)

    def resume(self, rows: list[dict], arrays: dict[str, np.ndarray], facts: dict) -> None:
        """Goes on from the watcher's state and the metrics of the iterations before; MLflow gets what it lacks of them."""
        self.history, self.resumed_at = rows, len(rows)
        self.max_gap = max([row["log_prob_gap"] for row in rows], default=0.0)
        self.watcher.load_state(arrays, facts)
        for row in rows:
            self.tracker.log(row["iteration"], {name: value for name, value in row.items() if name != "iteration"})
        self.progress.resume([row["mean_reward"] for row in rows])
        self.advisories.replay(spent_of(rows, spans_of(self.folder.path, rows)[0]))  # what was told is not told again

    def _warn(self, text: str) -> None:
        self.progress.note(f"warning: {text}")
        self.tracker.warn("\n".join(self.watcher.warnings))

    def iteration(
        self, iteration: int, groups: list[Group], scores: list[Scores], update: Update, metrics: dict[str, float], spans: Sequence[Any] = ()
    ) -> None:
        """spans: what every actor did since the iteration before; see `RunFolder.append_spans`."""
        self.max_gap = max(self.max_gap, update.metrics["log_prob_gap"])
        metrics = update.metrics | component_metrics(scores) | metrics
        self._tell_failures(iteration, scores)
        rows = self._rows(iteration, groups, scores, update)
        record = self.folder.rollouts / f"{iteration:06d}.parquet"
        write_rollout(record, rows, self.plan.family.columns())
        self.folder.append_metrics(iteration, metrics)
        self.folder.append_spans(iteration, spans)
        self.history.append({"iteration": iteration, **metrics})
        self.tracker.log(iteration, metrics)
        self.progress.iteration(iteration + 1, metrics, self._pace(sum(map(len, groups)), metrics, spans))
        self.watcher.iteration(iteration, metrics)
        self._advise(iteration, metrics, spans, record)
        if "heldout_reward" in metrics:
            self._show({})

    def _pace(self, made: int, metrics: dict[str, float], spans: Sequence[Any]) -> str:
        """Samples a second of what an iteration takes, and the share of it in which samplers had nothing to do."""
        seconds = sum(metrics.get(stage, 0.0) for stage in STAGES)
        idle = [share for actor, share in idle_of(spans).items() if actor.startswith("sampler ")]
        words = [f"{made / seconds:.3g} {getattr(self.plan.family, 'made', 'samples')}/s"] if seconds > 0 else []
        return "  ".join(words + ([f"samplers idle {sum(idle) / len(idle):.0%}"] if idle else []))

    def _advise(self, iteration: int, metrics: dict[str, float], spans: Sequence[Any], record: Path) -> None:
        spent = Spent(metrics, spans, self.plan.config.iterations - iteration - 1)
        with contextlib.suppress(OSError):
            spent = spent._replace(free=shutil.disk_usage(self.folder.path).free, grew=record.stat().st_size)
        for advice in self.advisories.observe(iteration, spent):
            self.progress.note(f"{ADVICE}{advice.words()}")

    def _rows(self, iteration: int, groups: list[Group], scores: list[Scores], update: Update) -> Iterator[dict[str, Any]]:
        """One row a sample for the rollout's Parquet file."""
        for i, group in enumerate(groups):
            kept = kept_samples(update.rewards[i], self.plan.config.rollout.keep)
            for sample in range(len(group)):
                yield row_of(group, sample, self.plan.family.columns(), sample in kept) | {
                    "iteration": iteration, "group": i, "advantage": float(update.advantages[i][sample]),
                    "reward": float(update.rewards[i][sample]), "components": {k: float(v[sample]) for k, v in scores[i].values.items()},
                    **{name: values[sample] for name, values in update.recomputed.get(i, {}).items()},
                }  # fmt: skip

    def _tell_failures(self, iteration: int, results: list[Scores]) -> None:
        """The first failed sample speaks for all of an iteration; the metrics count them by component."""
        reasons = [reason for scores in results for reason in scores.failures.values()]
        if reasons:
            self.progress.note(f"iteration {iteration + 1}: {len(reasons)} samples could not be scored, such as: {reasons[0]}")

    def after(self, adapter: Adapter, spans: Sequence[Any], **examined: Examined) -> None:
        """The same under the tuned model: gains, pictures. `adapter` is what was evaluated; spans: since the last iteration."""
        self.folder.append_spans(len(self.history), spans)
        self.results = {"adapter_sha256": adapter.sha256}
        self._keep(len(self.history), *examined["heldout"])
        for name, (_, results) in examined.items():
            self.results[name] = compare(self._before[name][1], results, fixed_prompts=name == "trained")
        runs = {when: self.plan.quality(examined["heldout"][1]) for when, examined in (("before", self._before), ("after", examined))}
        old, new = (of["heldout"][1] for of in (self._before, examined))
        measured = [self.plan.rewards.measured(of) for of in (old, new)]
        gains = gained(*measured, fixed_prompts=False)
        self.results["heldout"] |= {
            name: {when: runs[when][name] for when in runs} | ({"gain": gains[name]} if name in gains else {}) for name in runs["before"]
        }
        if old[0].judge is not None and len(old[0].reward) > 1:  # without one the reward would be the judge of its own choice
            judged = [_judged_numbers(*of) for of in zip((old, new), measured)]
            self.results["best_of_base"] = {"samples": len(old[0].reward), **best_of(old, *judged)}
        self.progress.stage("drawing pictures")
        self.plan.family.draw(self.folder.path, _changes(self._before["heldout"], examined["heldout"]))
        reward_curve_png(self.folder.path / "reward.png", self.history)

    def _show(self, summary: dict[str, Any]) -> str | None:
        """Writes the page, and gives its verdict; None when it could not, for which no run ends."""
        try:
            return self.page([self.folder.path], self.folder.page, summary)
        except Exception as error:
            self.progress.note(f"warning: {self.folder.page} could not be written ({type(error).__name__}: {' '.join(str(error).split())[:200]})")
            return None

    def close(self, status: str, reason: str | None = None) -> None:
        """Writes the summary, sends everything to MLflow and shows the table. `status`: finished, stopped, failed or killed;
        `reason`: why, in one line."""
        config = self.plan.config
        summary = {
            "status": status, **({"reason": reason} if reason else {}), "iterations": len(self.history), "seed": config.seed,
            "samplers": config.cluster.samplers.plain, "wall_seconds": time.time() - self.started, "resumed_at": self.resumed_at,
            "max_log_prob_gap": self.max_gap, "warnings": self.watcher.warnings, "advisories": self.advisories.told,
            **self.results,
        }  # fmt: skip
        verdict = self._show(summary)
        with contextlib.suppress(OSError):
            self.folder.present.unlink(missing_ok=True)
        try:
            with tempfile.TemporaryDirectory() as aside:
                write_json(Path(aside) / self.folder.summary.name, summary)
                kept = [path for path in sorted(self.folder.path.iterdir()) if path.name not in UNTRACKED]
                self.tracker.finish({"stopped": "finished"}.get(status, status), [Path(aside) / self.folder.summary.name, *kept], verdict)
        finally:  # last: once a summary says that the run has finished, there is nothing that could go on
            self.folder.write_summary(summary)
        self.progress.summary(summary, self.folder.path)
        if verdict is not None:
            self.progress.note(f"all of it on one page: {self.folder.page}")


def _watched(groups: list[Group]) -> np.ndarray:
    """The places of WATCHED of them, as far apart as can be."""
    return np.unique(np.linspace(0, len(groups) - 1, WATCHED).round().astype(int))


def _judged_numbers(results: list[Examination], measured: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """[P,G] of reward and judge, and of further judges, whose names begin so."""
    own = {name: np.stack([getattr(e, name) for e in results]) for name in ("reward", "judge")}
    return own | {name: values for name, values in measured.items() if name.startswith("judge_")}


def _changes(before: Examined, after: Examined) -> list[Change]:
    """The held-out samples at fixed quantiles of the gain, so that a picture shows typical ones and not the best."""
    old, new = (np.stack([e.reward for e in results]) for _, results in (before, after))
    gains = (new - old).ravel()
    order = [i for i in np.argsort(gains) if np.isfinite(gains[i])]
    changes = []
    for quantile in PICTURED_GAINS if order else ():
        i, g = np.unravel_index(order[int(quantile * (len(order) - 1))], old.shape)
        changes.append(Change(before[0][i], after[0][i], int(g), *(_judged(results[i], int(g)) for _, results in (before, after))))
    return changes


def _judged(examination: Examination, sample: int) -> Judged:
    components, measured = ({name: values[sample] for name, values in of.items()} for of in (examination.components, examination.extras))
    return Judged(float(examination.reward[sample]), {name: float(value) for name, value in components.items()}, measured)
