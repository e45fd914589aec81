"""One group's gradient, taken wherever the group lies: by a sampler, or in one process by the learner's own policy."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from learner.config.settings import Objective
from learner.objective import OBJECTIVES, LossPart, Share
from learner.tally import Tally
from rollout.adapter import Adapter
from rollout.io.errors import RunFailed
from rollout.policy import Policy, Score, Trajectories

SKETCHED = 256  # values of a gradient that a sketch holds
SKETCH_GAP = 0.02  # by which two sketches may differ, of their norm, where a device may choose another kernel


class SyncError(RunFailed):
    """Sampler and learner do not hold the same weights, or one of them does not compute what they say; training on it would
    be silently wrong."""


@dataclass(frozen=True)
class Lesson:
    """What a group is to teach in one optimizer step.

    rows: int [g], the samples it is taught by, None for all G. advantage: fp32 [g], of these. share, groups: what its loss is divided by, and that of how many groups is averaged. watched: the columns
    whose reference is recomputed. behind: by how many adapter versions its sampler was. first: whether no step was taken on it
    yet. adapter_sha256: of the weights that the gradient is of. anchor: what its KL is to, in all steps of an update; None the base
    model. own: see `action_loss`; what the first step left, None before it.
    """

    advantage: np.ndarray
    objective: Objective
    share: Share
    groups: int
    watched: frozenset[int]
    behind: int
    first: bool
    adapter_sha256: str
    rows: np.ndarray | None = None
    own: dict[str, np.ndarray] | None = None
    anchor: Adapter | None = None

    @property
    def on_policy(self) -> bool:
        """Whether the weights that sampled are those that the gradient is of: the ratio is 1."""
        return self.first and not self.behind


@dataclass(frozen=True)
class Partial:
    """A group's gradient but for the numbers themselves, which travel beside it as one flat fp32 buffer in the order of
    `Policy.parameters`, and are large.

    sha256: of that buffer. tally: what the metrics need. gap: the largest
    difference between sampled and recomputed log-probs, where they must be equal; tolerance: what it might have been. sketches: of the gradient of each part of the
    loss, [parts, 1 + SKETCHED] float64, for a witness to compare. own: as in `Lesson`.
    """

    sha256: str
    tally: Tally
    gap: float
    tolerance: float
    sketches: np.ndarray
    own: dict[str, np.ndarray] | None


def gradient(policy: Policy, group: Trajectories, lesson: Lesson) -> tuple[Partial, np.ndarray]:
    """The gradient of the group's loss, a part at a time, so that memory does not grow with the group.

    Raises SyncError for a policy that does not hold the lesson's adapter, a group that was made from another conditioning than came
    with it, and one on policy whose log-probs are not what this policy gives.
    """
    if policy.loaded[1] != lesson.adapter_sha256:
        raise SyncError(f"a sampler with adapter {policy.loaded[1][:14]} was asked for a gradient under {lesson.adapter_sha256[:14]}")
    group, own = checked(group, lesson), _on_device(policy, lesson, lesson.own)
    tally, gaps, sketches, total = Tally(group), [torch.zeros((), device=policy.device)], [], None
    for part in _parts(policy, group, lesson, own):
        flat = _flat_gradient(policy, part, lesson)
        sketches.append(_sketch(flat))
        total = flat if total is None else total.add_(flat)
        tally.add(part, lesson.groups)
        gaps += [_gap(group, score) for score in part.scores] if lesson.on_policy else []
    gap = _allowed(group, torch.stack(gaps).max().item(), policy)
    buffer = total.cpu().numpy()
    kept = None if own is None else {name: value.cpu().numpy() for name, value in own.items()}
    return Partial(digest(buffer), tally.close(), gap, policy.tolerance, torch.stack(sketches).cpu().numpy(), kept), buffer


def witness(policy: Policy, group: Trajectories, lesson: Lesson, partial: Partial, part: int) -> float:
    """Recomputes one part of a partial that another policy took: what was sampled, and its gradient. Returns the gap between sampled
    and recomputed log-probs; raises SyncError for what is not the same."""
    group = checked(group, lesson).without(policy.shortcuts)
    (found,) = _parts(policy, group, lesson, _on_device(policy, lesson, partial.own), only=part)
    gap = _allowed(group, max(_gap(group, score).item() for score in found.scores), policy) if lesson.on_policy else 0.0
    theirs, ours = partial.sketches[part], _sketch(_flat_gradient(policy, found, lesson)).cpu().numpy()
    if not np.linalg.norm(theirs - ours) <= (SKETCH_GAP * np.linalg.norm(ours) if policy.tolerance else 0.0):
        raise SyncError(
            f"a sampler's gradient is not what the learner's own weights give: prompt {group.prompt.text!r}, part {part}, adapter version "
            f"{policy.loaded[0]}, norm {theirs[0]:.6g} and not {ours[0]:.6g}"
        )
    return gap


def recompute(policy: Policy, group: Trajectories, lesson: Lesson, part: int) -> float:
    """The gap between sampled and recomputed log-probs of one part, by a policy with the weights that sampled. SyncError as `gradient`."""
    group = checked(group, lesson).without(policy.shortcuts)
    with torch.no_grad():
        (score,) = policy.score(group, only=part)
    return _allowed(group, _gap(group, score).item(), policy)


def checked(group: Trajectories, lesson: Lesson) -> Trajectories:
    """What of it the lesson is taught by, fit to be recomputed. SyncError for one whose conditioning is not the one that it was made from."""
    if group.conditioning.recomputed_digest() != group.conditioning_sha256:
        raise SyncError(f"prompt {group.prompt.text!r}: the conditioning that came with its group is not what it was sampled from")
    return (group if lesson.rows is None else group.only(lesson.rows)).without_broken()


def digest(buffer: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(buffer).data).hexdigest()


def _on_device(policy: Policy, lesson: Lesson, own: dict | None) -> dict | None:
    """None where a device repeats itself bit for bit, and of older weights, whose ratio is no rounding."""
    exact = not policy.tolerance or lesson.behind
    return None if exact else {name: torch.tensor(value, device=policy.device) for name, value in (own or {}).items()}


def _parts(policy: Policy, group: Trajectories, lesson: Lesson, own: dict | None, only: int | None = None) -> Iterator[LossPart]:
    advantage_G, policy.anchor = torch.tensor(lesson.advantage, device=policy.device), lesson.anchor
    return OBJECTIVES[lesson.objective.kind](policy, group, advantage_G, lesson.objective, lesson.watched, own, lesson.share, only)


def _flat_gradient(policy: Policy, part: LossPart, lesson: Lesson) -> Tensor:
    """fp32, in the order of the parameters."""
    found = torch.autograd.grad(part.loss / lesson.groups, policy.parameters(), materialize_grads=True)
    return torch.cat([each.reshape(-1).float() for each in found])


def _sketch(flat: Tensor) -> Tensor:
    """float64 [1 + SKETCHED]: the norm and evenly spaced values. Other weights or another group give another one."""
    places = torch.linspace(0, len(flat) - 1, SKETCHED, device=flat.device).long()
    return torch.cat([flat.norm()[None], flat[places]]).double()


def _gap(group: Trajectories, score: Score) -> Tensor:
    """The largest difference between sampled and recomputed log-probs of what counts; infinite for NaN, which is no "no gap"."""
    old = torch.tensor(group.log_probs[score.rows, score.columns], device=score.log_prob.device)
    counted = torch.tensor(group.counted[score.rows, score.columns], device=score.log_prob.device)
    differences = torch.maximum((score.log_prob.detach() - old).abs(), score.log_ratio.detach().abs())
    return torch.where(counted, torch.nan_to_num(differences, nan=torch.inf), 0.0).max()


def _allowed(group: Trajectories, gap: float, policy: Policy) -> float:
    """`gap`, or SyncError where it is more than rounding explains."""
    if gap > policy.tolerance:
        raise SyncError(
            f"the recomputed log-probs differ from the sampled ones by {gap:.3g} per dim before the first update "
            f"(allowed {policy.tolerance:g}): prompt {group.prompt.text!r}, adapter version {group.adapter_version}"
        )
    return gap
