"""Before and after: the same prompts and noise under the base and the tuned model, read by the reward and by the judge."""

from dataclasses import dataclass

import numpy as np

from rewards.metrics import diversity, fid, statistics
from rewards.physics import foot_skate
from rewards.reward import Motions, Reward
from rollout.motion.features import features_to_joints
from rollout.policy import Group


@dataclass(frozen=True)
class Examination:
    """One group as evaluation reads it, all [G]: reward and judge totals, foot skate in m/s; `embedding` [G,D] is the judge's."""

    reward: np.ndarray
    judge: np.ndarray
    embedding: np.ndarray
    foot_skate: np.ndarray


def as_motions(group: Group) -> Motions:
    return Motions(group.outputs, group.lengths, [group.conditioning.prompt.text] * len(group))


def examine(group: Group, reward: Reward, judge: Reward) -> Examination:
    motions = as_motions(group)
    return Examination(
        reward(motions)["total"], judge(motions)["total"], judge.embed_motion(motions.features, motions.lengths),
        foot_skate(features_to_joints(group.outputs), group.lengths),
    )  # fmt: skip


def interval(values_PG: np.ndarray) -> dict[str, float]:
    """Mean and 95 % half-width. Samples of one prompt are not independent draws of a prompt, so the interval is over
    prompt means: 1.96 sd / sqrt(P)."""
    prompt_means = np.asarray(values_PG, np.float64).mean(axis=1)
    spread = prompt_means.std(ddof=1) if len(prompt_means) > 1 else np.nan
    return {"mean": float(prompt_means.mean()), "ci95": float(1.96 * spread / np.sqrt(len(prompt_means)))}


def compare(before: list[Examination], after: list[Examination]) -> dict[str, dict]:
    """`reward` and `judge`, each with before, after and gain; the gain is paired by prompt and noise."""
    result = {}
    for name in ("reward", "judge"):
        old_PG, new_PG = (np.stack([getattr(e, name) for e in run]) for run in (before, after))
        result[name] = {"before": interval(old_PG), "after": interval(new_PG), "gain": interval(new_PG - old_PG)}
    return result


def quality(run: list[Examination], real_mean: np.ndarray | None, real_cov: np.ndarray | None) -> dict[str, float | None]:
    """FID to real held-out motion (None without its statistics) and diversity, in the judge's embedding; foot skate, m/s."""
    embeddings = np.concatenate([e.embedding for e in run])
    pairs = min(300, len(embeddings) - 1)
    return {
        "fid": None if real_mean is None else fid(real_mean, real_cov, *statistics(embeddings)),
        "diversity": diversity(embeddings, pairs=pairs),
        "foot_skate": float(np.concatenate([e.foot_skate for e in run]).mean()),
    }
