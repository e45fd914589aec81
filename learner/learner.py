"""The learner: scored groups in, a new adapter out."""

from dataclasses import dataclass

import numpy as np
import torch

from learner.advantage import group_advantages
from learner.objective import OBJECTIVES, LossPart
from learner.settings import Objective, Optimizer
from rollout.adapter import Adapter
from rollout.policy import Group, Policy


# What an iteration reports when no group can teach and no step is taken.
IDLE = {
    "loss": 0.0, "policy_loss": 0.0, "kl_penalty": 0.0, "kl": 0.0, "mean_ratio": 1.0, "clip_fraction": 0.0, "grad_norm": 0.0,
    "mean_log_prob_current": 0.0, "mean_log_prob_old": 0.0, "mean_log_prob_ref": 0.0, "log_prob_gap": 0.0,
}  # fmt: skip


class SyncError(RuntimeError):
    """The learner was handed something its weights do not explain; training on it would be silently wrong."""


@dataclass(frozen=True)
class ScoredGroup:
    """A group and `rewards` [G], what is maximised (NaN: the sample failed)."""

    group: Group
    rewards: np.ndarray


@dataclass(frozen=True)
class Update:
    """What one iteration's update leaves: metrics by name, rewards and advantages per group [P][G], the new adapter."""

    metrics: dict[str, float]
    rewards: list[np.ndarray]
    advantages: list[np.ndarray]
    adapter: Adapter


class Learner:
    """Owns the policy's trainable weights and the optimizer. Nothing in it depends on how many samplers there are."""

    def __init__(self, policy: Policy, objective: Objective, optimizer: Optimizer):
        self.policy, self.objective, self.options = policy, objective, optimizer
        self.optimizer = torch.optim.AdamW(policy.parameters(), lr=optimizer.learning_rate, weight_decay=optimizer.weight_decay)
        # A CPU recomputes bit for bit; a GPU may pick another kernel for the backward graph.
        self.tolerance = 0.0 if policy.device.type == "cpu" else 1e-5
        self.adapter = Adapter.pack(0, policy.adapter_state())
        self._average = policy.adapter_state()

    def update(self, scored: list[ScoredGroup]) -> Update:
        """Recompute with gradient, advantages, objective, `updates_per_rollout` optimizer steps.

        Groups are accumulated in the order given, one trained step at a time, so memory does not grow with their number.
        Raises SyncError, before any weight changes, for a group sampled under other weights than the learner's or when
        the recomputed log-probs are not the sampled ones.
        """
        for entry in scored:
            self._require_own_weights(entry.group)
        advantages = [group_advantages(e.rewards, self.objective.advantage_eps, self.objective.advantage_clip) for e in scored]
        teaching = [(i, entry.group) for i, entry in enumerate(scored) if advantages[i] is not None]
        metrics = _reward_metrics(scored, advantages) | IDLE | {"adapter_version": self.adapter.version, "staleness": 0}
        max_gap = 0.0
        for step in range(self.objective.updates_per_rollout if teaching else 0):
            self.optimizer.zero_grad(set_to_none=True)
            tally = Tally(len(teaching))
            for i, group in teaching:
                self._accumulate(group, i, advantages[i], len(teaching), tally, behaviour=step == 0)
            norm = torch.nn.utils.clip_grad_norm_(self.policy.parameters(), self.options.grad_clip)
            if not torch.isfinite(norm):
                raise SyncError(f"the gradient norm is {norm.item()} at adapter version {self.adapter.version}; no step was taken")
            self.optimizer.step()
            max_gap = tally.gap if step == 0 else max_gap
            metrics |= tally.metrics() | {"grad_norm": norm.item(), "log_prob_gap": max_gap}
        metrics["learning_rate"] = self.options.learning_rate
        self.adapter = Adapter.pack(self.adapter.version + 1, self.policy.adapter_state())
        self._update_average()
        filled = [np.zeros(len(e.group), np.float32) if a is None else a for a, e in zip(advantages, scored)]
        return Update({name: float(value) for name, value in metrics.items()}, [e.rewards for e in scored], filled, self.adapter)

    def evaluation_adapter(self) -> Adapter:
        """The moving average of the adapter when `ema_decay` is set, else the adapter itself."""
        return Adapter.pack(self.adapter.version, self._average) if self.options.ema_decay else self.adapter

    def _accumulate(self, group: Group, i: int, advantage: np.ndarray, groups: int, tally: "Tally", behaviour: bool) -> None:
        """Adds this group's gradient. With no KL in the loss the reference is only watched, on one step a group."""
        steps = group.log_probs.shape[1]
        watched = set(range(steps)) if self.objective.kl_penalty > 0 else {i % steps}
        advantage_G = torch.tensor(advantage, device=self.policy.device)
        for part in OBJECTIVES[self.objective.kind](self.policy, group, advantage_G, self.objective, watched):
            tally.add(part, group)
            if behaviour and not tally.gap <= self.tolerance:
                raise SyncError(
                    f"the recomputed log-probs differ from the sampled ones by {tally.gap:.3g} per dim before the first update "
                    f"(allowed {self.tolerance:g}): prompt {group.conditioning.prompt.text!r}, adapter version {group.adapter_version}"
                )
            (part.loss / groups).backward()

    def _require_own_weights(self, group: Group) -> None:
        if (group.adapter_version, group.adapter_sha256) != (self.adapter.version, self.adapter.sha256):
            raise SyncError(
                f"a group was sampled under adapter version {group.adapter_version} ({group.adapter_sha256[:12]}), "
                f"the learner holds version {self.adapter.version} ({self.adapter.sha256[:12]})"
            )

    def _update_average(self) -> None:
        decay = self.options.ema_decay
        for name, value in self.policy.adapter_state().items():
            self._average[name] = decay * self._average[name] + (1 - decay) * value


class Tally:
    """Sums over the recomputed steps of one optimizer step, for the metrics."""

    def __init__(self, groups: int):
        self.groups, self.gap = groups, 0.0
        self.losses = dict.fromkeys(("loss", "policy_loss", "kl_penalty"), 0.0)
        self.values: dict[str, list[torch.Tensor]] = {}

    def add(self, part: LossPart, group: Group) -> None:
        for name in self.losses:
            self.losses[name] += getattr(part, name).item() / self.groups
        self._collect(mean_ratio=part.ratio, clip_fraction=part.clipped)
        for k, score in part.scores:
            current, old = score.log_prob.detach(), torch.tensor(group.log_probs[:, k], device=score.log_prob.device)
            self._collect(mean_log_prob_current=current, mean_log_prob_old=old)
            if score.kl is not None:
                self._collect(kl=score.kl.detach(), reference_lead=score.log_prob_ref - current)
            # NaN must not pass for "no gap", hence the replacement by infinity.
            differences = torch.stack([(current - old).abs(), score.log_ratio.detach().abs()])
            self.gap = max(self.gap, torch.nan_to_num(differences, nan=torch.inf).max().item())

    def metrics(self) -> dict[str, float]:
        """Means over everything added; the reference's log-prob is that of the current policy plus its watched lead."""
        means = {name: torch.cat(parts).double().mean().item() for name, parts in self.values.items()}
        means["mean_log_prob_ref"] = means["mean_log_prob_current"] + means.pop("reference_lead")
        return self.losses | means

    def _collect(self, **values: torch.Tensor) -> None:
        for name, value in values.items():
            self.values.setdefault(name, []).append(value.float())


def _reward_metrics(scored: list[ScoredGroup], advantages: list[np.ndarray | None]) -> dict[str, float]:
    """Means over the scored samples of an iteration; a failed sample (NaN reward) is counted, not averaged."""
    rewards = np.concatenate([entry.rewards for entry in scored])
    finite = rewards[np.isfinite(rewards)]
    kept = np.concatenate([a for a in advantages if a is not None] or [np.zeros(1, np.float32)])
    if len(finite) == 0:
        raise RuntimeError("the reward failed on every sample of the iteration")
    return {
        "mean_reward": finite.mean(), "std_reward": finite.std(), "min_reward": finite.min(), "max_reward": finite.max(),
        "mean_advantage": kept.mean(), "std_advantage": kept.std(), "failed_samples": len(rewards) - len(finite),
        "dropped_groups": sum(np.isfinite(entry.rewards).sum() < 2 for entry in scored),
        "zero_std_fraction": sum(a is None for a in advantages) / len(advantages),
    }  # fmt: skip
