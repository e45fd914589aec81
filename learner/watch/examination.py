"""Before and after: the same prompts and noise under the base and the tuned model, read by the reward and by the judge."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rewards.compose import raw_total
from rewards.motion.metrics import DIVERSITY_PAIRS, diversity, fid, statistics
from rewards.motion.physics import ALL_PHYSICS
from rewards.reward import Evaluator, Motions
from rewards.scoring import Scorer
from rollout.motion.features import features_to_joints, rederived_motions
from rollout.policy import Group


@dataclass(frozen=True)
class Examination:
    """One group as evaluation reads it, all [G]: reward and judge; `physics` by name, in the units of `rewards/motion/physics.py`;
    `embedding` [G,D] is the judge's.

    components: raw values by name, and `reward` their weighted sum, without normalisation in a group: so it means the
    same before and after training. NaN for a sample that failed.
    """

    reward: np.ndarray
    components: dict[str, np.ndarray]
    judge: np.ndarray
    embedding: np.ndarray
    physics: dict[str, np.ndarray]


def as_motions(*groups: Group) -> Motions:
    """Groups as rewards read them, one after the other; see `rederived_motions`."""
    frames = max(group.outputs.shape[1] for group in groups)
    produced = np.concatenate([np.pad(g.outputs, ((0, 0), (0, frames - g.outputs.shape[1]), (0, 0))) for g in groups])
    prompts = [group.conditioning.prompt for group in groups for _ in range(len(group))]
    return Motions(
        *rederived_motions(produced, np.concatenate([group.lengths for group in groups])), [prompt.text for prompt in prompts],
        [prompt.tokens for prompt in prompts], produced, np.repeat(np.arange(len(groups)), [len(group) for group in groups]),
    )  # fmt: skip


def examine(groups: Sequence[Group], scorer: Scorer, judge: Evaluator) -> list[Examination]:
    """Each group by every component of the reward, the judge and physics."""
    found = []
    for group, scores in zip(groups, scorer(as_motions(*groups)).split([len(group) for group in groups])):
        motions, joints = as_motions(group), features_to_joints(group.outputs)
        found.append(Examination(
            raw_total(scorer.settings, scores.values), scores.values, judge(motions),
            judge.embed_motion(motions.features, motions.lengths), {name: of(joints, group.lengths) for name, of in ALL_PHYSICS.items()},
        ))  # fmt: skip
    return found


def interval(values_PG: np.ndarray, fixed_prompts: bool) -> dict[str, float]:
    """Mean and 95 % half-width (1.96 standard errors) of P prompts x G samples.

    Held-out prompts stand for all prompts of their kind, so their interval is over prompt means, sd / sqrt(P). Training
    prompts are a fixed set and only the noise is random: sqrt(sum of each prompt's variance / G) / P. Samples that failed
    (NaN) are left out.
    """
    values_PG = np.asarray(values_PG, np.float64)
    values_PG = values_PG[np.isfinite(values_PG).any(axis=1)]
    scored_P = np.isfinite(values_PG).sum(axis=1)
    prompts = len(values_PG)
    if not prompts:
        return {"mean": np.nan, "ci95": np.nan}
    if fixed_prompts:
        error = np.sqrt((np.nanvar(values_PG, axis=1, ddof=1) / scored_P).sum()) / prompts if scored_P.min() > 1 else np.nan
    else:
        error = np.nanmean(values_PG, axis=1).std(ddof=1) / np.sqrt(prompts) if prompts > 1 else np.nan
    return {"mean": float(np.nanmean(values_PG)), "ci95": float(1.96 * error)}


def compare(before: list[Examination], after: list[Examination], fixed_prompts: bool) -> dict[str, dict]:
    """`reward` and `judge`, each with before, after and gain; the gain is paired by prompt and noise. `components`: means of
    their raw values, before and after."""
    result, runs = {}, {"before": before, "after": after}
    for name in ("reward", "judge"):
        old, new = (np.stack([getattr(e, name) for e in run]) for run in runs.values())
        parts = {"before": old, "after": new, "gain": new - old}
        result[name] = {part: interval(values_PG, fixed_prompts) for part, values_PG in parts.items()}
    result["components"] = {
        name: {when: interval(np.stack([e.components[name] for e in run]), fixed_prompts)["mean"] for when, run in runs.items()}
        for name in before[0].components
    }
    return result


def quality(run: list[Examination], real_mean: np.ndarray | None, real_cov: np.ndarray | None) -> dict[str, float | None]:
    """FID to real held-out motion (None without its statistics) and diversity, in the judge's embedding; means of physics.

    Motions that are not finite are left out; None for what is left with too few.
    """
    embeddings = np.concatenate([e.embedding for e in run])
    embeddings = embeddings[np.isfinite(embeddings).all(axis=1)]
    enough = len(embeddings) > 2
    return {
        "fid": fid(real_mean, real_cov, *statistics(embeddings)) if enough and real_mean is not None else None,
        "diversity": diversity(embeddings, pairs=min(DIVERSITY_PAIRS, len(embeddings) - 1)) if enough else None,
        **{name: interval(np.stack([e.physics[name] for e in run]), False)["mean"] for name in ALL_PHYSICS},
    }
