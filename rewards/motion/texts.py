"""Text embeddings of an evaluator: each caption is encoded once in a run, wherever the run needs it."""

from collections.abc import Callable, Sequence

import numpy as np

Caption = tuple[str, tuple[str, ...]]  # text, and its `word/POS` tokens or ()
Embedded = dict[str, dict[Caption, np.ndarray]]  # by evaluator, then by caption: what the driver hands to its actors


class TextEmbeddings:
    """Embeddings float32 [D] by caption. `encode(captions)` makes those that are not in `known` yet.

    Filled with another object's `known`, it never encodes those captions, so their text model is never loaded.
    """

    def __init__(self, encode: Callable[[list[Caption]], list[np.ndarray]]):
        self.encode = encode
        self.known: dict[Caption, np.ndarray] = {}

    def __call__(self, prompts: Sequence[str], tokens: Sequence[tuple[str, ...]] | None = None) -> np.ndarray:
        """float32 [N, D], in the order of the prompts; tokens: N tuples, or None for prompts without."""
        captions = list(zip(prompts, tokens or [()] * len(prompts), strict=True))
        if new := [caption for caption in dict.fromkeys(captions) if caption not in self.known]:
            self.known.update(zip(new, self.encode(new)))
        return np.stack([self.known[caption] for caption in captions])
