"""The losses a group can be trained with. Each is a generator of parts, so that the learner frees a graph before the next.

All read the same recompute (`Policy.score`) and differ in what they make of it. What an action and its log-prob are is the policy's:
of one of forward objectives a noise level, and minus the error of its prediction there.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from learner.config.settings import Objective
from rollout.policy import Policy, Score, Trajectories

DUAL_CLIP = 3.0  # bound on the ratio of a negative advantage (Ye et al. 2020)
ORIGINAL_CLAMP = 10.0  # the original's bound on its log-ratio


@dataclass(frozen=True)
class LossPart:
    """`loss` is a scalar, a share of the group's objective; the shares of a group add up.

    The rest is for reading, detached: `scores` the recomputed actions, `log_ratio` (before any clamp), `ratio` and `clipped`
    of those that count, `policy_loss` and `kl_loss` the two terms of `loss`.
    """

    loss: Tensor
    policy_loss: Tensor
    kl_loss: Tensor
    log_ratio: Tensor
    ratio: Tensor
    clipped: Tensor
    scores: list[Score]


@dataclass(frozen=True)
class Share:
    """What a group's values are divided by, so that the mean over the groups of a step is what `objective.normalise` says:
    `of_sample` [G] each sample's (None: 1), `of_group` their sum."""

    of_sample: np.ndarray | None
    of_group: float


def shares(counted: Sequence[np.ndarray], options: Objective) -> list[Share]:
    """One for each group of an optimizer step, from which of its actions count, bool [G,K]: known before the first backward pass,
    and so the same however the groups are cut up."""
    samples = sum(int(group.any(axis=1).sum()) for group in counted) / len(counted)
    if options.normalise == "sequence_mean":
        return [Share(np.maximum(group.sum(axis=1), 1), samples) for group in counted]
    of_group = options.constant * samples if options.normalise == "constant" else sum(int(group.sum()) for group in counted) / len(counted)
    return [Share(None, of_group)] * len(counted)


def clipped_surrogate(ratio: Tensor, advantage: Tensor, low: float, high: float | None = None) -> Tensor:
    """-min(r A, clip(r, 1 - low, 1 + high) A), and never more than DUAL_CLIP |A| where A < 0; elementwise (PPO, dual clip).

    high: None = low; a higher one lets unlikely actions gain (DAPO, Yu et al. 2025)."""
    surrogate = torch.minimum(ratio * advantage, ratio.clamp(1 - low, 1 + (low if high is None else high)) * advantage)
    return -torch.where(advantage < 0, torch.maximum(surrogate, DUAL_CLIP * advantage), surrogate)


def was_clipped(ratio: Tensor, advantage: Tensor, low: float, high: float | None = None) -> Tensor:
    """True where the clip removed the gradient: past the bound on the side the advantage favours."""
    return torch.where(advantage > 0, ratio > 1 + (low if high is None else high), ratio < 1 - low) & (advantage != 0)


def negative_aware(score: Score, log_ratio: Tensor, optimality: Tensor, beta: float) -> Tensor:
    """(1 + a)/2 MSE(x+) + (1 - a)/2 MSE(x-) with a = `optimality` in -1 .. 1 and x+- the prediction of the policy that sampled, moved
    by +- beta times the way to the present one; elementwise (DiffusionNFT, arXiv 2509.16117).

    Multiplied out, so that it reads a `Score` alone: MSE_old - beta a log r + beta (beta - a) |moved|^2. Where the present policy is
    the one that sampled, its gradient is that of advantage-weighted matching times beta."""
    return (log_ratio - score.log_prob).detach() - beta * optimality * log_ratio + beta * (beta - optimality) * score.moved


def action_loss(
    policy: Policy, group: Trajectories, advantage_G: Tensor, options: Objective, reference: frozenset[int], own: dict | None = None,
    share: Share | None = None, only: int | None = None,
) -> Iterator[LossPart]:  # fmt: skip
    """One part for every `Score`: a clipped ratio against the policy that sampled (`nft`: `negative_aware`), plus kl_penalty * KL, over
    the actions that count divided by `share` (None: this group is all of its step). only: the one part that is wanted.

    `ratio_norm` already has a uniform gradient on its scale (for motion x0 space: its unit is mean(eps dx0)); `raw` is
    d log p and is brought there by `Score.weight`. `step_weight: none` leaves each action its likelihood weight instead.
    own: None where a device repeats itself bit for bit. Elsewhere the first recompute, kept here by columns, stands for the sampled
    log-probs: the ratio is exactly 1 before the first step, and what another kernel rounds is no ratio.
    """
    counted_GK = torch.tensor(group.counted, device=policy.device)
    share = share or shares([group.counted], options)[0]
    actions = torch.tensor(share.of_group, dtype=torch.float32, device=policy.device)
    of_sample = None if share.of_sample is None else torch.tensor(share.of_sample, device=policy.device)
    clip = options.clip_epsilon, options.clip_epsilon_high
    for score in policy.score(group, reference, only):
        counted = counted_GK[score.rows, score.columns]
        of_row = [-1, *[1] * (counted.ndim - 1)]
        advantage = advantage_G[score.rows].reshape(of_row)
        if options.ratio == "ratio_norm":
            log_ratio, weight, likelihood_weight = score.log_ratio, torch.ones_like(score.weight), 1 / score.weight
        else:
            old = torch.tensor(group.log_probs[score.rows, score.columns], device=policy.device)
            log_ratio = score.log_prob - torch.where(counted, old, score.log_prob.detach())  # NaN times 0 would be NaN
            weight, likelihood_weight = score.weight, torch.ones_like(score.weight)
        if own is not None:
            log_ratio = log_ratio - own.setdefault(f"{score.rows} {score.columns}", log_ratio.detach())
        weight = weight if options.step_weight == "x0" else likelihood_weight
        if of_sample is not None:
            weight = weight / of_sample[score.rows].reshape(of_row)
        ratio = log_ratio.exp()
        if options.kind == "nft":
            values = negative_aware(score, log_ratio, advantage / options.advantage_clip, options.nft_beta)
            clipped = torch.zeros_like(counted)
        else:
            values, clipped = clipped_surrogate(ratio, advantage, *clip), was_clipped(ratio, advantage, *clip)
        policy_loss = _share(weight * values, counted, actions)
        kl_loss = torch.zeros_like(policy_loss)
        if options.kl_penalty > 0:
            kl = score.kl if score.anchor_kl is None else score.anchor_kl
            kl_loss = options.kl_penalty * _share(kl if of_sample is None else kl / of_sample[score.rows].reshape(of_row), counted, actions)
        seen = (values.detach()[counted] for values in (log_ratio, ratio, clipped))
        yield LossPart(policy_loss + kl_loss, policy_loss.detach(), kl_loss.detach(), *seen, [score])


def _share(values: Tensor, counted: Tensor, actions: Tensor) -> Tensor:
    """What `values` add to their sum by `actions`. Those that do not count have no gradient, whatever they hold."""
    return torch.where(counted, values, 0.0).sum() / actions


def trajectory_loss(
    policy: Policy, group: Trajectories, advantage_G: Tensor, options: Objective, reference: frozenset[int], own: dict | None = None,
    share: Share | None = None, only: int | None = None,
) -> Iterator[LossPart]:  # fmt: skip
    """The original's objective: exp of the log-ratio to the *reference*, summed over actions and dims and clamped to +-10: one part.

    Kept so that its failure can be shown: for motion the sum runs over ~10^5 dims, so any real change of the model leaves the
    clamp, where the gradient is 0 on one side and the ratio e^10 on the other.
    """
    counted_GK, whole = torch.tensor(group.counted, device=policy.device), torch.tensor(~group.broken, device=policy.device)
    scores = list(policy.score(group, frozenset(range(group.log_probs.shape[1]))))
    summed = [_summed(s.dims * (s.log_prob - s.log_prob_ref), counted_GK[s.rows, s.columns], s.rows, len(group)) for s in scores]
    unclamped = torch.stack(summed).sum(0)
    log_ratio = unclamped.clamp(-ORIGINAL_CLAMP, ORIGINAL_CLAMP)
    ratio = log_ratio.exp()
    surrogate = torch.minimum(ratio * advantage_G, ratio.clamp(1 - options.clip_epsilon, 1 + options.clip_epsilon) * advantage_G)
    policy_loss = -_share(surrogate, whole, whole.sum())
    kl_loss = options.kl_penalty * _share(log_ratio, whole, whole.sum())
    clipped = was_clipped(ratio, advantage_G, options.clip_epsilon)
    seen = (values.detach()[whole] for values in (unclamped, ratio, clipped))
    yield LossPart(policy_loss + kl_loss, policy_loss.detach(), kl_loss.detach(), *seen, scores)


def _summed(values: Tensor, counted: Tensor, rows: slice, samples: int) -> Tensor:
    """[G]: over the actions that count of one score, 0 for samples that it is not of."""
    kept = torch.where(counted, values, 0.0)
    start, stop, _ = rows.indices(samples)
    return torch.nn.functional.pad(kept if kept.ndim == 1 else kept.sum(1), (start, samples - stop))


OBJECTIVES = {"grpo": action_loss, "awm": action_loss, "nft": action_loss, "trajectory": trajectory_loss}
