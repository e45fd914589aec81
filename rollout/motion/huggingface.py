"""CLIP and DistilBERT as MDM and TMR read them, through `transformers`.

Weights come from a local folder or from the hub's cache on this machine; nothing is ever downloaded here.
"""

import contextlib
import functools
import html
import os
import threading
from pathlib import Path

import numpy as np
import torch

from rollout.io.errors import InputError
from rollout.io.files import file_sha256, refuse_stand_in
from rollout.io.machine import device_kind, versions
from rollout.io.weights import read_json_object

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
    """Captions to token features. Weights are loaded, and `transformers` imported, for the first of them."""

    def __init__(self, source: str):
        self.source, self._tokenizing = source, threading.Lock()
        self.folder = self._find()
        if not (self.folder / "config.json").exists():
            raise InputError(f"text encoder {source}: this folder has no readable {self.expected} (no config.json)")
        config = read_json_object(self.folder / "config.json")
        self.width = config.get(self.width_key)
        if type(self.width) is not int:
            raise InputError(f"text encoder {source}: found a model of type {config.get('model_type')!r}, expected {self.expected}")

    @functools.cached_property
    def standing(self) -> dict[str, str]:
        """All that features depend on beside their caption, to the bit: the files by content, and who computes with what."""
        files = [file for file in self.folder.iterdir() if file.suffix in (".json", ".txt", ".safetensors", ".bin")]
        safe = any(file.suffix == ".safetensors" for file in files)  # then the pickled weights beside it are not read
        try:
            read = {file.name: file_sha256(file) for file in files if not (safe and file.suffix == ".bin")}
        except OSError as error:
            raise InputError(f"text encoder {self.source}: {error.filename} cannot be read ({error.strerror})") from None
        computed = {"kind": type(self).__name__, "device": device_kind("cpu"), "threads": str(torch.get_num_threads())}
        return read | versions(("motion-grpo", "transformers", "tokenizers")) | computed

    def encode(self, text: str) -> np.ndarray:
        """Features float32 [L, width] of one caption, alone in its batch so that they depend on nothing else. Threads may share it."""
        tokenizer, model = self._loaded
        with self._tokenizing:
            tokens = self._tokens(tokenizer, text)
        with torch.no_grad():
            features = self._features(model, tokens).numpy()
        if not np.isfinite(features).all():
            raise InputError(f"text encoder {self.source}: its features of {text!r} hold NaN or infinity")
        return features

    @functools.cached_property
    def _loaded(self):
        model, report = self._load(self.model_class, dtype=torch.float32, output_loading_info=True)
        if missing := sorted(report["missing_keys"]):  # which would otherwise stay random without a word
            raise InputError(f"text encoder {self.source}: weights {missing[:3]} are missing, expected a whole {self.expected}")
        return self._load("AutoTokenizer"), model.eval()

    def _load(self, name: str, **options):
        import transformers  # seconds, for processes that encode new text only

        transformers.utils.logging.set_verbosity_error()
        transformers.utils.logging.disable_progress_bar()
        if name.startswith("Auto"):
            options["trust_remote_code"] = False  # unsaid, it asks on the terminal whether to run what the folder holds
        try:
            return getattr(transformers, name).from_pretrained(self.folder, local_files_only=True, **options)
        except Exception as error:  # a damaged folder surfaces as almost any exception type
            for file in self.folder.iterdir():
                refuse_stand_in(file)
            reason = f"{type(error).__name__}: {' '.join(str(error).split())[:120]}"
            where = "this folder" if os.path.isdir(self.source) else f"its copy in the hub's cache (`hf download {self.source}` fetches it)"
            raise InputError(f"text encoder {self.source}: {where} has no readable {self.expected} ({reason})") from None

    def _find(self) -> Path:
        """Where its files are, found without `transformers`."""
        if os.path.isdir(self.source):
            return Path(self.source)
        from huggingface_hub import try_to_load_from_cache

        with contextlib.suppress(ValueError):  # a name that the hub does not allow
            if isinstance(config := try_to_load_from_cache(self.source, "config.json"), str):
                return Path(config).parent
        raise InputError(
            f"text encoder {self.source}: neither a folder nor in the hub's cache on this machine; "
            f"fetch it with `hf download {self.source}`, or give a folder as text_encoder"
        )


class ClipText(HuggingFaceText):
    """The projected feature of a caption's end token, L = 1: CLIP's text tower in fp32, not normalised.

    A caption is cut to 22 tokens with the end token last (spec official-formats 1.5). What the official code pads behind
    the end token cannot reach it through the causal mask, so nothing is padded here.
    """

    expected, model_class, width_key = "CLIP text tower", "CLIPTextModelWithProjection", "projection_dim"

    @staticmethod
    def _tokens(tokenizer, text: str):
        text = html.unescape(html.unescape(text))  # as the official tokenizer does
        return tokenizer(text, truncation=True, max_length=CLIP_TOKENS).input_ids

    @staticmethod
    def _features(model, tokens: list[int]) -> torch.Tensor:
        return model(input_ids=torch.tensor([tokens])).text_embeds


class DistilBertText(HuggingFaceText):
    """The last hidden state of every token, [CLS] and [SEP] included; nothing is cut or padded."""

    expected, model_class, width_key = "DistilBERT", "DistilBertModel", "dim"

    @staticmethod
    def _tokens(tokenizer, text: str):
        return tokenizer(text, return_tensors="pt")

    @staticmethod
    def _features(model, tokens) -> torch.Tensor:
        return model(**tokens).last_hidden_state[0]
