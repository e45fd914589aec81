"""Captions as the evaluators read them that ship with the project: one vector a word, no part-of-speech tagger.

The official reader (`rewards/motion/glove.py`) has tags and lemmas. Here a word in one of the official VIP lists gets that
category, every other word is OTHER, and words stand as written (as their vectors were trained).
"""

import logging

import numpy as np
from torch import Tensor

from rollout.motion.vocabulary import UNKNOWN, Vocabulary, split_words

SOS, EOS = "sos", "eos"
MAX_WORDS = 20
CATEGORIES = "VERB NOUN DET ADP NUM AUX PRON ADJ ADV Loc_VIP Body_VIP Obj_VIP Act_VIP Desc_VIP OTHER".split()
OTHER = CATEGORIES.index("OTHER")
VIP = {
    "Loc_VIP": "left right clockwise counterclockwise anticlockwise forward back backward up down straight curve",
    "Body_VIP": "arm chin foot feet face hand mouth leg waist eye knee shoulder thigh",
    "Obj_VIP": "stair dumbbell chair window floor car ball handrail baseball basketball",
    "Act_VIP": (
        "walk run swing pick bring kick put squat throw hop dance jump turn stumble stop sit lift lower raise wash "
        "stand kneel stroll rub bend balance flap jog shuffle lean rotate spin spread climb"
    ),
    "Desc_VIP": "slowly carefully fast careful slow quickly happy angry sad happily angrily sadly",
}
CATEGORY_OF = {word: CATEGORIES.index(name) for name, words in VIP.items() for word in words.split()}
log = logging.getLogger(__name__)


class WordTable:
    """A vector for every word of a vocabulary.

    `encode` is what TMR's text encoder reads, `sentence` what T2M's does. Both raise InputError when not one word of
    the text is known, and report unknown words, which keep their place.
    """

    def __init__(self, evaluator: str, vocabulary: Vocabulary, vectors: Tensor):
        """vectors: [len(vocabulary), width], row 1 for unknown words. evaluator: whose name reports bear."""
        self.evaluator, self.vocabulary, self.vectors = evaluator, vocabulary, vectors.detach().cpu().numpy()

    def encode(self, text: str) -> np.ndarray:
        """Word vectors, float32 [L, width]."""
        self._report_unknown(text)
        return self.vectors[self.vocabulary.encode(text)]

    def sentence(self, text: str, tokens: tuple[str, ...] = ()) -> tuple[np.ndarray, list[int], int]:
        """Vectors float32 [L, width] and categories [L] of sos + at most 20 words + eos, and L. Tokens are not read."""
        self._report_unknown(text)
        words, categories = encode_caption(self.vocabulary, text)
        return self.vectors[words], categories, len(words)

    def _report_unknown(self, text: str) -> None:
        if unknown := self.vocabulary.require_known(text):
            log.warning("%s: prompt %r: unknown words %s", self.evaluator, text, ", ".join(unknown))


def encode_caption(vocabulary: Vocabulary, caption: str) -> tuple[list[int], list[int]]:
    """Word indices and category indices of sos + at most 20 words + eos (2..22 entries).

    An unknown word keeps its place, as the unknown word's vector with category OTHER.
    """
    words = split_words(caption)[:MAX_WORDS]
    indices = [vocabulary.index.get(word, UNKNOWN) for word in words]
    categories = [CATEGORY_OF.get(word, OTHER) if i != UNKNOWN else OTHER for word, i in zip(words, indices)]
    return [vocabulary.index[SOS], *indices, vocabulary.index[EOS]], [OTHER, *categories, OTHER]
