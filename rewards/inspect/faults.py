"""When a reward cannot teach: each fault found by doing to the motions what should, or should not, change their scores."""

from dataclasses import dataclass

import numpy as np

from rewards.inspect.probes import Score, held_still, members, of_mixed_lengths, scored_in, under_other_prompts, with_other_padding
from rewards.motion.motions import Motions

FLAT = 1e-4  # std of a group below which the learner takes no step from it (objective.advantage_eps)
CROWDED = 0.5  # share of scores at one end that is called saturated
SQUEEZED = 0.02  # part of the whole range into which a saturated scale presses 80 % of the scores
HARDLY = 0.1  # of the scores' std: a preference for the right prompt below it is none
ROUNDING = 1e-4, 1e-3  # of the largest score, and of the scores' std: what the shape of a batch may change
ALONE = 64  # motions that are scored one by one: slow for networks and servers


@dataclass(frozen=True)
class Fault:
    """One thing that was found, in words. serious: the reward cannot teach with it, or not what it should."""

    fault: str
    words: str
    serious: bool = True


@dataclass(frozen=True)
class Probed:
    """Scores float32 [N] of one component under every probe. other_prompts is None when all prompts are the same; `alone`
    is of the first motions only, scored one by one, `grouped` of all, each group scored by itself."""

    plain: np.ndarray
    other_prompts: np.ndarray | None
    frozen: np.ndarray
    mixed: np.ndarray
    reordered: np.ndarray
    alone: np.ndarray
    grouped: np.ndarray
    padded: np.ndarray


def probe(score: Score, motions: Motions) -> list[Probed]:
    """All probes of each component that `score` gives, in its order."""
    mixed, others = of_mixed_lengths(motions), under_other_prompts(motions)
    places = np.arange(len(mixed))
    shuffled, few = np.random.default_rng(0).permutation(places), mixed.rows(places[:ALONE])
    runs = [
        score(motions), None if others is None else score(others), score(held_still(motions)), score(mixed),
        scored_in([shuffled], score, mixed), scored_in(np.split(places[:ALONE], len(few)), score, few),
        scored_in(members(mixed.groups), score, mixed), score(with_other_padding(motions)),
    ]  # fmt: skip
    return [Probed(*(None if run is None else run[:, c] for run in runs)) for c in range(runs[0].shape[1])]


def find_faults(probed: Probed, groups: np.ndarray, whole: bool) -> list[Fault]:
    """Findings on one component. whole: it is all that is trained on; what a term beside others may lack is then serious."""
    found = (
        _failures(probed), _saturation(probed.plain, whole), _spread(probed.plain, groups, whole), _prompts(probed, groups, whole),
        _neighbours(probed), _padding(probed), _stillness(probed, groups, whole),
    )  # fmt: skip
    return [finding for finding in found if finding]


def flat_groups(values: np.ndarray, groups: np.ndarray) -> float:
    """Share of the groups whose scores differ by less than the learner can use; those with less than two scores count."""
    parts = [values[rows][np.isfinite(values[rows])] for rows in members(groups)]
    return float(np.mean([len(part) < 2 or part.std() < FLAT for part in parts]))


def crowded(values: np.ndarray) -> tuple[float, float]:
    """The end of the range that most scores lie at exactly, and their share; NaN and 0 without scores."""
    finite = values[np.isfinite(values)]
    if not len(finite):
        return np.nan, 0.0
    return max(((float(end), float(np.mean(finite == end))) for end in (finite.min(), finite.max())), key=lambda found: found[1])


def _constant(values: np.ndarray) -> bool:
    finite = values[np.isfinite(values)]
    return len(finite) > 1 and np.ptp(finite) <= 1e-6 * np.abs(finite).max()


def _failures(probed: Probed) -> Fault | None:
    if failed := int((~np.isfinite(probed.plain)).sum()):
        return Fault("nan", f"fails on {failed} of {len(probed.plain)} motions (an error, NaN or infinite); training leaves them out")


def _saturation(values: np.ndarray, whole: bool) -> Fault | None:
    finite = values[np.isfinite(values)]
    if len(finite) < 2 or _constant(values):
        return None
    end, share = crowded(values)
    low, high = np.percentile(finite, [10, 90])
    if share > CROWDED:
        words = f"{share:.0%} of the motions have the same score {end:.4g}, an end of its range: it cannot tell them apart"
    elif high - low < SQUEEZED * np.ptp(finite):
        words = f"80 % of the motions score {low:.4g} to {high:.4g}, in a range of {finite.min():.4g} to {finite.max():.4g}"
    else:
        return None
    return Fault("saturated", f"saturated: {words}", whole)


def _spread(values: np.ndarray, groups: np.ndarray, whole: bool) -> Fault | None:
    finite = values[np.isfinite(values)]
    if _constant(values):
        return Fault("constant", f"constant: every motion scores {finite[0]:.4g}; there is nothing to learn")
    flat = flat_groups(values, groups)
    if len(finite) and flat > CROWDED:
        words = f"no spread inside groups: in {flat:.0%} of them all motions score the same (std below {FLAT:g}) and teach nothing"
        return Fault("flat", words, whole)


def _prompts(probed: Probed, groups: np.ndarray, whole: bool) -> Fault | None:
    if probed.other_prompts is None or _constant(probed.plain):
        return None
    if not _moved(probed.other_prompts, probed.plain):
        words = "blind to the prompt: a motion scores the same under the prompt of another"
        beside = "" if whole else "; as a term beside one that reads it, this is as it should be"
        return Fault("prompt-blind", words + beside, whole)
    mean, half = _paired(probed.plain - probed.other_prompts, groups)
    more = f"a motion scores {mean:+.3g}±{half:.2g} more under its own than under another's"
    if mean + half < HARDLY * np.nanstd(probed.plain):
        return Fault("prompt-blind", f"does not prefer the right prompt: {more}", whole)
    if mean - half <= 0:
        words = f"with so few prompts it cannot be told whether it prefers the right one: {more}"
        return Fault("prompts unclear", words, serious=False)


def _neighbours(probed: Probed) -> Fault | None:
    if moved := _moved(probed.reordered, probed.mixed):
        words = f"depends on the order of the batch: shuffled, {moved} of {len(probed.mixed)} motions of mixed lengths score differently"
        return Fault("order", words)
    together = probed.mixed[: len(probed.alone)]
    moved = _moved(probed.alone, together, like=probed.mixed)
    if moved and not _moved(probed.grouped, probed.mixed):
        return Fault("group", "reads the other motions of its group, as a diversity reward is meant to", serious=False)
    if moved:
        words = f"depends on its neighbours: scored alone, {moved} of {len(together)} motions score differently"
        return Fault("neighbours", words)


def _padding(probed: Probed) -> Fault | None:
    if moved := _moved(probed.padded, probed.plain):
        words = f"reads frames past a motion's length: with others there, {moved} of {len(probed.plain)} motions score differently"
        return Fault("padding", words)


def _stillness(probed: Probed, groups: np.ndarray, whole: bool) -> Fault | None:
    mean, half = _paired(probed.frozen - probed.plain, groups)
    if mean - half > 0:
        words = f"standing still pays: motions frozen in their middle pose score {mean:+.3g}±{half:.2g} more than they do moving"
        return Fault("still", words, whole)


def _moved(found: np.ndarray, expected: np.ndarray, like: np.ndarray | None = None) -> int:
    """How many scores differ by more than rounding, which goes by the scores `like` (those expected)."""
    like = expected if like is None else like
    finite = like[np.isfinite(like)]
    allowed = ROUNDING[0] * np.abs(finite).max(initial=0) + ROUNDING[1] * (finite.std() if len(finite) else 0)
    gap = np.abs(np.subtract(found, expected, dtype=np.float64))
    both = np.isfinite(found) & np.isfinite(expected)
    return int(np.where(both, gap > allowed, np.isfinite(found) != np.isfinite(expected)).sum())


def _paired(difference: np.ndarray, groups: np.ndarray) -> tuple[float, float]:
    """Mean over groups and its 95 % half-width (Student's t); NaN with fewer than two groups."""
    parts = [difference[rows][np.isfinite(difference[rows])] for rows in members(groups)]
    means = np.array([part.mean() for part in parts if len(part)], np.float64)
    if len(means) < 2:
        return np.nan, np.nan
    from scipy.special import stdtrit

    return float(means.mean()), float(stdtrit(len(means) - 1, 0.975) * means.std(ddof=1) / np.sqrt(len(means)))
