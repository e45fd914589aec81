"""The losses a group can be trained with. Each is a generator of parts, so that the learner frees a graph before the next.

Both read the same recompute (`Policy.score_step`) and differ in what they make of it.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from learner.config.settings import Objective
from rollout.policy import Group, Policy, StepScore

DUAL_CLIP = 3.0  # bound on the ratio of a negative advantage (Ye et al. 2020)
ORIGINAL_CLAMP = 10.0  # the original's bound on its log-ratio


@dataclass(frozen=True)
class LossPart:
    """`loss` is a scalar: the mean over the group of a share of its objective; the shares of a group add up.

    The rest is for reading, detached: `scores` the recomputed steps, `log_ratio` (before any clamp), `ratio` and `clipped`
    [G] (one step, or the whole trajectory), `policy_loss` and `kl_penalty` the two terms of `loss`.
    """

    loss: Tensor
    policy_loss: Tensor
    kl_penalty: Tensor
    log_ratio: Tensor
    ratio: Tensor
    clipped: Tensor
    scores: list[tuple[int, StepScore]]


def clipped_surrogate(ratio: Tensor, advantage: Tensor, epsilon: float) -> Tensor:
    """-min(r A, clip(r, 1 +- epsilon) A), and never more than DUAL_CLIP |A| where A < 0; elementwise (PPO, dual clip)."""
    surrogate = torch.minimum(ratio * advantage, ratio.clamp(1 - epsilon, 1 + epsilon) * advantage)
    return -torch.where(advantage < 0, torch.maximum(surrogate, DUAL_CLIP * advantage), surrogate)


def was_clipped(ratio: Tensor, advantage: Tensor, epsilon: float) -> Tensor:
    """True where the clip removed the gradient: past the bound on the side the advantage favours."""
    return torch.where(advantage > 0, ratio > 1 + epsilon, ratio < 1 - epsilon) & (advantage != 0)


def grpo_loss(policy: Policy, group: Group, advantage_G: Tensor, options: Objective, reference_steps: set[int]) -> Iterator[LossPart]:
    """One part per trained denoising step: a clipped ratio against the policy that sampled, plus kl_penalty * KL.

    `ratio_norm` already has a uniform gradient in x0 space (its unit is mean(eps dx0)); `raw` is d log p per dim and is
    brought there by the weight sigma/c1. `step_weight: none` leaves each step its likelihood weight instead.
    """
    steps = group.log_probs.shape[1]
    for k in range(steps):
        score = policy.score_step(group, k, reference=k in reference_steps)
        if options.ratio == "ratio_norm":
            log_ratio, weight = score.log_ratio, torch.ones_like(score.x0_weight)
            likelihood_weight = 1 / score.x0_weight
        else:
            old = torch.tensor(group.log_probs[:, k], device=score.log_prob.device)
            log_ratio, weight = score.log_prob - old, score.x0_weight
            likelihood_weight = torch.ones_like(weight)
        weight = weight if options.step_weight == "x0" else likelihood_weight
        ratio = log_ratio.exp()
        policy_loss = (weight * clipped_surrogate(ratio, advantage_G, options.clip_epsilon)).mean() / steps
        penalty = torch.zeros_like(policy_loss)
        if options.kl_penalty > 0:
            penalty = options.kl_penalty * score.kl.mean() / steps
        clipped = was_clipped(ratio, advantage_G, options.clip_epsilon)
        yield LossPart(policy_loss + penalty, policy_loss.detach(), penalty.detach(), log_ratio.detach(), ratio.detach(), clipped, [(k, score)])


def trajectory_loss(policy: Policy, group: Group, advantage_G: Tensor, options: Objective, reference_steps: set[int]) -> Iterator[LossPart]:
    """The original's objective: exp of the log-ratio to the *reference*, summed over steps and dims and clamped to +-10.

    Kept so that its failure can be shown: the sum runs over ~10^5 dims, so any real change of the model leaves the
    clamp, where the gradient is 0 on one side and the ratio e^10 on the other.
    """
    valid_dims = group.conditioning.prompt.length * group.outputs.shape[2]
    scores = [(k, policy.score_step(group, k, reference=True)) for k in range(group.log_probs.shape[1])]
    unclamped = valid_dims * torch.stack([score.log_prob - score.log_prob_ref for _, score in scores]).sum(0)
    log_ratio = unclamped.clamp(-ORIGINAL_CLAMP, ORIGINAL_CLAMP)
    ratio = log_ratio.exp()
    surrogate = torch.minimum(ratio * advantage_G, ratio.clamp(1 - options.clip_epsilon, 1 + options.clip_epsilon) * advantage_G)
    policy_loss, penalty = -surrogate.mean(), options.kl_penalty * log_ratio.mean()
    clipped = was_clipped(ratio, advantage_G, options.clip_epsilon)
    yield LossPart(policy_loss + penalty, policy_loss.detach(), penalty.detach(), unclamped.detach(), ratio.detach(), clipped, scores)


OBJECTIVES = {"grpo": grpo_loss, "trajectory": trajectory_loss}
