"""The numbers of one update: what is averaged over its recomputed steps, and what its rewards were."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from learner.objective import LossPart
from rollout.io.errors import RunFailed
from rollout.policy import Group
from rollout.record import RECOMPUTED

# What an iteration reports when no group can teach and no step is taken.
IDLE = {
    "loss": 0.0, "policy_loss": 0.0, "kl_loss": 0.0, "kl": 0.0, "mean_ratio": 1.0, "clip_fraction": 0.0, "grad_norm": 0.0,
    "mean_log_prob_current": 0.0, "mean_log_prob_old": 0.0, "mean_log_prob_ref": 0.0, "log_prob_gap": 0.0,
    "mean_log_ratio": 0.0, "max_abs_log_ratio": 0.0,
}  # fmt: skip


@dataclass(frozen=True)
class ScoredGroup:
    """A group and `rewards` [G], what is maximised (NaN: the sample failed, as one that is not finite does)."""

    group: Group
    rewards: np.ndarray

    def settled(self) -> "ScoredGroup":
        """Broken samples are without reward."""
        return ScoredGroup(self.group, np.where(self.group.broken, np.float32(np.nan), self.rewards))


LOSSES = ("loss", "policy_loss", "kl_loss")
AVERAGED = (
    "mean_ratio", "clip_fraction", "mean_log_ratio", "mean_log_prob_current", "mean_log_prob_old", "kl", "reference_lead",
    "prediction_norm",
)  # fmt: skip


class Tally:
    """Sums over the recomputed actions of a group, for the metrics. They stay on the device until `close`: one transfer a group.

    sums: float64 by name, of `LOSSES` and `AVERAGED`. counts: of what was summed. max_log_ratio: the largest |log-ratio|. actions: by name
    of `RECOMPUTED` fp32 [G,K], NaN for an action that does not count or was not compared.
    """

    def __init__(self, group: Group):
        self._group, self._parts, self._scores = group, [], []

    def add(self, part: LossPart, groups: int) -> None:
        """groups: of how many the loss is averaged."""
        found = {name: [] for name in AVERAGED} | {"mean_ratio": [part.ratio], "clip_fraction": [part.clipped], "mean_log_ratio": [part.log_ratio]}
        for score in part.scores:
            self._scores.append((score.rows, score.columns, score.log_ratio.detach(), None if score.kl is None else score.kl.detach()))
            counted = torch.tensor(self._group.counted[score.rows, score.columns], device=score.log_prob.device)
            current = score.log_prob.detach()[counted]
            old = torch.tensor(self._group.log_probs[score.rows, score.columns], device=score.log_prob.device)[counted]
            found["mean_log_prob_current"].append(current)
            found["mean_log_prob_old"].append(old)
            if score.kl is not None:
                found["kl"].append(score.kl.detach()[counted])
                found["reference_lead"].append(score.log_prob_ref[counted] - current)
            if score.prediction_norm is not None:
                found["prediction_norm"].append(score.prediction_norm[counted])
        losses = [getattr(part, name).detach().double() / groups for name in LOSSES]
        sums = [sum((value.double().sum() for value in found[name]), losses[0].new_zeros(())) for name in AVERAGED]
        sizes = torch.nan_to_num(part.log_ratio.abs().double(), nan=torch.inf)
        largest = sizes.max() if sizes.numel() else losses[0].new_zeros(())
        counts = losses[0].new_tensor([sum(value.numel() for value in found[name]) for name in AVERAGED])
        self._parts.append((torch.stack([*losses, *sums]), counts, largest))

    def close(self) -> "Tally":
        """Once all is added: numbers, which can travel."""
        sums, counts, largest = (torch.stack(values).cpu().numpy() for values in zip(*self._parts))
        self.sums = dict(zip((*LOSSES, *AVERAGED), sums.sum(axis=0).tolist()))
        self.counts = dict(zip(AVERAGED, counts.sum(axis=0).astype(int).tolist()))
        self.max_log_ratio = float(largest.max())
        self.actions = {name: self._filled(place) for place, name in enumerate(RECOMPUTED, 2)}
        del self._group, self._parts, self._scores
        return self

    def _filled(self, place: int) -> np.ndarray:
        found, known = np.full(self._group.log_probs.shape, np.nan, np.float32), [each for each in self._scores if each[place] is not None]
        if known:
            flat = torch.cat([each[place].reshape(-1).float() for each in known]).cpu().numpy()
            parts = np.split(flat, np.cumsum([each[place].numel() for each in known])[:-1])
            for (rows, columns, *values), part in zip(known, parts):
                found[rows, columns] = part.reshape(values[place - 2].shape)
        return np.where(self._group.counted, found, np.float32(np.nan))


def update_metrics(tallies: Sequence[Tally]) -> dict[str, float]:
    """Of one optimizer step; the reference's log-prob is that of the current policy plus its watched lead, 0 where none of what was
    watched counts. `prediction_norm` is there only for policies that say it."""
    sums = {name: sum(tally.sums[name] for tally in tallies) for name in (*LOSSES, *AVERAGED)}
    counts = {name: sum(tally.counts[name] for tally in tallies) for name in AVERAGED}
    means = {name: sums[name] / counts[name] for name in AVERAGED if counts[name]}
    means["mean_log_prob_ref"] = means["mean_log_prob_current"] + means.pop("reference_lead", 0.0)
    return {name: sums[name] for name in LOSSES} | means | {"max_abs_log_ratio": max(tally.max_log_ratio for tally in tallies)}


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
