"""What is read of answers, and what rows say of them: means over items, with intervals, and differences to the base model."""

import json
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from learner.evaluate.rows import Metric
from learner.watch.examination import interval
from rewards.components import Component
from rewards.language.answers import Answers
from rewards.language.family import NAMES, POINTS, RULES, examined, make_scorer
from rewards.language.settings import Reward
from rewards.own_class import module_of, use_folder
from rewards.scoring import Scorer
from rollout.language.items import SEGMENTATION, Item

METRICS = {
    "accuracy": Metric("accuracy", "↑", 3),
    "accuracy_intentbench": Metric("IntentBench", "↑", 3),
    "accuracy_official": Metric("official reward", "↑", 3),
    "general_accuracy": Metric("general accuracy", "↑", 3),
    "format_rate": Metric("format", "↑", 3),
    "people_focus": Metric("people focus", "↑", 3),
    "mean_iou": Metric("mean IoU", "↑", 3),
    "baseline_iou": Metric("IoU without", "", 3),
    "iou_gain": Metric("gain", "↑", 3),
    "parsed_rate": Metric("well-formed", "↑", 3),
    "truncated": Metric("cut off", "↓", 3),
}
# By the path of a component, the metric that says what it scores.
MEASURED = {"accuracy": "accuracy", "format": "format_rate", "people_focus": "people_focus", "official.accuracy": "accuracy_official",
            "official.intentbench": "accuracy_intentbench", "negative_points": "mean_iou"}  # fmt: skip


WORDS = "in words"  # what of a file is not numbers


def word_components(reward: Reward) -> dict[str, Component]:
    """Those of a reward that score answers in words; accuracy is always among them."""
    found = {name: part for name, part in reward.parsed().items() if part.path != "negative_points"}
    return _with("accuracy", found)


def point_components(reward: Reward) -> dict[str, Component]:
    """Those that score answers of points; what reads points is always among them, and what reads words is none of them."""
    found = {name: part for name, part in reward.parsed().items() if part.path == "negative_points" or module_of(part.path)}
    return _with("negative_points", found)


def _with(kind: str, found: dict[str, Component]) -> dict[str, Component]:
    return found if any(part.path == kind for part in found.values()) else {kind: Component(kind), **found}


def is_points(item: Item) -> bool:
    return item.problem_type == SEGMENTATION


@dataclass(frozen=True)
class Read:
    """N answers as rewards read them. values: float32 [N] by metric, NaN where an item has no such metric or it failed. failures: why, by
    the answer's place."""

    texts: list[str]
    values: dict[str, np.ndarray]
    failures: dict[int, str]

    def arrays(self) -> dict[str, np.ndarray]:
        """By name, for a file; `read` gives it back."""
        words = json.dumps([self.texts, list(self.failures.items()), list(self.values)])  # a file has its arrays in an order of its own
        return {**self.values, WORDS: np.frombuffer(words.encode(), np.uint8)}

    @classmethod
    def read(cls, arrays: dict[str, np.ndarray]) -> "Read":
        texts, failures, names = json.loads(arrays[WORDS].tobytes())
        return cls(texts, {name: arrays[name] for name in names}, dict(failures))


class Reader:
    """Scores what samplers answer, in an actor of its own."""

    def __init__(self, reward: Reward, deadline_s: float, folder: str, device: str):
        """folder: where the modules of the user lie, as the driver sees them."""
        use_folder(folder)
        self.words = make_scorer(word_components(reward), device, deadline_s)
        self.points = make_scorer(point_components(reward), device, deadline_s)

    def __call__(self, outputs: np.ndarray, items: list[Item]) -> Read:
        """outputs: texts and whether they were cut off, object [N,2], of an item each."""
        texts = [str(text) for text in outputs[:, 0]]
        answers = Answers([item.text for item in items], np.arange(len(items)), items, texts)
        values, failures = {"truncated": outputs[:, 1].astype(np.float32)}, {}
        for scorer, points in ((self.words, False), (self.points, True)):
            rows = [i for i, item in enumerate(items) if is_points(item) == points]
            if rows:
                found, why = _read(answers.rows(rows), scorer, POINTS if points else RULES)
                failures |= {rows[i]: words for i, words in why.items()}
                for name, value in found.items():
                    values.setdefault(name, np.full(len(items), np.nan, np.float32))[rows] = value
        return Read(texts, values, failures)


def _read(answers: Answers, scorer: Scorer, rules: Sequence[str]) -> tuple[dict[str, np.ndarray], dict[int, str]]:
    scores, extras = examined(answers, scorer)
    found = {NAMES.get(name, name): extras[name] for name in rules}
    found |= {name: value for name, value in scores.values.items() if scorer.settings[name].path not in MEASURED}
    return found, scores.failures


@dataclass(frozen=True)
class Measured:
    """K answers to each of P items. texts object [P,K]; values float64 [P,K] by metric; failures by (item, answer)."""

    texts: np.ndarray
    values: dict[str, np.ndarray]
    failures: dict[tuple[int, int], str]

    @classmethod
    def of(cls, parts: Sequence[Read], answers: int) -> "Measured":
        """parts: of consecutive answers, all those to one item one after the other."""
        texts = np.array([text for part in parts for text in part.texts], object).reshape(-1, answers)
        names = dict.fromkeys(name for part in parts for name in part.values)
        values = {}
        for name in names:
            found = [part.values.get(name, np.full(len(part.texts), np.nan)) for part in parts]
            values[name] = np.concatenate(found).astype(np.float64).reshape(-1, answers)
        firsts = np.cumsum([0, *(len(part.texts) for part in parts)]).tolist()
        failures = {divmod(first + i, answers): why for first, part in zip(firsts, parts) for i, why in part.failures.items()}
        return cls(texts, values, failures)


def summaries(found: Measured, base: Measured | None, among: np.ndarray) -> dict[str, dict]:
    """By metric, of the items `among` (bool [P]): mean, ci95, its 95 % half-width over items (Student's t; null for one item), and n, how
    many items have it; beside a base, `change`: the same of the difference, paired by item and noise."""
    told = {}
    for name in sorted(found.values, key=lambda name: [*METRICS, name].index(name)):
        own = _summary(found.values[name][among])
        change = _summary((found.values[name] - base.values[name])[among]) if base and name in base.values else None
        if own:
            told[name] = own | ({"change": change} if change else {})
    return told


def _summary(values_PK: np.ndarray) -> dict | None:
    items = int(np.isfinite(values_PK).any(axis=1).sum())
    if not items:
        return None
    found = interval(values_PK, fixed_prompts=False)
    return {"mean": found["mean"], "ci95": found["ci95"] if np.isfinite(found["ci95"]) else None, "n": items}
