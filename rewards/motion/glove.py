"""Captions as the official T2M evaluator reads them: GloVe vectors and part-of-speech categories of `word/POS` tokens.

Rules of text-to-motion's word vectoriser and data loader (Guo et al. 2022).
"""

import logging
from pathlib import Path

import numpy as np

from rewards.motion.plain_pickle import read_plain_pickle
from rewards.motion.tagger import tag
from rewards.motion.words import CATEGORIES, CATEGORY_OF, EOS, MAX_WORDS, OTHER, SOS
from rollout.io.errors import InputError
from rollout.io.weights import as_tensor, read_array

UNK = "unk"
FILES = ("our_vab_data.npy", "our_vab_words.pkl", "our_vab_idx.pkl")
log = logging.getLogger(__name__)


class GloveWords:
    """The official vocabulary: a vector for every word, among them sos, eos and unk."""

    def __init__(self, index: dict[str, int], vectors: np.ndarray):
        """vectors: float32 [V, width]; index: row of every word."""
        self.index, self.vectors = index, vectors

    @classmethod
    def load(cls, folder: Path, width: int) -> "GloveWords":
        """Reads our_vab_{data.npy,words.pkl,idx.pkl}; vectors must have `width` numbers. InputError names a bad file."""
        data, words_file, index_file = (Path(folder) / name for name in FILES)
        vectors = as_tensor(read_array(data), str(data), (None, width)).numpy()
        words, rows = read_plain_pickle(words_file), read_plain_pickle(index_file)
        if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
            raise InputError(f"{words_file}: expected a list of words")
        if not isinstance(rows, dict) or not all(type(row) is int for row in rows.values()):
            raise InputError(f"{index_file}: expected a dict from words to row numbers")
        if absent := [word for word in (SOS, EOS, UNK) if word not in words]:
            raise InputError(f"{words_file}: without the words {', '.join(absent)}")
        if lost := [word for word in words if not 0 <= rows.get(word, -1) < len(vectors)]:
            raise InputError(
                f"{index_file}: {len(lost)} words, such as {lost[0]!r}, have no row among the {len(vectors)} of {data.name}"
            )
        return cls({word: rows[word] for word in words}, vectors)

    def lookup(self, token: str) -> tuple[int, int]:
        """Row and category of a `word/POS` token. A VIP category goes before the given one, which goes before OTHER;
        a word outside the vocabulary is unk and OTHER, VIP or not."""
        word, slash, pos = token.partition("/")
        if not slash or "/" in pos:
            raise InputError(f"caption token {token!r}: expected word/POS")
        if word not in self.index:
            return self.index[UNK], OTHER
        return self.index[word], CATEGORY_OF.get(word, CATEGORIES.index(pos) if pos in CATEGORIES else OTHER)

    def sentence(self, text: str, tokens: tuple[str, ...] = ()) -> tuple[np.ndarray, list[int], int]:
        """Vectors float32 [22, width], categories [22] and how many of them count: sos + at most 20 tokens + eos, then
        unk. Text without tokens is tagged first (InputError when there is no tagger, or no word in the text)."""
        if not tokens:
            tokens = tag(text)
            if unknown := [token.partition("/")[0] for token in tokens if token.partition("/")[0] not in self.index]:
                log.warning("t2m: prompt %r: unknown words %s", text, ", ".join(unknown))
        entries = [(self.index[SOS], OTHER), *map(self.lookup, tokens[:MAX_WORDS]), (self.index[EOS], OTHER)]
        length = len(entries)
        entries += [(self.index[UNK], OTHER)] * (MAX_WORDS + 2 - length)
        rows, categories = zip(*entries)
        return self.vectors[list(rows)], list(categories), length
