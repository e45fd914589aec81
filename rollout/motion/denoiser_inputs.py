"""What the denoiser reads beside noise and time, for motions of one prompt or of many."""

from dataclasses import dataclass

import torch
from torch import Tensor

from rollout.io.errors import InputError
from rollout.policy import Conditioning


@dataclass(frozen=True)
class DenoiserInputs:
    """B motions of `frames` frames. text [B,L,E]; masks [B,L] and [B,frames], True at what is valid, None where all is
    (frames: or where the model was trained without `mask_frames`); prefix [B,C,F] normalised, or None."""

    text: Tensor
    text_mask: Tensor | None
    frame_mask: Tensor | None
    prefix: Tensor | None
    frames: int

    @classmethod
    def of(cls, conditionings: list[Conditioning], frames: int, mask_frames: bool, context: int, device: torch.device) -> "DenoiserInputs":
        """One motion for each conditioning, of its own length in `frames`.

        Raises InputError for a conditioning whose prefix has not `context` frames.
        """
        tokens, prefixes, lengths = [], [], []
        for conditioning in conditionings:
            prefix = conditioning.arrays.get("prefix", ())
            if len(prefix) != context:
                raise InputError(f"prompt {conditioning.prompt.text!r}: {len(prefix)} frames of prefix, the model continues {context}")
            tokens.append(torch.tensor(conditioning.arrays["text"], device=device))
            prefixes.append(torch.tensor(prefix, device=device))
            lengths.append(conditioning.prompt.length)
        text = torch.nn.utils.rnn.pad_sequence(tokens, batch_first=True)
        text_mask = _valid([len(t) for t in tokens], text.shape[1], device)
        frame_mask = _valid(lengths, frames, device) if mask_frames else None
        return cls(text, text_mask, frame_mask, torch.stack(prefixes) if context else None, frames)


def _valid(counts_B: list[int], longest: int, device: torch.device) -> Tensor | None:
    """bool [B, longest], True below each count; None where that is everywhere."""
    if min(counts_B) == longest:
        return None
    return torch.arange(longest, device=device) < torch.tensor(counts_B, device=device)[:, None]
