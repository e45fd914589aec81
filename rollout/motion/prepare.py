"""Prompts of the motion family: read, cut to what the model can make, and encoded by its text encoder. No network is built."""

import dataclasses
import functools
from collections.abc import Callable
from pathlib import Path

import numpy as np

from rollout.io.errors import InputError
from rollout.io.kept import Kept
from rollout.io.weights import as_tensor, read_array
from rollout.motion.checkpoint import open_checkpoint
from rollout.motion.diffusion_policy import check_model
from rollout.motion.huggingface import SOURCES, text_encoder
from rollout.motion.prompts import MotionPrompt, read_prompts
from rollout.motion.settings import Model
from rollout.policy import Conditioning


class MotionPreparer:
    """See `rollout.policy.Preparer`."""

    def __init__(self, model: Model):
        """Raises InputError for a checkpoint that is not whole, or cannot be sampled with these settings."""
        self.model, self.checkpoint = model, open_checkpoint(model.checkpoint, model.stats)
        self.frames = check_model(model, self.checkpoint.shape, self.checkpoint.options)

    def require_trainable(self, levels: int = 0) -> None:
        """levels: of noise, on which a motion is trained by a forward objective."""
        if levels > (known := self.checkpoint.options["diffusion_steps"]):
            most = f"{known}, the noise levels of {self.model.checkpoint}"
            raise InputError(f"rollout.trained_steps: found {levels}, expected at most {most}")
        self.require_prefix("model.prefix")

    def require_prefix(self, name: str) -> None:
        """InputError, with the setting's `name`, unless a prefix is given where the model continues one, and only there."""
        if bool(context := self.checkpoint.options["context_len"]) != bool(self.model.prefix):
            found = "missing, expected raw features (.npy) to continue, for" if context else "given, but not for"
            raise InputError(f"{name}: {found} a model that continues {context} frames")

    def read(self, path: Path | str) -> list[MotionPrompt]:
        return read_prompts(path, self.model.frames, self.checkpoint.format)

    @functools.cached_property
    def encode(self) -> Callable[[list[str]], list[np.ndarray]]:
        """Captions to tokens [L,E] each, by what the checkpoint was trained on; looked up for the first caption."""
        if (own := self.checkpoint.text_encoder) is not None:
            return lambda texts: [own.encode(text) for text in texts]
        kind = self.checkpoint.options["text_encoder_type"]
        if kind not in SOURCES:
            raise InputError(f"{self.model.checkpoint}: text_encoder_type {kind!r} without a text_encoder.pt; expected clip or bert")
        encoder = text_encoder(kind, self.model.text_encoder)
        if encoder.width != self.checkpoint.shape.text:
            takes = f"{self.model.checkpoint} takes {self.checkpoint.shape.text}"
            raise InputError(f"text encoder {encoder.source}: {encoder.width} numbers a token, {takes}")
        return Kept(encoder.encode, encoder.standing)

    @functools.cached_property
    def prefix(self) -> np.ndarray | None:
        """The raw features [C,F] fp32 that motions continue. Raises InputError for a file of others."""
        if self.model.prefix is None:
            return None
        file, context = self.model.prefix, self.checkpoint.options["context_len"]
        found = as_tensor(read_array(Path(file)), file, (None, self.checkpoint.shape.features)).numpy()
        if len(found) < context:
            raise InputError(f"{file}: found {len(found)} frames, expected at least the {context} that the model continues")
        return found[-context:]

    def prepare(self, prompts: list[MotionPrompt]) -> list[Conditioning]:
        """One conditioning each; `arrays` holds the text tokens [L,E] fp32, and the `prefix` [C,F] fp32 in normalised features where
        one is given. Lengths are capped at what the model makes.

        Raises InputError for a prompt the text encoder cannot read.
        """
        given = {} if self.prefix is None else {"prefix": (self.prefix - self.checkpoint.mean) / self.checkpoint.std}
        cut = [dataclasses.replace(prompt, length=min(prompt.length, self.frames)) for prompt in prompts]
        texts = self.encode([prompt.text for prompt in cut])
        return [Conditioning(prompt, {"text": tokens, **given}) for prompt, tokens in zip(cut, texts, strict=True)]
