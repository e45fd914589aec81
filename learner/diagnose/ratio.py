"""Arithmetic on the log-probs and ratios that a run reported: what must be true of them, and what it means where it is not."""

import math
from dataclasses import dataclass

import numpy as np

from rollout.motion.schedule import Schedule

CLAMPS = (10, 20)  # of a log-ratio, as implementations have them
FLOAT32_EPS = 2.0**-23
SUMMED = 1e4  # a log-prob beyond this is a sum over dims and not a mean
# The chain and motion of the official checkpoints, where a file of metrics does not say: 50 cosine steps, 196 x 263.
STEPS, DIMS = 50, 196 * 263


@dataclass(frozen=True)
class Cause:
    """Why something was seen, and what to do. `name`: for not saying it twice."""

    name: str
    why: str
    remedy: str


RECOMPUTE = (
    Cause(
        "train_mode", "the recompute alone runs in train mode: dropout, and the mask that drops conditions, are drawn anew there and not "
        "while sampling", "call eval() on every module before sampling and before the recompute, and set lora_dropout to 0",
    ),
    Cause(
        "lost_adapter", "the adapter does not reach the sampler, or the conditioning (text, mask, guidance) is lost on one side",
        "compare digests of adapter and conditioning on both sides; PyTorch's fused attention bypasses LoRA in eval mode",
    ),
    Cause(
        "step_zero", "denoising step t=0 is counted: it adds no noise, so its variance is 0 and its log-prob means nothing",
        "leave t=0 out of ratio, KL and loss",
    ),
)  # fmt: skip
AGAINST_REFERENCE = Cause(
    "against_reference", f"the ratio is against the reference, and summed over all steps and dims ({STEPS} x {DIMS:,} at official "
    "size): even a right one leaves every clamp as soon as the model changes",
    "a ratio per step, averaged over dims, against the policy that sampled: objective.kind grpo",
)  # fmt: skip


def expected_log_prob(schedule: Schedule, dims: int) -> np.ndarray:
    """[S-1] mean log-prob, in nats, of steps t=1 .. S-1 under the policy that sampled them: a pure function of sigma.

    x - mu is sigma times noise there, so each dim has -log sigma - log(2 pi) / 2 - 1/2 on average.
    """
    return -dims * (np.log(schedule.sigma[1:]) + 0.5 * math.log(2 * math.pi * math.e))


def explain(row: dict[str, float], objective: str | None) -> tuple[list[str], list[Cause]]:
    """What one iteration's numbers say, in sentences, and the likely causes in order; ([], []) when all is in order.

    objective: the run's `objective.kind`; None when it is not known, as of another implementation.
    """
    clamp = _clamp(row)
    off = _recompute(row)
    if not (clamp or off or row["max_abs_log_ratio"] >= CLAMPS[0]):
        return [], []
    said = [*clamp, *_difference(row), *off]
    if abs(row.get("mean_advantage", 1.0)) < 1e-3:
        said.append("a mean advantage of 0 is normal: advantages are relative to their group, sum to 0 in each and say nothing of learning")
    if row.get("std_reward", 0.0) > 1e-3:
        mean = f" around a mean of {row['mean_reward']:.4g}" if "mean_reward" in row else ""
        said.append(f"the reward is not the problem: a standard deviation of {row['std_reward']:.4g}{mean} tells samples apart")
    verified = "log_prob_gap" in row and row["log_prob_gap"] <= row.get("log_prob_tolerance", 1e-5)
    return said, [*(() if verified else RECOMPUTE), *((AGAINST_REFERENCE,) if objective in (None, "trajectory") else ())]


def _clamp(row: dict[str, float]) -> list[str]:
    """Whether the mean ratio is e to a clamp of the log-ratio, or a share of that."""
    ratio = row.get("mean_ratio", 1.0)
    for clamp in CLAMPS:
        bound = math.exp(clamp)
        # Within a few steps of float32, in which exp is rounded differently by every device.
        if abs(ratio / bound - 1) < 4 * FLOAT32_EPS:
            return [
                f"the mean ratio {ratio:.9g} is exp({clamp}) = {bound:.1f} in float32: the log-ratio of every sample sits at a clamp of "
                f"{clamp}, where it has no gradient; the ratio no longer measures anything"
            ]
        if 0.2 <= ratio / bound < 1 and row["max_abs_log_ratio"] <= clamp:
            return [f"the mean ratio {ratio:.4g} is {ratio / bound:.0%} of exp({clamp}): as many samples may sit at a clamp of {clamp}"]
    return []


def _difference(row: dict[str, float]) -> list[str]:
    names = ("mean_log_ratio", "mean_log_prob_current", "mean_log_prob_ref")
    if not all(math.isfinite(row.get(name, math.nan)) for name in names):
        return []
    log_ratio, current, reference = (row[name] for name in names)
    equal = abs(current - reference - log_ratio) <= max(1e-4 * abs(log_ratio), 1e-6)
    if not equal or abs(log_ratio) < CLAMPS[0]:
        return []
    return [
        f"the log-ratio {log_ratio:.6g} is the difference of the two log-probs, {current:.8g} - {reference:.8g} = "
        f"{current - reference:.7g}: it is summed, unclamped, and against the reference"
    ]


def _recompute(row: dict[str, float]) -> list[str]:
    """Whether summed log-probs are what a right recompute must give."""
    current = row.get("mean_log_prob_current", math.nan)
    if not SUMMED < abs(current) < math.inf:
        return []
    schedule = Schedule.create("cosine", STEPS)
    expected = float(expected_log_prob(schedule, DIMS).sum())
    terms = (STEPS - 1) * DIMS
    if abs(current - expected) < 10 * math.sqrt(terms / 2):  # ten standard errors of a sum of squared noise
        return []
    sentence = (
        f"the recompute disagrees with the sampler: of samples that this policy drew, the log-prob is a pure function of sigma, "
        f"{expected:.0f} for {STEPS} cosine steps (t >= 1) of {DIMS:,} dims (a mean step has {expected / (STEPS - 1):.0f}), and "
        f"{current:.1f} is {abs(current - expected):.0f} nats off"
    )
    reference = row.get("mean_log_prob_ref", math.nan)
    if abs(reference - expected) > 10 * math.sqrt(terms / 2):
        sentence += f"; the reference's is {abs(reference - expected):.0f} off, so what is wrong is wrong without the adapter too"
    return [sentence]
