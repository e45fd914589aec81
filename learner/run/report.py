"""What a run tells and keeps: progress, metrics, rollouts, findings, pictures, summary, MLflow."""

import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from learner.learner import Update
from learner.run.folder import LOCK, RunFolder
from learner.run.pictures import Change, before_after_gif, before_after_png, heldout_curves_png, reward_curve_png
from learner.run.plan import ASSETS, Plan
from learner.run.progress import Progress
from learner.run.tracking import Tracker
from learner.watch.examination import Examination, compare, quality
from learner.watch.health import Action, Monitor
from learner.watch.heldout import HeldOut
from rewards.compose import component_metrics
from rewards.scoring import Scores
from rollout.adapter import Adapter
from rollout.io.files import write_json
from rollout.motion.features import features_to_joints
from rollout.policy import Request, Rollout
from rollout.record import kept_samples, write_rollout

UNTRACKED = ("rollouts", "checkpoints", LOCK, "summary.json")  # MLflow gets the summary before it is written there
PICTURED_GAINS = (0.95, 0.75, 0.5, 0.25)  # quantiles of the held-out gain whose motions are drawn


class Report:
    """Collects one run. Every method writes at once what it was given, so that a killed run leaves all it did."""

    def __init__(self, plan: Plan, folder: RunFolder, progress: Progress, tracker: Tracker):
        self.plan, self.folder, self.progress, self.tracker = plan, folder, progress, tracker
        self.started, self.history, self.max_gap = time.time(), [], 0.0
        self.results: dict = {}
        self.warnings: list[str] = []
        self.resumed_at: int | None = None
        self.monitor = Monitor(plan.config.health, plan.config.objective, plan.config.optimizer)
        self.change: dict[str, float] = {}  # of the learner's settings, that the last iteration's findings ask for
        self.ending: Action | None = None  # STOP or ROLL_BACK, once a warning ended the run
        self._heldout = HeldOut(plan.config.evaluate.patience, self._real_motion())
        self._before: dict[str, Rollout] = {}

    def counting(self, doing: str, requests: list[Request]) -> Callable[[int], None]:
        """A callback for finished groups that shows samples."""
        size, total = requests[0].group_size, sum(request.group_size for request in requests)
        return lambda groups: self.progress.stage(doing, groups * size, total)

    def before(self, **rollouts: Rollout) -> None:
        """`heldout` and `trained`, examined under the base model."""
        self._before = rollouts
        if not self._heldout.entries:  # a run that goes on has that of its beginning
            self._heldout.observe(0, rollouts["heldout"].results)

    def judged(self, iterations: int, results: list[Examination]) -> dict[str, float]:
        """Held-out prompts examined after so many iterations: their metrics, a curve, and a warning when reward and judge part."""
        metrics, warning = self._heldout.observe(iterations, results)
        heldout_curves_png(self.folder.path / "heldout.png", self._heldout.entries)
        if warning:
            stops = self.plan.config.evaluate.on_divergence == "stop"
            self._warn(f"{warning}{'; stopped there (evaluate.on_divergence)' if stops else ''}")
            self.ending = Action.STOP if stops else self.ending
        return metrics

    @property
    def healthy(self) -> bool:
        """Whether the run may be rolled back to where it is."""
        return self.monitor.good

    def state(self) -> tuple[dict[str, np.ndarray], dict]:
        """For a checkpoint: arrays by name, and plain JSON. What metrics.jsonl has is not in it."""
        arrays, heldout = self._heldout.state()
        return arrays, {"heldout": heldout, "health": self.monitor.state(), "warnings": self.warnings}

    def resume(self, rows: list[dict], arrays: dict[str, np.ndarray], facts: dict) -> None:
        """Goes on from `state()` and the metrics of the iterations before; MLflow gets what it lacks of them."""
        self.history, self.resumed_at = rows, len(rows)
        self.max_gap = max([row["log_prob_gap"] for row in rows], default=0.0)
        self._heldout.load_state(arrays, facts["heldout"])
        self.monitor.load_state(facts["health"])
        self.warnings = list(facts["warnings"])
        for row in rows:
            self.tracker.log(row["iteration"], {name: value for name, value in row.items() if name != "iteration"})
        self.progress.resume([row["mean_reward"] for row in rows])

    def _warn(self, text: str) -> None:
        self.warnings.append(text)
        self.progress.note(f"warning: {text}")
        self.tracker.warn("\n".join(self.warnings))

    def iteration(self, iteration: int, rollout: Rollout, update: Update, metrics: dict[str, float]) -> None:
        self.max_gap = max(self.max_gap, update.metrics["log_prob_gap"])
        metrics = update.metrics | component_metrics(rollout.results) | metrics
        self._tell_failures(iteration, rollout.results)
        write_rollout(self.folder.rollouts / f"{iteration:06d}.parquet", list(_rows(iteration, rollout, update, self.plan.config.rollout.keep)))
        self.folder.append_metrics(iteration, metrics)
        self.history.append({"iteration": iteration, **metrics})
        self.tracker.log(iteration, metrics)
        self.progress.iteration(iteration + 1, metrics)
        self.change = {}
        for finding in self.monitor.observe(iteration, metrics):
            self._warn(finding.words())
            self.change |= finding.change
            if finding.action in (Action.STOP, Action.ROLL_BACK) and self.ending is not Action.ROLL_BACK:
                self.ending = finding.action

    def _tell_failures(self, iteration: int, results: list[Scores]) -> None:
        """The first failed motion speaks for all of an iteration; the metrics count them by component."""
        reasons = [reason for scores in results for reason in scores.failures.values()]
        if reasons:
            self.progress.note(f"iteration {iteration + 1}: {len(reasons)} motions could not be scored, such as: {reasons[0]}")

    def after(self, adapter: Adapter, **rollouts: Rollout) -> None:
        """The same under the tuned model: gains, pictures. `adapter` is what was evaluated."""
        self.results = {"adapter_sha256": adapter.sha256}
        for name, rollout in rollouts.items():
            self.results[name] = compare(self._before[name].results, rollout.results, fixed_prompts=name == "trained")
        real = self._real_motion()
        runs = {"before": quality(self._before["heldout"].results, *real), "after": quality(rollouts["heldout"].results, *real)}
        self.results["heldout"] |= {name: {when: runs[when][name] for when in runs} for name in runs["before"]}
        self.progress.stage("drawing pictures")
        changes = _changes(self._before["heldout"], rollouts["heldout"])
        before_after_png(self.folder.path / "before_after.png", changes)
        before_after_gif(self.folder.path / "before_after.gif", changes)
        reward_curve_png(self.folder.path / "reward.png", self.history)

    def close(self, status: str, reason: str | None = None) -> None:
        """Writes the summary, sends everything to MLflow and shows the table. `status`: finished, stopped, failed or killed;
        `reason`: why, in one line."""
        config = self.plan.config
        summary = {
            "status": status, **({"reason": reason} if reason else {}), "iterations": len(self.history), "seed": config.seed,
            "samplers": config.cluster.samplers, "wall_seconds": time.time() - self.started, "resumed_at": self.resumed_at,
            "max_log_prob_gap": self.max_gap, "warnings": self.warnings, **self.results,
        }  # fmt: skip
        try:
            with tempfile.TemporaryDirectory() as aside:
                write_json(Path(aside) / self.folder.summary.name, summary)
                kept = [path for path in sorted(self.folder.path.iterdir()) if path.name not in UNTRACKED]
                self.tracker.finish({"stopped": "finished"}.get(status, status), [Path(aside) / self.folder.summary.name, *kept])
        finally:  # last: once a summary says that the run has finished, there is nothing that could go on
            self.folder.write_summary(summary)
        self.progress.summary(summary, self.folder.path)

    def _real_motion(self) -> tuple[np.ndarray, np.ndarray] | tuple[None, None]:
        """Mean and covariance of real held-out motion in the judge's embedding; they ship for the shipped judges only."""
        reward = self.plan.config.reward
        judge, _ = reward.chosen_judge()
        if reward.custom(judge):
            return None, None
        with np.load(ASSETS / "real_motion.npz", allow_pickle=False) as real:
            return real[f"{judge}_mean"], real[f"{judge}_cov"]


def _rows(iteration: int, rollout: Rollout, update: Update, keep: str):
    """One row a sample for the rollout's Parquet file, with the motions that `rollout.keep` names."""
    for i, (group, scores, advantages) in enumerate(zip(rollout.groups, rollout.results, update.advantages)):
        kept = kept_samples(update.rewards[i], keep)
        for sample in range(len(group)):
            length = int(group.lengths[sample])
            yield {
                "iteration": iteration, "group": i, "sample": sample, "prompt": group.conditioning.prompt.text,
                "seed": ",".join(map(str, group.seed)), "length": length, "adapter_version": group.adapter_version,
                "adapter_sha256": group.adapter_sha256, "advantage": float(advantages[sample]),
                "reward": float(update.rewards[i][sample]), "components": {k: float(v[sample]) for k, v in scores.values.items()},
                "log_probs": group.log_probs[sample], "timesteps": group.actions["t"][sample],
                "motion": group.outputs[sample, :length] if sample in kept else None,
            }  # fmt: skip


def _changes(before: Rollout, after: Rollout) -> list[Change]:
    """The held-out samples at fixed quantiles of the gain, so that a picture shows typical motions and not the best ones."""
    old, new = (np.stack([e.reward for e in rollout.results]) for rollout in (before, after))
    gains = (new - old).ravel()
    order = [i for i in np.argsort(gains) if np.isfinite(gains[i])]
    changes = []
    for quantile in PICTURED_GAINS if order else ():
        i, g = np.unravel_index(order[int(quantile * (len(order) - 1))], old.shape)
        group = before.groups[i]
        length = group.lengths[g]
        joints = [features_to_joints(rollout.groups[i].outputs[g, :length]) for rollout in (before, after)]
        changes.append(Change(group.conditioning.prompt.text, *joints, float(old[i, g]), float(new[i, g])))
    return changes
