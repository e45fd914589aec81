"""What can be seen to go wrong with a run from its metrics alone, and what each such thing means.

A rule measures one number of an iteration and the ones before it. The number's level is how many of the rule's thresholds
it has reached; level 0 is well.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from statistics import median

WINDOW = 5  # iterations that a fraction is averaged over, or that a spread is first known by
MEMORY = 20  # iterations that a running median is of
CALM = 5  # iterations in a row that a finding must be absent to have ended
# What an update reports of itself. Everything else may lack a value, such as the FID of too few samples.
OF_THE_UPDATE = (
    "mean_reward", "std_reward", "mean_advantage", "std_advantage", "loss", "policy_loss", "kl_loss", "kl", "mean_ratio",
    "clip_fraction", "grad_norm", "mean_log_prob_current", "mean_log_prob_old", "mean_log_prob_ref", "mean_log_ratio",
    "max_abs_log_ratio", "log_prob_gap",
)  # fmt: skip
STAGES = ("seconds_rollout", "seconds_reward", "seconds_update", "seconds_publish")

Row = Mapping[str, float]


@dataclass
class History:
    """The metrics before the present ones, as far as a rule reads them; oldest first, finite values only."""

    recent: dict[str, list[float]] = field(default_factory=dict)  # the last MEMORY, by name
    first: dict[str, list[float]] = field(default_factory=dict)  # the first WINDOW, by name

    def add(self, row: Row) -> None:
        for name in ("grad_norm", "clip_fraction", "zero_std_fraction", "std_reward", "length_entropy"):
            value = row.get(name)
            if value is not None and math.isfinite(value):
                self.recent[name] = [*self.recent.get(name, []), value][-MEMORY:]
                self.first[name] = [*self.first.get(name, []), value][:WINDOW]

    def mean(self, row: Row, name: str) -> float | None:
        """Over the last WINDOW iterations, this one included."""
        values = [*self.recent.get(name, []), row.get(name)][-WINDOW:]
        return None if values[-1] is None else sum(values) / len(values)


@dataclass(frozen=True)
class Rule:
    """measure(row, history): the number, None where the row has not what it needs. sentence(number, row): what was seen."""

    name: str
    thresholds: tuple[float, ...]
    measure: Callable[[Row, History], float | None]
    sentence: Callable[[float, Row], str]
    cause: str
    remedy: str

    def level(self, number: float | None) -> int:
        """How many thresholds `number` has reached; NaN reaches none."""
        return 0 if number is None else sum(number >= threshold for threshold in self.thresholds)


def _unexplained(row: Row, history: History) -> float | None:
    """The gap, where it is more than the rounding of the run's device and precision."""
    gap = row.get("log_prob_gap")
    return None if gap is None or gap <= row.get("log_prob_tolerance", 0.0) else gap


def _non_finite(row: Row, names) -> list[str]:
    return [name for name in names if name in row and not math.isfinite(row[name])]


def _not_measured(row: Row) -> list[str]:
    return _non_finite(row, [name for name in row if name not in OF_THE_UPDATE])


def _jump(row: Row, history: History) -> float | None:
    """The gradient norm by its running median; iterations without a step have none."""
    before = [value for value in history.recent.get("grad_norm", []) if value > 0]
    known = len(before) >= WINDOW and math.isfinite(row.get("grad_norm", math.nan))
    return row["grad_norm"] / median(before) if known else None


def _narrowing(row: Row, history: History) -> float | None:
    """How many times narrower the rewards are than in the first iterations; infinite when they are all one."""
    if row.get("std_reward") is None:
        return None
    if row["std_reward"] <= 1e-6 * max(1.0, abs(row.get("mean_reward", 0.0))):
        return math.inf
    first = history.first.get("std_reward", [])
    return median(first) / row["std_reward"] if len(first) == WINDOW else None


def _one_length(row: Row, history: History) -> float | None:
    """The share of the first iterations' entropy of lengths that is gone."""
    first = history.first.get("length_entropy", [])
    if "length_entropy" not in row or len(first) < WINDOW or median(first) < 0.1:
        return None
    return 1 - row["length_entropy"] / median(first)


class Standing:
    """What holds at present, so that each thing is said when it begins or gets worse, and not while it stays.

    open: by name its level, and for how many iterations in a row it has been absent; after CALM of them it has ended.
    """

    def __init__(self):
        self.open: dict[str, list[int]] = {}

    def take(self, name: str, level: int) -> int:
        """Takes in the level of an iteration; returns the one that stood before it, 0 where nothing did."""
        before, absent = self.open.pop(name, (0, 0))
        if level:
            self.open[name] = [max(level, before), 0]
        elif before and absent + 1 < CALM:
            self.open[name] = [before, absent + 1]
        return before


RULES = (
    Rule(
        "log_prob_gap", (1e-5, 1e-3, 1.0), _unexplained,
        lambda gap, row: f"the recomputed log-probs differ from the sampled ones by {gap:.3g} per dim",
        "sampler and learner do not compute the same: a module in train mode, other weights, another conditioning or precision",
        "trust nothing trained since; compare the adapter digests of sampler and learner; run both in eval mode and one precision",
    ),
    Rule(
        "non_finite", (1,), lambda row, history: len(_non_finite(row, OF_THE_UPDATE)),
        lambda count, row: f"{' and '.join(_non_finite(row, OF_THE_UPDATE)[:3])} {'are' if count > 1 else 'is'} not a finite number",
        "an update overflowed: a step too large, a reward that is not finite, or half precision",
        "go back to the last good checkpoint and take a smaller optimizer.learning_rate; inspect the reward with python -m rewards.inspect",
    ),
    Rule(
        "log_ratio", (5, 10, 20), lambda row, history: row.get("max_abs_log_ratio"),
        lambda value, row: f"the largest log-ratio is {value:.4g} (its ratio is e to that; a healthy one stays near 0)",
        "the policy moved too far in one iteration, or the ratio is summed over a trajectory's steps and dims, or against the base",
        "objective.kind grpo, whose ratio is per step and against the policy that sampled; else a smaller optimizer.learning_rate",
    ),
    Rule(
        "gradient", (10, 100), _jump,
        lambda times, row: f"the gradient's norm is {row['grad_norm']:.3g}, {times:.3g} times its running median",
        "a few samples decide the step: an extreme advantage, an exploding ratio, or a reward that jumped",
        "look at that iteration's rollouts; a smaller optimizer.grad_clip or objective.advantage_clip bounds what one iteration can do",
    ),
    Rule(
        "kl", (0.2, 1.0), lambda row, history: row.get("kl"),
        lambda kl, row: f"the KL to the base model is {kl:.3g} an action",
        "the policy has left the base model, and with it what samples are like",
        "a larger objective.kl_penalty (0.01 to 0.1) or a smaller optimizer.learning_rate; look whether the judge still rises",
    ),
    Rule(
        "prediction_norm", (1.1, 1.5), lambda row, history: row.get("prediction_norm"),
        lambda times, row: f"the model's predictions of clean outputs are {times:.3g} times as large as the base model's",
        "an objective on its own error can be had by predicting ever larger values (arXiv 2606.27771), and does not see what that costs",
        "a larger objective.kl_penalty (0.001 to 0.01), a smaller optimizer.learning_rate or fewer objective.updates_per_rollout",
    ),
    Rule(
        "clip_fraction", (0.5, 0.9), lambda row, history: history.mean(row, "clip_fraction"),
        lambda share, row: f"{share:.0%} of the ratios are clipped and have no gradient (5 to 30 % is usual)",
        "the clip is too tight for the step that is taken, or the ratio is no ratio of near policies",
        "fewer objective.updates_per_rollout, a smaller optimizer.learning_rate or a wider objective.clip_epsilon",
    ),
    Rule(
        "zero_std", (0.5, 0.99), lambda row, history: history.mean(row, "zero_std_fraction"),
        lambda share, row: f"{share:.0%} of the groups have one reward for all their samples and teach nothing",
        "the reward is saturated, too coarse, or blind to what differs inside a group",
        "python -m rewards.inspect RUN/rollouts says which component, and suggests a scale; or harder prompts, or larger groups",
    ),
    Rule(
        "reward_spread", (5, math.inf), _narrowing,
        lambda times, row: f"the rewards' standard deviation is {row['std_reward']:.3g}, " + (
            f"{times:.3g} times less than at first" if math.isfinite(times) else "all samples are worth the same"
        ),
        "the samples have become alike (mode collapse), or the reward has reached the end of its range",
        "look at the samples; a diversity component, a larger objective.kl_penalty, or a reward with room above",
    ),
    Rule(
        "failed_samples", (1, 10, 100), lambda row, history: row.get("failed_samples"),
        lambda count, row: f"{count:.0f} samples have no reward" + (
            f" and {row['dropped_groups']:.0f} groups were left out for it" if row.get("dropped_groups") else ""
        ),
        "a reward component raised, timed out or returned NaN for them",
        "log.txt has the first reason of every iteration; a component's failures are counted in component_<name>_failed",
    ),
    Rule(
        "lengths", (0.9,), _one_length,
        lambda gone, row: f"the entropy of lengths is {row['length_entropy']:.3g}, {gone:.0%} less than at first: nearly all have one",
        "the prompts that are drawn, or what is left of them, all ask for one length",
        "look at the lengths in rollout.prompts, and whether groups of other lengths fail",
    ),
    Rule(
        "not_measured", (1,), lambda row, history: len(_not_measured(row)),
        lambda count, row: f"{' and '.join(_not_measured(row)[:3])} {'are' if count > 1 else 'is'} not a finite number",
        "nothing was there to measure it on, such as a component that failed on every sample",
        "log.txt has the first reason of every iteration",
    ),
)  # fmt: skip


class Slowness:
    """Iterations that take much longer than before: the middle one of the last 3, by the median of the MEMORY before them."""

    def __init__(self):
        self.seconds: list[float] = []

    def measure(self, row: Row, history: History) -> float | None:
        spent = [row[stage] for stage in STAGES if stage in row]
        if spent and math.isfinite(sum(spent)):
            self.seconds = [*self.seconds, sum(spent)][-MEMORY - 3 :]
        before, now = self.seconds[:-3], self.seconds[-3:]
        return median(now) / median(before) if spent and len(before) >= WINDOW and median(before) > 0 else None


def throughput_rule() -> Rule:
    """Its history is its own, so that no time that was measured enters what a run is resumed from."""
    return Rule(
        "throughput", (3, 10), Slowness().measure,
        lambda times, row: f"iterations take {times:.3g} times as long as they did, this one {sum(row.get(s, 0) for s in STAGES):.3g} s",
        "the machine is shared, swaps or throttles, samplers were lost, or a served reward has become slow",
        "see which of the seconds_* grew; top, nvidia-smi and ray status tell what else runs",
    )  # fmt: skip
