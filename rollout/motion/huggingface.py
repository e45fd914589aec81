"""CLIP and DistilBERT as MDM and TMR read them, through `transformers`.

Weights come from a local folder or from the hub's cache on this machine; nothing is ever downloaded here.
"""

import functools
import html
from pathlib import Path

import numpy as np
import torch

from rollout.io.errors import InputError
from rollout.io.files import refuse_stand_in

CLIP_TOKENS = 22  # start, 20 of text, end: MDM's limit for HumanML3D and KIT
# DistilBERT under the names that MDM and TMR know it by: each has a place of its own in the hub's cache.
SOURCES = {
    "clip": ["openai/clip-vit-base-patch32"],
    "bert": ["distilbert/distilbert-base-uncased", "distilbert-base-uncased"],
}


@functools.cache
def text_encoder(kind: str, source: str | None = None) -> "HuggingFaceText":
    """The encoder of `kind` ("clip" or "bert") from a folder or hub name, one object a process; None = the official one.

    Raises InputError when there is neither such a folder nor such a model in the hub's cache.
    """
    encoder, found_none = {"clip": ClipText, "bert": DistilBertText}[kind], None
    for name in [source] if source else SOURCES[kind]:
        try:
            return encoder(name)
        except InputError as error:
            found_none = found_none or error
    raise found_none


class HuggingFaceText:
    """Captions to token features; each caption is encoded once and kept. Weights are loaded for the first new caption."""

    def __init__(self, source: str):
        self.source = source
        self._known: dict[str, np.ndarray] = {}
        config = self._load("AutoConfig")
        try:
            self.width = getattr(config, self.width_key)
        except AttributeError:
            raise InputError(f"text encoder {source}: found a model of type {config.model_type!r}, expected {self.expected}") from None

    def encode(self, text: str) -> np.ndarray:
        """Features float32 [L, width] of one caption, alone in its batch so that they depend on nothing else."""
        if text not in self._known:
            tokenizer, model = self._loaded
            with torch.no_grad():
                features = self._features(tokenizer, model, text).numpy()
            if not np.isfinite(features).all():
                raise InputError(f"text encoder {self.source}: its features of {text!r} hold NaN or infinity")
            self._known[text] = features
        return self._known[text]

    @functools.cached_property
    def _loaded(self):
        model, report = self._load(self.model_class, dtype=torch.float32, output_loading_info=True)
        if missing := sorted(report["missing_keys"]):  # which would otherwise stay random without a word
            raise InputError(f"text encoder {self.source}: weights {missing[:3]} are missing, expected a whole {self.expected}")
        return self._load("AutoTokenizer"), model.eval()

    def _load(self, name: str, **options):
        import transformers  # seconds, for processes that encode text only

        transformers.utils.logging.set_verbosity_error()
        transformers.utils.logging.disable_progress_bar()
        if name.startswith("Auto"):
            options["trust_remote_code"] = False  # unsaid, it asks on the terminal whether to run what the folder holds
        try:
            return getattr(transformers, name).from_pretrained(self.source, local_files_only=True, **options)
        except Exception as error:  # a damaged folder surfaces as almost any exception type
            if Path(self.source).is_dir():
                for file in Path(self.source).iterdir():
                    refuse_stand_in(file)
                reason = f"{type(error).__name__}: {' '.join(str(error).split())[:120]}"
                raise InputError(f"text encoder {self.source}: this folder has no readable {self.expected} ({reason})") from None
            raise InputError(
                f"text encoder {self.source}: neither a folder nor in the hub's cache on this machine; "
                f"fetch it with `hf download {self.source}`, or give a folder as text_encoder"
            ) from None


class ClipText(HuggingFaceText):
    """The projected feature of a caption's end token, L = 1: CLIP's text tower in fp32, not normalised.

    A caption is cut to 22 tokens with the end token last (spec official-formats 1.5). What the official code pads behind
    the end token cannot reach it through the causal mask, so nothing is padded here.
    """

    expected, model_class, width_key = "CLIP text tower", "CLIPTextModelWithProjection", "projection_dim"

    @staticmethod
    def _features(tokenizer, model, text: str) -> torch.Tensor:
        text = html.unescape(html.unescape(text))  # as the official tokenizer does
        ids = tokenizer(text, truncation=True, max_length=CLIP_TOKENS).input_ids
        return model(input_ids=torch.tensor([ids])).text_embeds


class DistilBertText(HuggingFaceText):
    """The last hidden state of every token, [CLS] and [SEP] included; nothing is cut or padded."""

    expected, model_class, width_key = "DistilBERT", "DistilBertModel", "dim"

    @staticmethod
    def _features(tokenizer, model, text: str) -> torch.Tensor:
        return model(**tokenizer(text, return_tensors="pt")).last_hidden_state[0]
