"""R-precision as a reward: where a motion's own caption stands among fixed wrong ones; and its sum with matching.

Inside a group all prompts are the same, so a group offers no wrong caption. The bank of distractors is recorded in a
file instead, and the same for every motion of every run.
"""

import json
import logging
from pathlib import Path

import numpy as np

from rewards.motion.matching import T2MMatching
from rewards.motion.space import Evaluator, OfEmbeddings
from rewards.options import count, number
from rollout.io.errors import InputError
from rollout.motion.prompts import MotionPrompt, read_prompts

BANK = Path(__file__).parent.parent / "assets" / "distractors.json"
DISTRACTORS = 31  # with the own caption the official pool of 32 (Guo et al. 2022)
log = logging.getLogger(__name__)


class RPrecision(OfEmbeddings):
    """1 when a motion's own caption is among the `top_k` nearest to it of its pool, else 1 / (1 + rank); in (0, 1].

    The pool is the own caption and the first `distractors` captions of `bank` that the evaluator can read; what it
    cannot is left out with a warning. `rank` counts the distractors that are no farther from the motion than its own
    caption (Euclidean, 0 is best), so a tie counts against the motion. A distractor with the very embedding of the own
    caption says the same, and does not count.

    bank: None = the captions that ship, of shipped training clips and in no shipped prompt list; else any file that
    `rollout.motion.prompts.read_prompts` reads. The official evaluator needs a tagger for captions without tags: give it a list
    of clips of a HumanML3D folder. InputError when fewer captions than `distractors` can be read.

    Its best value is that of real motion, below 1: more is fitting the evaluator. It moves in steps, so many groups have
    no spread and teach nothing (binary top 3: advantages correlate with those of -d by .79; rank .955).
    """

    def __init__(self, evaluator: Evaluator, top_k: int = 1, distractors: int = DISTRACTORS, bank: str | None = None):
        self.evaluator = evaluator
        self.distractors = count("distractors", distractors)
        self.top_k = count("top_k", top_k, most=self.distractors)
        self.captions, self.embeddings = self._readable(_read_bank(bank), bank or BANK)

    def of(self, text: np.ndarray, motion: np.ndarray) -> np.ndarray:
        own = np.linalg.norm(text.astype(np.float64) - motion, axis=1)
        wrong = np.linalg.norm(self.embeddings[None].astype(np.float64) - motion[:, None], axis=2)
        another = (self.embeddings[None] != text[:, None]).any(axis=2)
        rank = ((wrong <= own[:, None]) & another).sum(axis=1)
        score = np.where(rank < self.top_k, 1.0, 1 / (1 + rank))
        return np.where(np.isfinite(own), score, np.nan).astype(np.float32)

    def _readable(self, bank: list[MotionPrompt], source) -> tuple[list[str], np.ndarray]:
        """The first captions of the bank that can be embedded, and their embeddings [distractors, D]."""
        found, refused = {}, {}
        for prompt in bank:
            if len(found) == self.distractors:
                break
            try:
                found[prompt.text] = self.evaluator.embed_text([prompt.text], [prompt.tokens])[0]
            except InputError as error:
                refused[prompt.text] = str(error)
        if len(found) < self.distractors:
            why = f"; {next(iter(refused.values()))}" if refused else ""
            raise InputError(f"bank {source}: {len(found)} captions can be read, expected {self.distractors}{why}")
        if refused:
            log.warning("bank %s: %d captions cannot be read, such as %r", source, len(refused), next(iter(refused)))
        return list(found), np.stack(list(found.values()))


class Combined(OfEmbeddings):
    """matching_weight * matching + r_precision_weight * r_precision, of one evaluator and one embedding of each motion.

    0.7 and 0.3 with top_k 1 are the original's; `distractors` and `bank` are those of `RPrecision`; `mapping`,
    `max_distance` and `scale` those of `T2MMatching`. To normalise the two each in its group, give them as two
    components instead: here they are summed raw.
    """

    def __init__(
        self,
        evaluator: Evaluator,
        matching_weight: float = 0.7,
        r_precision_weight: float = 0.3,
        top_k: int = 1,
        distractors: int = DISTRACTORS,
        bank: str | None = None,
        mapping: str | None = None,
        max_distance: float | None = None,
        scale: float | None = None,
    ):
        self.evaluator = evaluator
        self.weights = number("matching_weight", matching_weight), number("r_precision_weight", r_precision_weight)
        self.matching = T2MMatching(evaluator, mapping, max_distance, scale)
        self.r_precision = RPrecision(evaluator, top_k, distractors, bank)

    def of(self, text: np.ndarray, motion: np.ndarray) -> np.ndarray:
        parts = self.matching.of(text, motion), self.r_precision.of(text, motion)
        return sum(weight * part for weight, part in zip(self.weights, parts)).astype(np.float32)


def _read_bank(bank: str | None) -> list[MotionPrompt]:
    if bank is None:
        return [MotionPrompt(caption, 1) for caption in json.loads(BANK.read_text())]
    return read_prompts(bank, 1)
