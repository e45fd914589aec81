"""The numbers of one update: what is averaged over its recomputed steps, and what its rewards were."""

from dataclasses import dataclass

import numpy as np
import torch

from learner.objective import LossPart
from rollout.io.errors import RunFailed
from rollout.policy import Trajectories

# What an iteration reports when no group can teach and no step is taken.
IDLE = {
    "loss": 0.0, "policy_loss": 0.0, "kl_loss": 0.0, "kl": 0.0, "mean_ratio": 1.0, "clip_fraction": 0.0, "grad_norm": 0.0,
    "mean_log_prob_current": 0.0, "mean_log_prob_old": 0.0, "mean_log_prob_ref": 0.0, "log_prob_gap": 0.0,
    "mean_log_ratio": 0.0, "max_abs_log_ratio": 0.0,
}  # fmt: skip


@dataclass(frozen=True)
class ScoredGroup:
    """A group and `rewards` [G], what is maximised (NaN: the sample failed, as one that is not finite does)."""

    group: Trajectories
    rewards: np.ndarray

    def settled(self) -> "ScoredGroup":
        """Broken samples apart from the others: without reward, and harmless to whatever recomputes the group."""
        return ScoredGroup(self.group.without_broken(), np.where(self.group.broken, np.float32(np.nan), self.rewards))


class Tally:
    """Sums over the recomputed steps of one optimizer step, for the metrics."""

    def __init__(self, groups: int):
        self.groups, self.gap, self.max_log_ratio = groups, 0.0, 0.0
        self.losses = dict.fromkeys(("loss", "policy_loss", "kl_loss"), 0.0)
        self.values: dict[str, list[torch.Tensor]] = {}

    def add(self, part: LossPart, group: Trajectories) -> None:
        for name in self.losses:
            self.losses[name] += getattr(part, name).item() / self.groups
        self._collect(mean_ratio=part.ratio, clip_fraction=part.clipped, mean_log_ratio=part.log_ratio)
        if part.log_ratio.numel():
            self.max_log_ratio = max(self.max_log_ratio, torch.nan_to_num(part.log_ratio.abs(), nan=torch.inf).max().item())
        for score in part.scores:
            counted = torch.tensor(group.counted[score.rows, score.columns], device=score.log_prob.device)
            current = score.log_prob.detach()[counted]
            old = torch.tensor(group.log_probs[score.rows, score.columns], device=score.log_prob.device)[counted]
            self._collect(mean_log_prob_current=current, mean_log_prob_old=old)
            if score.kl is not None:
                self._collect(kl=score.kl.detach()[counted], reference_lead=score.log_prob_ref[counted] - current)

    def metrics(self) -> dict[str, float]:
        """Means over everything added; the reference's log-prob is that of the current policy plus its watched lead."""
        means = {name: torch.cat(parts).double().mean().item() for name, parts in self.values.items()}
        means["mean_log_prob_ref"] = means["mean_log_prob_current"] + means.pop("reference_lead")
        return self.losses | means | {"max_abs_log_ratio": self.max_log_ratio}

    def _collect(self, **values: torch.Tensor) -> None:
        for name, value in values.items():
            self.values.setdefault(name, []).append(value.float())


def reward_metrics(scored: list[ScoredGroup], advantages: list[np.ndarray | None]) -> dict[str, float]:
    """Means over the scored samples of an iteration; a failed sample (NaN reward) is counted, not averaged."""
    rewards = np.concatenate([entry.rewards for entry in scored])
    finite = rewards[np.isfinite(rewards)]
    kept = np.concatenate([a for a in advantages if a is not None] or [np.zeros(1, np.float32)])
    if len(finite) == 0:
        raise RunFailed("the reward failed on every sample of the iteration")
    return {
        "mean_reward": finite.mean(), "std_reward": finite.std(), "min_reward": finite.min(), "max_reward": finite.max(),
        "mean_advantage": kept.mean(), "std_advantage": kept.std(), "failed_samples": len(rewards) - len(finite),
        "dropped_groups": sum(np.isfinite(entry.rewards).sum() < 2 for entry in scored),
        "broken_samples": sum(int(entry.group.broken.sum()) for entry in scored),
        "zero_std_fraction": sum(a is None for a in advantages) / len(advantages),
        "length_entropy": _entropy(np.concatenate([entry.group.lengths for entry in scored])),
    } | _measured([entry.group.measured for entry in scored])  # fmt: skip


def _measured(groups: list[dict[str, float]]) -> dict[str, float]:
    """What a family says of how its groups were made: see `rollout.policy.Group.measured`."""
    return {name: (max if name.startswith("max_") else np.mean)([group[name] for group in groups]) for name in groups[0]}


def _entropy(values_N: np.ndarray) -> float:
    """Of the values' distribution, in nats; 0 where all are equal."""
    shares = np.unique(values_N, return_counts=True)[1] / len(values_N)
    return float(abs((shares * np.log(shares)).sum()))
