"""A local Hugging Face folder of a vision-language model: its settings, tokenizer, image processor and weights.

Nothing is fetched from a hub, and no code in the folder is run. transformers only warns of weights that are missing or go by
another name, and leaves these random: here they are an error.
"""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import nn

from rollout.io.errors import InputError
from rollout.io.text_files import read_json
from rollout.language.architectures import ARCHITECTURES, Architecture

LOCAL = {"local_files_only": True, "trust_remote_code": False}
READ = (
    "config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json", "vocab.json", "merges.txt", "special_tokens_map.json",
    "added_tokens.json", "preprocessor_config.json", "video_preprocessor_config.json", "chat_template.jinja", "chat_template.json",
)  # fmt: skip
DTYPES = {"fp32": torch.float32, "tf32": torch.float32, "bf16": torch.bfloat16}  # of weights at rest, by the precision of their passes
THINKER = "qwen2_5_omni"  # whose folder holds a talker beside the thinker that is trained


def checkpoint_files(folder: Path) -> dict[str, Path]:
    """Every file of the folder that is read, by a name for people."""
    weights = sorted(folder.glob("*.safetensors")) + sorted(folder.glob("*.safetensors.index.json"))
    return {f"model {path.name}": path for path in [*(folder / name for name in READ), *weights] if path.is_file()}


@dataclass(frozen=True)
class Opened:
    """A folder whose settings were read. `config`: transformers' own of the network; `ids`: of the placeholders, by kind of medium."""

    path: Path
    architecture: Architecture
    config: Any
    ids: dict[str, int]

    @cached_property
    def tokenizer(self):
        from transformers import AutoTokenizer

        with _told(self.path, "tokenizer"):
            tokenizer = AutoTokenizer.from_pretrained(self.path, **LOCAL)
        if tokenizer.chat_template is None and (self.path / "chat_template.json").is_file():
            tokenizer.chat_template = read_json(self.path / "chat_template.json").get("chat_template")
        if not isinstance(tokenizer.chat_template, str):
            raise InputError(f"{self.path}: has no chat template, expected chat_template.jinja")
        if tokenizer.eos_token_id is None:
            raise InputError(f"{self.path}: its tokenizer has no eos_token, which ends an answer")
        return tokenizer

    @cached_property
    def images(self):
        """The image processor, the one of PIL: without torchvision."""
        from transformers import Qwen2VLImageProcessorPil

        kind = read_json(self.path / "preprocessor_config.json").get("image_processor_type", "Qwen2VLImageProcessor")
        if not str(kind).startswith("Qwen2VLImageProcessor"):
            raise InputError(f"{self.path / 'preprocessor_config.json'}: image_processor_type: found {kind!r}, expected Qwen2VLImageProcessor")
        with _told(self.path, "image processor"):
            return Qwen2VLImageProcessorPil.from_pretrained(self.path, **LOCAL)

    @cached_property
    def sounds(self):
        """The feature extractor of audio, which Omni models have."""
        from transformers import WhisperFeatureExtractor

        with _told(self.path, "feature extractor of audio"):
            return WhisperFeatureExtractor.from_pretrained(self.path, **LOCAL)

    @cached_property
    def ends(self) -> tuple[int, ...]:
        """Ids that end an answer; the first is the tokenizer's own."""
        file = self.path / "generation_config.json"
        more = read_json(file).get("eos_token_id") if file.is_file() else None
        return tuple(dict.fromkeys([self.tokenizer.eos_token_id, *(more if isinstance(more, list) else [more] if more is not None else [])]))

    @cached_property
    def pad(self) -> int:
        """What stands after the end of an answer."""
        return self.ends[0] if self.tokenizer.pad_token_id is None else self.tokenizer.pad_token_id

    @cached_property
    def forbidden(self) -> tuple[int, ...]:
        """Ids that are never sampled: placeholders and borders of media, padding, and those that no token has."""
        names = ("vision_start", "vision_end", "audio_start", "audio_end")
        media = [*self.ids.values(), *(getattr(self.config, f"{name}_token_id", None) for name in names), self.pad]
        nothing = range(len(self.tokenizer), self.config.get_text_config().vocab_size)
        return tuple(sorted({i for i in [*media, *nothing] if i is not None} - set(self.ends)))

    def outline(self) -> nn.Module:
        """The network without weights: names and shapes alone."""
        from transformers import AutoModelForImageTextToText

        with _told(self.path, "config.json"), torch.device("meta"):
            return AutoModelForImageTextToText.from_config(self.config)

    def network(self, precision: str) -> nn.Module:
        """The network with the folder's weights, in eval mode on the CPU. InputError where these are not exactly the network's."""
        from transformers import AutoModelForImageTextToText

        if not list(self.path.glob("*.safetensors")):
            raise InputError(f"{self.path}: has no *.safetensors, the one format of weights that is read")
        with _told(self.path, "weights"), _quiet():
            network, found = AutoModelForImageTextToText.from_pretrained(
                self.path, config=self.config, dtype=DTYPES[precision], use_safetensors=True, output_loading_info=True, **LOCAL
            )
        for what in ("missing", "unexpected", "mismatched"):
            if names := sorted(map(str, found[f"{what}_keys"])):
                expected = f"expected exactly those of {type(network).__name__}"
                raise InputError(f"{self.path}: {len(names)} weights are {what}, such as {names[0]}; {expected}")
        return network.eval()


def open_checkpoint(path: Path) -> Opened:
    """Raises InputError for what is no folder of an architecture that is known."""
    from transformers import AutoConfig

    if not (path / "config.json").is_file():
        raise InputError(f"model.path: {path} has no config.json, expected a Hugging Face folder of a vision-language model")
    kind = read_json(path / "config.json").get("model_type")
    with _told(path, "config.json"):
        known = kind in (*ARCHITECTURES, THINKER)
        config = AutoConfig.from_pretrained(path, **LOCAL) if known else None
    if config is None:
        raise InputError(f"{path / 'config.json'}: model_type: found {kind!r}, expected one of {', '.join(ARCHITECTURES)}")
    config = config.thinker_config if kind == THINKER else config
    architecture = ARCHITECTURES[config.model_type]
    ids = {name: getattr(config, medium.token) for name, medium in architecture.media.items()}
    return Opened(path, architecture, config, ids)


@contextlib.contextmanager
def _told(path: Path, what: str) -> Iterator[None]:
    """Others' files let transformers raise almost any exception: all become one line."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        raise InputError(f"{path}: its {what} cannot be read: {type(error).__name__}: {' '.join(str(error).split())[:160]}") from None


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without transformers' progress bar and report of a load, which our errors replace."""
    from transformers.utils import logging

    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()
