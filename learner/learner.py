"""The learner: scored groups in, a new adapter out."""

from dataclasses import dataclass

import numpy as np
import torch

from learner.advantage import group_advantages
from learner.config.settings import Objective, Optimizer
from learner.objective import OBJECTIVES, Share, shares
from learner.tally import IDLE, ScoredGroup, Tally, reward_metrics
from rollout.adapter import Adapter
from rollout.io.errors import InputError, RunFailed
from rollout.policy import Policy, Score, Trajectories

# By which settings hold it.
ADAPTABLE = {"learning_rate": "options", "kl_penalty": "objective", "clip_epsilon": "objective", "clip_epsilon_high": "objective"}


class SyncError(RunFailed):
    """Sampler and learner do not hold the same weights, or one of them does not compute what they say; training on it would
    be silently wrong."""


def part(arrays: dict[str, np.ndarray], prefix: str) -> dict[str, np.ndarray]:
    """The arrays named `<prefix>/<name>`, by name."""
    return {name.removeprefix(f"{prefix}/"): value for name, value in arrays.items() if name.startswith(f"{prefix}/")}


@dataclass(frozen=True)
class State:
    """All that a learner needs to go on as if nothing had happened, the base model and the settings apart.

    arrays: `<kind>/<tensor>`, kind one of adapter, average, exp_avg, exp_avg_sq, step, and `recent/<version>` for older
    adapters that groups may still come from. facts: plain JSON. No state of a random generator: all noise derives from
    the seeds of requests.
    """

    arrays: dict[str, np.ndarray]
    facts: dict

    def adapter(self, version: int | None = None) -> Adapter:
        """The current adapter, or an older one that groups may still come from. Raises SyncError for tensors without the
        digest that they were kept under."""
        current = self.facts["version"]
        version = current if version is None else version
        adapter = Adapter.pack(version, part(self.arrays, "adapter" if version == current else f"recent/{version}"))
        if adapter.sha256 != self.facts["recent"][str(version)]:
            raise SyncError(
                f"a state of adapter version {version} holds weights {adapter.sha256[:12]}, not its {self.facts['recent'][str(version)][:12]}"
            )
        return adapter


@dataclass(frozen=True)
class Update:
    """What one iteration's update leaves: metrics by name, rewards and advantages per group [P][G], the new adapter."""

    metrics: dict[str, float]
    rewards: list[np.ndarray]
    advantages: list[np.ndarray]
    adapter: Adapter


class Learner:
    """Owns the policy's trainable weights and the optimizer. Nothing in it depends on how many samplers there are."""

    def __init__(self, policy: Policy, objective: Objective, optimizer: Optimizer, max_staleness: int = 0):
        """max_staleness: how many adapter versions a group may lag behind the learner's."""
        self.policy, self.objective, self.options, self.max_staleness = policy, objective, optimizer, max_staleness
        self.optimizer = torch.optim.AdamW(policy.parameters(), lr=optimizer.learning_rate, weight_decay=optimizer.weight_decay)
        self.tolerance = policy.tolerance
        self.recent = [Adapter.pack(0, policy.adapter_state())]  # oldest first; the last one is the learner's own
        self._average = policy.adapter_state()

    @property
    def adapter(self) -> Adapter:
        return self.recent[-1]

    def update(self, scored: list[ScoredGroup]) -> Update:
        """Recompute with gradient, advantages, objective, `updates_per_rollout` optimizer steps.

        Groups are accumulated in the order given, a part at a time, so memory does not grow with their number. Samples that
        are not finite fail alone. Raises SyncError, before any weight changes, for a group sampled under weights that are not
        the learner's own or its last `max_staleness` ones, for one that was made from another conditioning than came with it,
        and when the log-probs recomputed are not the sampled ones.
        """
        scored = [entry.settled() for entry in scored]
        for entry in scored:
            self._require_own_conditioning(entry.group)
        staleness = [self._staleness(entry.group) for entry in scored]
        max_gap = self._verify_stale([entry.group for entry, behind in zip(scored, staleness) if behind])
        advantages = [group_advantages(e.rewards, self.objective.advantage_eps, self.objective.advantage_clip) for e in scored]
        teaching = [(i, entry.group) for i, entry in enumerate(scored) if advantages[i] is not None and entry.group.counted.any()]
        share = dict(zip([i for i, _ in teaching], shares([group.counted for _, group in teaching], self.objective) if teaching else []))
        metrics = reward_metrics(scored, advantages) | IDLE | {"adapter_version": self.adapter.version, "staleness": max(staleness)}
        # Where the device is not exact, what the learner itself makes of each group before the first step; see `grpo_loss`.
        own = [{} if self.tolerance else None for _ in scored]
        for step in range(self.objective.updates_per_rollout if teaching else 0):
            self.optimizer.zero_grad(set_to_none=True)
            tally = Tally(len(teaching))
            for i, group in teaching:
                self._accumulate(group, i, advantages[i], len(teaching), tally, own[i], share[i], on_policy=step == 0 and not staleness[i])
            norm = torch.nn.utils.clip_grad_norm_(self.policy.parameters(), self.options.grad_clip)
            if not torch.isfinite(norm):
                raise RunFailed(f"the gradient norm is {norm.item()} at adapter version {self.adapter.version}; no step was taken")
            self.optimizer.step()
            max_gap = max(max_gap, tally.gap)
            metrics |= tally.metrics() | {"grad_norm": norm.item()}
        metrics |= {"log_prob_gap": max_gap, "learning_rate": self.options.learning_rate, "clip_epsilon": self.objective.clip_epsilon}
        self._advance()
        filled = [np.zeros(len(e.group), np.float32) if a is None else a for a, e in zip(advantages, scored)]
        return Update({name: float(value) for name, value in metrics.items()}, [e.rewards for e in scored], filled, self.adapter)

    def evaluation_adapter(self) -> Adapter:
        """The moving average of the adapter when `ema_decay` is set, else the adapter itself."""
        return Adapter.pack(self.adapter.version, self._average) if self.options.ema_decay else self.adapter

    def adapt(self, changes: dict[str, float]) -> None:
        """New values for some of `ADAPTABLE`, from the next update on."""
        for name, value in changes.items():
            held_by = ADAPTABLE[name]
            setattr(self, held_by, getattr(self, held_by).replace(**{name: value}))
        for group in self.optimizer.param_groups:
            group["lr"] = self.options.learning_rate

    def state(self) -> State:
        """A copy; see `State`."""
        arrays = {f"adapter/{name}": value for name, value in self.adapter.tensors().items()}
        for old in self.recent[:-1]:
            arrays |= {f"recent/{old.version}/{name}": value for name, value in old.tensors().items()}
        if self.options.ema_decay:
            arrays |= {f"average/{name}": value.copy() for name, value in self._average.items()}
        for name, parameter in self._named_parameters():
            for kind, value in self.optimizer.state.get(parameter, {}).items():
                arrays[f"{kind}/{name}"] = value.detach().cpu().numpy().copy()
        settings = {name: getattr(getattr(self, held_by), name) for name, held_by in ADAPTABLE.items()}
        recent = {str(adapter.version): adapter.sha256 for adapter in self.recent}
        return State(arrays, {"version": self.adapter.version, "recent": recent, "settings": settings})

    def load(self, state: State) -> None:
        """Goes on from `state`. Raises InputError when its tensors are not the policy's, SyncError when they do not have the
        digest that they were saved under."""
        recent = [state.adapter(version) for version in sorted(map(int, state.facts["recent"]))]
        self.policy.load_adapter(state.adapter())
        if self.options.ema_decay:
            self._average = {name: value.copy() for name, value in part(state.arrays, "average").items()}
        self.optimizer.state.clear()
        for name, parameter in self._named_parameters():
            for kind in ("step", "exp_avg", "exp_avg_sq"):
                if f"{kind}/{name}" in state.arrays:
                    value = torch.tensor(state.arrays[f"{kind}/{name}"])
                    self.optimizer.state[parameter][kind] = value if kind == "step" else value.to(parameter.device)
        self.adapt(state.facts["settings"])
        self.recent = recent

    def _named_parameters(self):
        return zip(self.policy.adapter_state(), self.policy.parameters(), strict=True)

    def _accumulate(
        self, group: Trajectories, i: int, advantage: np.ndarray, groups: int, tally: Tally, own: dict | None, share: Share, on_policy: bool
    ) -> None:
        """Adds this group's gradient. With no KL in the loss the reference is only watched, on one action of a sample."""
        actions = group.log_probs.shape[1]
        watched = frozenset(range(actions) if self.objective.kl_penalty > 0 else [i % actions])
        advantage_G = torch.tensor(advantage, device=self.policy.device)
        for part in OBJECTIVES[self.objective.kind](self.policy, group, advantage_G, self.objective, watched, own, share):
            tally.add(part, group)
            if on_policy:
                tally.gap = max(tally.gap, *(self._require_recomputed(group, score) for score in part.scores))
            (part.loss / groups).backward()

    def _require_own_conditioning(self, group: Trajectories) -> None:
        if group.conditioning.recomputed_digest() != group.conditioning_sha256:
            raise SyncError(f"prompt {group.prompt.text!r}: the conditioning that came with its group is not what it was sampled from")

    def _staleness(self, group: Trajectories) -> int:
        """How many versions behind the learner's `group` was sampled."""
        behind = self.adapter.version - group.adapter_version
        known = {adapter.version: adapter.sha256 for adapter in self.recent}
        if known.get(group.adapter_version) == group.adapter_sha256:
            return behind
        found = f"a group was sampled under adapter version {group.adapter_version} ({group.adapter_sha256[:12]})"
        if group.adapter_version in known:
            why = f"whose weights are {known[group.adapter_version][:12]}: another run's, or damaged on their way"
        elif behind > 0:
            why = f"{behind} behind the learner's {self.adapter.version}; at most {self.max_staleness} may be trained on (cluster.max_staleness)"
        else:
            why = f"which the learner, at version {self.adapter.version}, never made"
        raise SyncError(f"{found}, {why}")

    @torch.no_grad()
    def _verify_stale(self, groups: list[Trajectories]) -> float:
        """Groups that the learner's own weights cannot reproduce are recomputed, in part, under those they came from: the
        largest gap found."""
        recent, loaded, gap = {adapter.version: adapter for adapter in self.recent}, None, 0.0
        try:
            for i, group in enumerate(groups):
                if loaded != group.adapter_version:
                    loaded = group.adapter_version
                    self.policy.load_adapter(recent[loaded])
                some = frozenset([i % group.log_probs.shape[1]])
                gap = max(gap, *(self._require_recomputed(group, score) for score in self.policy.score(group, only=some)))
        finally:
            if groups:
                self.policy.load_adapter(self.adapter)
        return gap

    def _require_recomputed(self, group: Trajectories, score: Score) -> float:
        """The largest difference between sampled and recomputed; SyncError where it is more than rounding explains."""
        old = torch.tensor(group.log_probs[score.rows, score.columns], device=score.log_prob.device)
        counted = torch.tensor(group.counted[score.rows, score.columns], device=score.log_prob.device)
        differences = torch.stack([(score.log_prob.detach() - old).abs(), score.log_ratio.detach().abs()])[:, counted]
        # NaN must not pass for "no gap", hence the replacement by infinity.
        gap = torch.nan_to_num(differences, nan=torch.inf).max().item() if differences.numel() else 0.0
        if gap > self.tolerance:
            rounding = "; so small a gap is rounding: some shapes want cluster.learner_cpus equal to cluster.sampler_cpus" if gap < 1e-4 else ""
            raise SyncError(
                f"the recomputed log-probs differ from the sampled ones by {gap:.3g} per dim before the first update "
                f"(allowed {self.tolerance:g}): prompt {group.prompt.text!r}, adapter version {group.adapter_version}{rounding}"
            )
        return gap

    def _advance(self) -> None:
        """The weights as they are now become the next version."""
        try:
            self.recent.append(Adapter.pack(self.adapter.version + 1, self.policy.adapter_state()))
        except InputError as error:
            raise RunFailed(f"the update destroyed the weights: {error}") from None
        self.recent = self.recent[-(self.max_staleness + 1) :]
        self._update_average()

    def _update_average(self) -> None:
        decay = self.options.ema_decay
        for name, value in self.policy.adapter_state().items():
            self._average[name] = decay * self._average[name] + (1 - decay) * value
