"""Everything that can be said of a reward from the motions it scores: distributions, faults, correlations, calibration."""

from collections import Counter
from dataclasses import dataclass

import numpy as np

from rewards.components import NORMALISATIONS, Component
from rewards.compose import Composer, raw_total
from rewards.inspect.faults import Fault, find_faults, flat_groups, probe
from rewards.inspect.probes import members
from rewards.motion.motions import Motions
from rewards.motion.real_band import RealBand, real_measures
from rewards.scoring import Scorer, Scores
from rollout.motion.skeleton import FORMATS

TOTAL = "reward"
OF_A_COMPONENT = ("nan", "order", "neighbours", "group", "padding")  # said once, of the component, and not of the sum again


@dataclass(frozen=True)
class Inspection:
    """values: float32 [N] by component, and of their weighted raw sum when there are several. findings: by the same names.

    reasons: of failed samples, each with how many it failed. zero_std: by the same names, share of groups whose scores are
    the same; that of the trained total (components normalised) under "trained". components: correlation [C, C] between
    them, inside groups. normalisations: by component, correlation of the advantages of each normalisation with those of raw.
    real: mean by name on real motion, where known. physical: lines on measures beside those of real motion. suggestions:
    lines on scale and max_distance.
    """

    groups: np.ndarray
    values: dict[str, np.ndarray]
    zero_std: dict[str, float]
    findings: dict[str, list[Fault]]
    reasons: dict[str, int]
    correlation: np.ndarray
    normalisations: dict[str, dict[str, float]]
    real: dict[str, float]
    physical: list[str]
    suggestions: list[str]


def inspect(scorer: Scorer, components: dict[str, Component], motions: Motions, real: dict[str, float]) -> Inspection:
    """Scores `motions` under every probe of `rewards/inspect/faults.py`. real: what is known of real motion already."""
    names = [*components, TOTAL] if len(components) > 1 else [*components]

    def score(batch: Motions) -> np.ndarray:
        values = scorer(batch).values
        columns = values | {TOTAL: raw_total(components, values)}
        return np.stack([columns[name] for name in names], axis=1)

    failures = scorer(motions).failures
    probed = dict(zip(names, probe(score, motions), strict=True))
    values = {name: probed[name].plain for name in names}
    findings = {name: find_faults(probed[name], motions.groups, whole=name == names[-1]) for name in names}
    if len(components) > 1:
        findings[TOTAL] = [finding for finding in findings[TOTAL] if finding.fault not in OF_A_COMPONENT]
    zero_std = {name: flat_groups(value, motions.groups) for name, value in values.items()}
    zero_std["trained"] = flat_groups(trained(components, values, motions.groups), motions.groups)
    return Inspection(
        motions.groups, values, zero_std, findings, Counter(failures.values()),
        correlation([_centred(values[name], motions.groups) for name in names]),
        {name: compare_normalisations(values[name], motions.groups) for name in components}, real,
        beside_real(scorer, motions), suggest(scorer, components, motions),
    )  # fmt: skip


def correlation(columns: list[np.ndarray]) -> np.ndarray:
    """Pearson correlation [C, C] over the samples that both have; NaN for one without spread."""
    found = np.full((len(columns), len(columns)), np.nan)
    for i, a in enumerate(columns):
        for j, b in enumerate(columns):
            both = np.isfinite(a) & np.isfinite(b)
            if both.sum() > 1 and a[both].std() > 0 and b[both].std() > 0:
                found[i, j] = np.corrcoef(a[both], b[both])[0, 1]
    return found


def compare_normalisations(values: np.ndarray, groups: np.ndarray) -> dict[str, float]:
    """How the advantages of each normalisation correlate with those of raw values, when this component trains alone."""
    advantages = {}
    for kind in NORMALISATIONS:
        total = trained({"one": Component("", normalise=kind)}, {"one": values}, groups)
        advantages[kind] = np.concatenate([_standardised(total[rows]) for rows in members(groups)])
    return {kind: float(correlation([advantages["raw"], found])[0, 1]) for kind, found in advantages.items()}


def beside_real(scorer: Scorer, motions: Motions) -> list[str]:
    """For every physical component, quantiles of its measure on real motion, as shipped, and on these motions."""
    lines, kind = [], FORMATS[motions.features.shape[2]]
    measures = real_measures(kind)
    for name, component in scorer.components.items():
        if isinstance(component, RealBand):
            here = np.nanquantile(component.measure(motions), [0.05, 0.5, 0.95])
            known = f"no real motion of {kind.name} was measured"
            if component.name in measures:
                low, middle, high = (f"{measures[component.name]['quantiles'][q]:.3g}" for q in ("0.05", "0.5", "0.95"))
                known = f"real motion {middle} {component.unit} (5 to 95 %: {low} to {high})"
            lines.append(f"{name}: {known}, these motions {here[1]:.3g} ({here[0]:.3g} to {here[2]:.3g})")
    return lines


def suggest(scorer: Scorer, components: dict[str, Component], motions: Motions) -> list[str]:
    """For every evaluator that a component reads: distances of motions to their prompts, and the scales that fit them.

    linear: a max_distance above every distance, so that no motion saturates. exponential and sigmoid: the scale at which
    they are steepest at the median distance d, which is d and d / 1.543 (where x tanh(x / 2) = 1).
    """
    lines = []
    for name, evaluator in scorer.evaluators.items():
        gap = evaluator.embed_text(motions.prompts, motions.tokens) - evaluator.embed_motion(motions.features, motions.lengths)
        found = np.linalg.norm(gap, axis=1)
        found = found[np.isfinite(found)]
        if not len(found):
            continue
        low, middle, high = np.percentile(found, [5, 50, 95])
        lines.append(
            f"{name}: Euclidean distance of motion and prompt {middle:.3g} (5 to 95 %: {low:.3g} to {high:.3g}); suggested: "
            f"linear max_distance {1.2 * found.max():.2g}, exponential scale {middle:.2g}, sigmoid scale {middle / 1.543:.2g}"
        )
    return lines


def trained(components: dict[str, Component], values: dict[str, np.ndarray], groups: np.ndarray) -> np.ndarray:
    """What the learner would be given, float32 [N]: components normalised in their groups, weighted and summed; NaN when every
    motion failed, of which a learner would be told instead."""
    total = np.full(len(groups), np.nan, np.float32)
    if not np.isfinite(raw_total(components, values)).any():
        return total
    parts = [Scores({name: values[name][rows] for name in components}, {}) for rows in members(groups)]
    for rows, part in zip(members(groups), Composer(components).total(parts)):
        total[rows] = part
    return total


def _centred(values: np.ndarray, groups: np.ndarray) -> np.ndarray:
    centred = np.array(values, np.float64)
    for rows in members(groups):
        finite = rows[np.isfinite(values[rows])]
        centred[finite] -= values[finite].mean() if len(finite) else 0
    return centred


def _standardised(values: np.ndarray) -> np.ndarray:
    finite = values[np.isfinite(values)].astype(np.float64)
    if len(finite) < 2 or np.ptp(finite) <= 1e-6 * np.abs(finite).max():
        return np.full(len(values), np.nan)
    return (values - finite.mean()) / finite.std()
