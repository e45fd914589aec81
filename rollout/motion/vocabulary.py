"""Words to indices for the text encoders that ship with the project."""

import json
import re
from collections import Counter
from pathlib import Path

from rollout.io.errors import InputError
from rollout.io.text_files import read_json

PAD, UNKNOWN = 0, 1


class Vocabulary:
    """An ordered word list; index 0 is padding and index 1 stands for every unknown word."""

    def __init__(self, words: list[str]):
        self.words = list(words)
        self.index = {word: i for i, word in enumerate(self.words, start=2)}

    def __len__(self) -> int:
        return len(self.words) + 2

    @classmethod
    def build(cls, captions: list[str], min_count: int = 1) -> "Vocabulary":
        """All words of `captions` that occur at least `min_count` times, most frequent first."""
        counts = Counter(word for caption in captions for word in split_words(caption))
        return cls([w for w, n in sorted(counts.items(), key=lambda item: (-item[1], item[0])) if n >= min_count])

    def encode(self, text: str) -> list[int]:
        """Indices of the words of `text`; a word outside the vocabulary becomes `UNKNOWN`."""
        return [self.index.get(word, UNKNOWN) for word in split_words(text)]

    def unknown_words(self, text: str) -> list[str]:
        """The words of `text` the encoder has never seen, to be reported and never dropped silently."""
        return [word for word in split_words(text) if word not in self.index]

    def require_known(self, text: str) -> list[str]:
        """The unknown words. Raises InputError when `text` has no words at all, or not one that the vocabulary knows."""
        unknown = self.unknown_words(text)
        if len(unknown) == len(split_words(text)):
            raise InputError(
                f"prompt {text!r}: none of its words is in the vocabulary of {len(self.words)} words "
                f"(which starts: {', '.join(self.words[:8])} ...)"
            )
        return unknown

    def save(self, path: Path) -> None:
        path.write_text(json.dumps(self.words, indent=0))

    @classmethod
    def load(cls, path: Path) -> "Vocabulary":
        words = read_json(Path(path))
        if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
            raise InputError(f"{path}: expected a JSON list of words")
        return cls(words)


def split_words(text: str) -> list[str]:
    """Lower-cased runs of letters and digits."""
    return re.findall(r"[^\W_]+", text.lower())
