"""One group's gradient, taken wherever the group lies: by a sampler, or in one process by the learner's own policy."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from learner.objective import OBJECTIVES, LossPart, Share
from learner.config.settings import Objective
from learner.tally import Tally
from rollout.io.errors import RunFailed
from rollout.policy import Policy, Trajectories

SKETCHED = 256  # values of a gradient that a sketch holds
SKETCH_GAP = 0.02  # by which two sketches may differ, of their norm, where a device may choose another kernel


class SyncError(RunFailed):
    """Sampler and learner do not hold the same weights, or one of them does not compute what they say; training on it would
    be silently wrong."""


@dataclass(frozen=True)
class Lesson:
    """What a group is to teach in one optimizer step.

    advantage: fp32 [G]. share, groups: what its loss is divided by, and that of how many groups is averaged. watched: the columns
    whose reference is recomputed. behind: by how many adapter versions its sampler was. first: whether no step was taken on it
    yet. adapter_sha256: of the weights that the gradient is of. own: see `grpo_loss`; what the first step left, None before it.
    """

    advantage: np.ndarray
    objective: Objective
    share: Share
    groups: int
    watched: frozenset[int]
    behind: int
    first: bool
    adapter_sha256: str
    own: dict[str, np.ndarray] | None = None

    @property
    def on_policy(self) -> bool:
        """Whether the weights that sampled are those that the gradient is of: the ratio is 1."""
        return self.first and not self.behind


@dataclass(frozen=True)
class Partial:
    """A group's gradient but for the numbers themselves, which travel beside it as one flat fp32 buffer in the order of
    `Policy.parameters`, and are large.

    sha256: of that buffer. adapter_sha256: of the weights it was taken under. tally: what the metrics need. gap: the largest
    difference between sampled and recomputed log-probs, where they must be equal. sketches: of the gradient of each part of the
    loss, [parts, 1 + SKETCHED] float64, for a witness to compare. own: as in `Lesson`.
    """

    sha256: str
    adapter_sha256: str
    tally: Tally
    gap: float
    sketches: np.ndarray
    own: dict[str, np.ndarray] | None


def gradient(policy: Policy, group: Trajectories, lesson: Lesson) -> tuple[Partial, np.ndarray]:
    """The gradient of the group's loss, a part at a time, so that memory does not grow with the group.

    Raises SyncError for a policy that does not hold the lesson's adapter, a group that was made from another conditioning than came
    with it, and one on policy whose log-probs are not what this policy gives.
    """
    if policy.loaded[1] != lesson.adapter_sha256:
        raise SyncError(f"a sampler with adapter {policy.loaded[1][:14]} was asked for a gradient under {lesson.adapter_sha256[:14]}")
    group = require_own_conditioning(group).without_broken()
    own = None if not policy.tolerance else {name: torch.tensor(value, device=policy.device) for name, value in (lesson.own or {}).items()}
    tally, gaps, sketches, total = Tally(group), [torch.zeros((), device=policy.device)], [], None
    for part in parts_of(policy, group, lesson, own):
        flat = flat_gradient(policy, part, lesson)
        total = flat if total is None else total.add_(flat)
        sketches.append(sketch(flat))
        tally.add(part, lesson.groups)
        gaps += [gap_of(group, score) for score in part.scores] if lesson.on_policy else []
    gap = require_recomputed(group, torch.stack(gaps).max().item(), policy.tolerance)
    buffer = total.cpu().numpy()
    kept = None if own is None else {name: value.cpu().numpy() for name, value in own.items()}
    partial = Partial(digest(buffer), policy.loaded[1], tally.close(), gap, torch.stack(sketches).cpu().numpy(), kept)
    return partial, buffer


def parts_of(policy: Policy, group: Trajectories, lesson: Lesson, own: dict | None, only: int | None = None):
    """The parts of its loss, or one of them."""
    advantage_G = torch.tensor(lesson.advantage, device=policy.device)
    return OBJECTIVES[lesson.objective.kind](policy, group, advantage_G, lesson.objective, lesson.watched, own, lesson.share, only)


def flat_gradient(policy: Policy, part: LossPart, lesson: Lesson) -> Tensor:
    """fp32, flat, in the order of the parameters."""
    found = torch.autograd.grad(part.loss / lesson.groups, policy.parameters(), materialize_grads=True)
    return torch.cat([each.reshape(-1).float() for each in found])


def sketch(flat: Tensor) -> Tensor:
    """float64 [1 + SKETCHED]: the norm and evenly spaced values. Other weights or another group give another one."""
    places = torch.linspace(0, len(flat) - 1, SKETCHED, device=flat.device).long()
    return torch.cat([flat.norm()[None], flat[places]]).double()


def digest(buffer: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(buffer).data).hexdigest()


def require_own_conditioning(group: Trajectories) -> Trajectories:
    if group.conditioning.recomputed_digest() != group.conditioning_sha256:
        raise SyncError(f"prompt {group.prompt.text!r}: the conditioning that came with its group is not what it was sampled from")
    return group


def gap_of(group: Trajectories, score) -> Tensor:
    """The largest difference between sampled and recomputed log-probs of what counts; infinite for NaN, which is no "no gap"."""
    old = torch.tensor(group.log_probs[score.rows, score.columns], device=score.log_prob.device)
    counted = torch.tensor(group.counted[score.rows, score.columns], device=score.log_prob.device)
    differences = torch.maximum((score.log_prob.detach() - old).abs(), score.log_ratio.detach().abs())
    return torch.where(counted, torch.nan_to_num(differences, nan=torch.inf), 0.0).max()


def require_recomputed(group: Trajectories, gap: float, tolerance: float) -> float:
    """`gap`, or SyncError where it is more than rounding explains."""
    if gap > tolerance:
        raise SyncError(
            f"the recomputed log-probs differ from the sampled ones by {gap:.3g} per dim before the first update "
            f"(allowed {tolerance:g}): prompt {group.prompt.text!r}, adapter version {group.adapter_version}"
        )
    return gap
