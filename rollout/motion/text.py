"""The text encoder that ships with the demo model: a word table and a bidirectional GRU, trained with the denoiser."""

import logging

import numpy as np
import torch
from torch import Tensor, nn

from rollout.motion.vocabulary import PAD, UNKNOWN, Vocabulary

log = logging.getLogger(__name__)


class VocabularyTextEncoder(nn.Module):
    """Captions to one embedding each: mean over words of a BiGRU over word vectors, beside the mean word vector."""

    def __init__(self, vocabulary: Vocabulary, word_width: int = 64, hidden: int = 64):
        super().__init__()
        self.vocabulary = vocabulary
        self.word_vectors = nn.Embedding(len(vocabulary), word_width, padding_idx=PAD)
        self.gru = nn.GRU(word_width, hidden, batch_first=True, bidirectional=True)
        self.width = word_width + 2 * hidden

    def forward(self, ids_BL: Tensor) -> Tensor:
        """Word indices, padded with `PAD`, to embeddings [B, width]."""
        mask_BL = ids_BL != PAD
        words_BLW = self.word_vectors(ids_BL)
        packed = nn.utils.rnn.pack_padded_sequence(words_BLW, mask_BL.sum(1).cpu(), batch_first=True, enforce_sorted=False)
        states_BLH, _ = nn.utils.rnn.pad_packed_sequence(self.gru(packed)[0], batch_first=True)
        longest = states_BLH.shape[1]
        weights_BL1 = mask_BL[:, :longest, None].float()
        return (torch.cat([words_BLW[:, :longest], states_BLH], dim=-1) * weights_BL1).sum(1) / weights_BL1.sum(1)

    @torch.no_grad()
    def encode(self, text: str) -> np.ndarray:
        """Embedding [1, width] of one caption, alone in its batch so that it depends on nothing else.

        Words it does not know are reported; a caption of nothing else raises InputError.
        """
        if unknown := self.vocabulary.require_known(text):
            log.warning("prompt %r: the model does not know %s", text, ", ".join(unknown))
        return self(torch.tensor([self.vocabulary.encode(text)])).numpy()

    def training_batch(self, captions: list[str], word_dropout: float, generator: torch.Generator) -> Tensor:
        """Padded indices [B,L]; a share of words is replaced by `UNKNOWN` so that unseen words stay harmless."""
        ids = [torch.tensor(self.vocabulary.encode(caption)) for caption in captions]
        ids_BL = nn.utils.rnn.pad_sequence(ids, batch_first=True, padding_value=PAD)
        dropped = torch.rand(ids_BL.shape, generator=generator) < word_dropout
        return ids_BL.masked_fill(dropped & (ids_BL != PAD), UNKNOWN)
