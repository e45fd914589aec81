"""What an evaluation will do, read and checked before anything starts: models, items with their media, what scores them."""

import dataclasses
import os
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from learner.evaluate.language.measures import is_points, point_components, word_components
from learner.evaluate.language.settings import EvaluateConfig
from learner.evaluate.models import BASE, EvaluatedModel, named
from rewards.language.family import make_scorer, probe
from rewards.own_class import use_folder
from rollout.io.errors import InputError
from rollout.io.files import file_sha256
from rollout.language.adapter_folder import adapter_of
from rollout.language.chat_policy import LanguagePolicy, LanguageSettings
from rollout.language.family import LANGUAGE
from rollout.language.items import Item, read_items
from rollout.language.prepare import LanguagePreparer
from rollout.policy import Conditioning, arrays_digest
from rollout.seeds import Purpose, seed_of


@dataclasses.dataclass(frozen=True)
class Question:
    """An item that can be put to the model. number: its place among the items of its file, from 1."""

    conditioning: Conditioning
    general: bool
    number: int

    @property
    def item(self) -> Item:
        return self.conditioning.prompt


class Batches(Sequence):
    """What samplers answer at once, as the pool asks for it: `answers` to each question, one question after the other."""

    def __init__(self, questions: list[Question], answers: int, size: int, seed: int):
        self.asked = [(question, k) for question in questions for k in range(answers)]
        self.size, self.seed = size, seed

    def __len__(self) -> int:
        return -(-len(self.asked) // self.size)

    def __getitem__(self, index: int) -> tuple[list[Conditioning], list[tuple[int, ...]], tuple[list[Item]]]:
        if index >= len(self):
            raise IndexError(index)
        asked = self.asked[index * self.size : (index + 1) * self.size]
        seeds = [seed_of(self.seed, Purpose.ANSWERS, question.general, question.number, k) for question, k in asked]
        return [question.conditioning for question, _ in asked], seeds, ([question.item for question, _ in asked],)


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """All that was read and checked before anything starts. skipped: items that cannot be shown to the model, a line each."""

    config: EvaluateConfig
    models: list[EvaluatedModel]
    questions: list[Question]
    skipped: list[str]
    notes: list[str]
    standing: dict[str, str]  # by name, the digest of what the answers stand on

    @classmethod
    def make(cls, config: EvaluateConfig, read_so_far: Callable[[int, int], None] = lambda done, total: None) -> "Evaluation":
        """`read_so_far(done, total)` is told of items: opening media takes its time.

        Raises InputError for the first file, adapter or setting that does not fit, RunFailed for a judge that does not answer.
        """
        settings = LanguageSettings(config.model, config.rollout, precision=config.cluster.precision)
        preparer = LanguagePreparer(config.model.checkpoint, config.model)
        models = []
        for name, folder in [(BASE, None), *named(config.adapter)]:
            own, adapter = adapter_of(settings, folder)
            models.append(EvaluatedModel(name, None if folder is None else str(folder), LanguagePolicy, own, adapter))
        notes, questions, skipped = _how(config), [], []
        files = [(general, file, read_items(file, config.seed, media, notes.append)) for general, file, media in _files(config)]
        total, done = sum(len(items) for *_, items in files), 0
        for general, file, items in files:
            kept, left_out = [], []
            for number, item in enumerate(items, start=1):
                try:
                    kept.append(Question(*preparer.prepare([item]), general, number))
                except InputError as error:
                    left_out.append(str(error))
                done += 1
                read_so_far(done, total)
            if not kept:
                which = "general" if general else "data"
                raise InputError(f"{which}: none of the {len(items)} items of {file} can be shown to the model; {left_out[0]}")
            notes.append(_told_of(general, file, [question.item for question in kept]))
            notes += [f"skipped {len(left_out)} that cannot be shown to the model, the first: {left_out[0]}"] if left_out else []
            questions, skipped = questions + kept, skipped + left_out
        standing = {
            **{name: file_sha256(file) for name, file in LANGUAGE.files(config).items()},
            **{f"adapter {model.name}": model.adapter.sha256 for model in models},
            "items": arrays_digest({}, repr([(question.conditioning.digest, question.item.solution) for question in questions])),
        }  # fmt: skip
        notes += _probed(config, [question.item for question in questions])
        return cls(config, models, questions, skipped, notes, standing)


def _files(config: EvaluateConfig) -> list[tuple[bool, Path, str | None]]:
    """Whether it is of general items, the file, and the folder of its media, of all that are asked."""
    data, general = Path(config.data or LANGUAGE.shipped("heldout", config)), Path(config.general or LANGUAGE.shipped("general", config))
    asked = config.general or (not config.data and general.is_file())
    return [(False, data, config.media), *([(True, general, None)] if asked else [])]


def _told_of(general: bool, file: Path, items: list[Item]) -> str:
    types = ", ".join(f"{count} {kind}" for kind, count in Counter(item.problem_type for item in items).most_common())
    return f"{len(items)} {'general ' if general else ''}items of {file}: {types}"


def _how(config: EvaluateConfig) -> list[str]:
    how = f"{config.samples} answers an item at temperature {config.temperature:g}" if config.samples else "the greedy answer to each item"
    notes = [
        f"{how}; ± is 95 % over items (Student's t), a change to the base is paired by item",
        "accuracy: the official formulas, put right where they are wrong; IntentBench: as its own evaluation has them, where it has one",
    ]
    return notes + (["images are blank (--model.blank): a control that sees nothing"] if config.model.blank else [])


def _probed(config: EvaluateConfig, items: list[Item]) -> list[str]:
    """What a reader has to know of what scores. Everything that scores is built once, so that what cannot be is told now."""
    use_folder(os.getcwd())
    told = []
    for of, points in ((word_components, False), (point_components, True)):
        own = [item for item in items if is_points(item) == points]
        if own:
            told += probe(make_scorer(of(config.reward), "cpu", config.cluster.reward_deadline), own)
    if any(map(is_points, items)):
        parts = point_components(config.reward)
        spaces = {name: part.options.get("space", "0-1") for name, part in parts.items() if part.path == "negative_points"}
        told += [f"points are read in the space {space} (reward.components.{name}.space)" for name, space in spaces.items()]
        told.append("IoU and gain are of well-formed answers; IoU without: the mask without any negative point")
    return told


def among(questions: list[Question]) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """bool [P] by problem type: which questions of the data are of it; and the same of the general ones."""
    found: tuple[dict, dict] = {}, {}
    for place, question in enumerate(questions):
        found[question.general].setdefault(question.item.problem_type, np.zeros(len(questions), bool))[place] = True
    return found
