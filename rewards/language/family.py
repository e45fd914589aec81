"""How the language family is scored: rules, judges behind an address, and segmenters; there is no judge beside the reward."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rewards.components import Component
from rewards.compose import raw_total
from rewards.family import Examination
from rewards.language.accuracy import BY_JUDGE, Accuracy, OfficialAccuracy, OfficialIntentBench
from rewards.language.answers import Answers, as_answers
from rewards.language.format import Format
from rewards.language.judges import Judge
from rewards.language.kinds import DEADLINE, KINDS
from rewards.language.negative_points import NegativePoints
from rewards.language.people_focus import PeopleFocus
from rewards.scoring import Scorer, Scores
from rollout.io.errors import InputError, RunFailed
from rollout.language.items import Item
from rollout.policy import Group, arrays_digest

log = logging.getLogger(__name__)
POINTS = ("iou", "baseline_iou", "gain", "parsed")
TRIED = 8  # prompts that a segmenter is asked about before it is taken to be of no use
DEADLINE_S = 3600.0  # of judges, where no actor waits for the scores


class LanguageRewards:
    """See `rewards.family.Rewards`."""

    def subjects(self, *groups: Group) -> Answers:
        return as_answers(*groups)

    def load(self, config: Any, device: str, shared: Any) -> tuple[Scorer, None]:
        return make_scorer(config.reward.parsed(), device, config.cluster.reward_deadline), None

    def check(self, config: Any, prompts: list[Item]) -> None:
        """Raises InputError for a component that cannot be built or cannot score any prompt of a type of problem, and for a judge that answers
        wrongly; RunFailed for one that does not answer."""
        scorer, _ = self.load(config, "cpu", None)
        by_type: dict[str, list[Item]] = {}
        for item in prompts:
            by_type.setdefault(item.problem_type, []).append(item)
        for name, component in scorer.components.items():
            where = f"reward.components.{name}"
            for items in by_type.values() if hasattr(component, "cannot") else ():
                whys = [component.cannot(item) for item in items]
                if all(whys):  # a single bad row fails alone, and is counted
                    raise InputError(f"{where}: {whys[0]} ({items[0].source or items[0].text[:60]})")
        for line in probe(scorer, prompts):
            log.warning("%s", line)

    def standing(self, config: Any, prompts: list[Item], shared: Any) -> dict[str, list[str]]:
        found = {}
        for name, component in config.reward.parsed().items():
            folder = component.options.get("segmenter", "label_map")
            if component.path == "negative_points" and folder != "label_map":
                files = {each: np.fromfile(Path(folder) / each, np.uint8) for each in ("config.json", "model.safetensors")}
                found[f"segmenter of {name}"] = [str(folder), arrays_digest(files)]
        return found

    def examine(self, groups: Sequence[Group], scorer: Scorer, judges: None) -> list[Examination]:
        """`extras`: problem_type, and by the rules that need nothing beside the answer accuracy (regression by mean relative accuracy),
        both official formulas, format and people_focus; iou, baseline_iou and gain where components measure them, with the mask and the
        negatives as text, for pictures."""
        answers = as_answers(*groups)
        scores, extras = examined(answers, scorer)
        extras["problem_type"] = np.array([item.problem_type for item in answers.items], str)
        found, first = [], 0
        for group, each in zip(groups, scores.split([len(group) for group in groups])):
            part = {name: value[first : first + len(group)] for name, value in extras.items()}
            found.append(Examination(raw_total(scorer.settings, each.values), each.values, None, part))
            first += len(group)
        return found

    def quality(self, config: Any, results: list[Examination]) -> dict[str, float | str | None]:
        """Means over answers that could be scored: accuracy, of all and by problem type, as the official formulas have it, share of
        answers in the form that was asked for, people focus; for points the IoU, that without negatives, and the gain."""
        joined = {name: np.concatenate([each.extras[name] for each in results]) for name in results[0].extras}
        types, joined = joined["problem_type"], {name: values for name, values in joined.items() if values.dtype.kind == "f"}
        found = {NAMES.get(name, name): _mean(values) for name, values in joined.items()}
        by_type = {kind: joined["accuracy"][types == kind] for kind in sorted({*types.tolist()})}
        found |= {f"accuracy_{kind.replace(' ', '_')}": _mean(values) for kind, values in by_type.items() if len(by_type) > 1}
        asked = {*types.tolist()} != {"segmentation"}  # points have no accuracy
        return {name: value if np.isfinite(value) else None for name, value in found.items() if asked or not name.startswith("accuracy")}

    def measured(self, results: list[Examination]) -> dict[str, np.ndarray]:
        found = {name: np.stack([e.extras[name] for e in results]) for name in results[0].extras}
        return {NAMES.get(name, name): values for name, values in found.items() if values.dtype.kind == "f"}


RULES = {
    "accuracy": Accuracy(regression="mean_relative_accuracy").by_rules, "official_accuracy": OfficialAccuracy(),
    "official_intentbench": OfficialIntentBench(), "format": Format(), "people_focus": PeopleFocus(),
}  # fmt: skip
NAMES = {
    "official_accuracy": "accuracy_official", "official_intentbench": "accuracy_intentbench", "format": "format_rate", "iou": "mean_iou",
    "gain": "iou_gain", "parsed": "parsed_rate",
}  # fmt: skip
LANGUAGE = LanguageRewards()


def examined(answers: Answers, scorer: Scorer) -> tuple[Scores, dict[str, np.ndarray]]:
    """What the components say of N answers, and, [N] each, what else is measured of them: see `examine`."""
    scores = scorer(answers)
    extras = {name: np.asarray(rule(answers)) for name, rule in RULES.items()}
    for name, component in scorer.components.items():
        if isinstance(component, NegativePoints):
            extras |= {measure: component.measured(answers)[0][measure] for measure in POINTS} | component.shown(answers)
        elif isinstance(component, Format):
            extras["format"] = scores.values[name]
        elif isinstance(component, Accuracy):  # what a judge said is not asked for again
            extras["accuracy"] = np.where(np.isfinite(extras["accuracy"]), extras["accuracy"], scores.values[name])
    return scores, extras


def probe(scorer: Scorer, prompts: list[Item]) -> list[str]:
    """Asks every judge and segmenter of the components once, a segmenter about the first prompts until one can be answered. Returns what a
    person has to know of them, a line each. InputError for one that answers wrongly, RunFailed for one that does not answer."""
    told, types = [], {item.problem_type for item in prompts}
    for name, component in scorer.components.items():
        where = f"reward.components.{name}"
        if isinstance(component, NegativePoints):
            whys = []
            for item in prompts[:TRIED]:
                found = component(Answers([item.text], np.zeros(1, int), [item], ['<answer>{"negative_points": []}</answer>']))
                if not found.reasons:
                    break
                whys.append(f"{found.reasons[0]} ({item.source or item.text[:60]})")
            else:
                raise InputError(f"{where}: {whys[0]}")
            if scorer.settings[name].options.get("segmenter", "label_map") == "label_map":
                told.append(f"{where}: the segmenter is a label map, a stand-in for drawn scenes; it is not SAM")
        judge = getattr(component, "judge", None)
        if judge and (isinstance(component, Judge) or types & {*BY_JUDGE}):
            try:
                judge.probe()
            except (InputError, RunFailed) as error:
                raise type(error)(f"{where}: {error}") from None
    return told


def make_scorer(components: dict[str, Component], device: str, deadline_s: float) -> Scorer:
    """The components of a reward, built; those with a judge share the deadline. InputError for what cannot be built."""
    judged = sum(KINDS.of(name, part.path).evaluator == DEADLINE for name, part in components.items())
    given = {DEADLINE: deadline_s / max(1, judged), "device": device}
    return Scorer(components, {name: KINDS.build(name, part, given.__getitem__) for name, part in components.items()}, {})


def _mean(values: np.ndarray) -> float:
    values = values[np.isfinite(values)].astype(np.float64)
    return float(values.mean()) if len(values) else float("nan")
