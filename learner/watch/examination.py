"""Before and after: the same prompts and noise under the base and the tuned model, read by the reward and by the judge."""

import numpy as np
from scipy.special import stdtrit

from learner.watch.divergence import LEVEL, paired_change
from rewards.family import Examination

LESS_IS_BETTER = ("fid", "fid_unit", "foot_skate", "ground_penetration", "floating", "root_drift", "feature_consistency")
NEITHER = ("jerk", "smoothness", "diversity")  # to be held against real data, and neither more nor less of it is better
CHANGES = {"better": "better", "worse": "worse", "none": "no clear change", "moved": "changed"}  # in words


def change_of(name: str, gain: float, half: float | None) -> str:
    """Of `CHANGES` the one that a gain with this interval is (None: it has none); "none" where 0 is inside."""
    if gain == 0 or (half is not None and not abs(gain) > half):
        return "none"
    return "moved" if name in NEITHER else "better" if (gain < 0) == (name in LESS_IS_BETTER) else "worse"


def interval(values_PG: np.ndarray, fixed_prompts: bool) -> dict[str, float]:
    """Mean and 95 % half-width (Student's t) of P prompts x G samples.

    Held-out prompts stand for all prompts of their kind, so their interval is over prompt means as in `paired_change`. Training
    prompts are a fixed set and only the noise is random: its standard error is sqrt(sum of each prompt's variance / G) / P.
    Samples that failed (NaN) are left out.
    """
    values_PG = np.asarray(values_PG, np.float64)
    values_PG = values_PG[np.isfinite(values_PG).any(axis=1)]
    scored_P = np.isfinite(values_PG).sum(axis=1)
    prompts = len(values_PG)
    if not prompts:
        return {"mean": np.nan, "ci95": np.nan}
    half = np.nan
    if not fixed_prompts:
        half = paired_change(values_PG).half
    elif scored_P.min() > 1:
        error = np.sqrt((np.nanvar(values_PG, axis=1, ddof=1) / scored_P).sum()) / prompts
        half = stdtrit((scored_P - 1).sum(), 1 - LEVEL / 2) * error
    return {"mean": float(np.nanmean(values_PG)), "ci95": float(half)}


def compare(before: list[Examination], after: list[Examination], fixed_prompts: bool) -> dict[str, dict]:
    """`reward` and `judge`, each with before, after and gain; the gain is paired by prompt and noise. `components`: of their raw
    values the means before and after, and the gain."""
    result, runs = {}, {"before": before, "after": after}
    for name in judged_by(before):
        old, new = (np.stack([getattr(e, name) for e in run]) for run in runs.values())
        parts = {"before": old, "after": new, "gain": new - old}
        result[name] = {part: interval(values_PG, fixed_prompts) for part, values_PG in parts.items()}
    old, new = ({name: np.stack([e.components[name] for e in run]) for name in before[0].components} for run in runs.values())
    gains = gained(old, new, fixed_prompts)
    means = {when: {name: interval(value, fixed_prompts)["mean"] for name, value in of.items()} for when, of in (("before", old), ("after", new))}
    result["components"] = {name: {when: means[when][name] for when in means} | {"gain": gains[name]} for name in gains}
    return result


def gained(before: dict[str, np.ndarray], after: dict[str, np.ndarray], fixed_prompts: bool) -> dict[str, dict[str, float]]:
    """The gain of each of some numbers [P,G], by name: on outputs that have it before and after."""
    return {name: interval(after[name] - before[name], fixed_prompts) for name in before}


def best_of(before: list[Examination], base: dict[str, np.ndarray], tuned: dict[str, np.ndarray]) -> dict[str, dict]:
    """What the reward gives without training: of each prompt's samples under the base model it chooses the one that it likes best.

    base, tuned: numbers [P,G] by name. By name `before`, of the chosen, `after`, of a sample of the tuned model, and `gain`, paired
    by prompt. Prompts without a scored sample are left out.
    """
    reward_PG = np.stack([e.reward for e in before])
    scored_P = np.isfinite(reward_PG).any(axis=1)
    best_P1 = np.where(np.isfinite(reward_PG), reward_PG, -np.inf).argmax(axis=1)[:, None]
    found = {}
    for name, values_PG in base.items():
        chosen_P1, own_PG = np.take_along_axis(values_PG, best_P1, axis=1)[scored_P], tuned[name][scored_P]
        parts = {"before": chosen_P1, "after": own_PG, "gain": own_PG - chosen_P1}
        found[name] = {part: interval(values, fixed_prompts=False) for part, values in parts.items()}
    return found


def judged_by(results: list[Examination]) -> list[str]:
    """The reward, and the judge where the family has one."""
    return ["reward"] if results[0].judge is None else ["reward", "judge"]
