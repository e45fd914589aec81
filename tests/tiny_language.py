"""Tiny random vision-language checkpoints, as Hugging Face folders of the real layout, and items to ask them.

Their tokens are the 256 bytes and the special tokens of their architecture, so that any text can be read and written.
"""

import json
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from rollout.adapter import Adapter
from rollout.language.chat_policy import LanguagePolicy, LanguageSettings
from rollout.language.checkpoint import open_checkpoint
from rollout.language.items import Item
from rollout.language.media import Frames
from rollout.language.processor import Processor
from rollout.language.settings import Model, Rollout
from rollout.policy import Conditioning, Request, Trajectories

VISION = ["<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>"]
AUDIO = ["<|audio_pad|>", "<|audio_start|>", "<|audio_end|>"]
SPECIAL = ["<|im_end|>", "<|endoftext|>", "<|im_start|>", *VISION, *AUDIO]
TOKEN = {token: 256 + place for place, token in enumerate(SPECIAL)}
TEMPLATE = """\
{%- for message in messages %}<|im_start|>{{ message.role }}
{% if message.content is string %}{{ message.content }}{% else %}{% for part in message.content -%}
{%- if part.type == 'image' %}<|vision_start|><|image_pad|><|vision_end|>
{%- elif part.type == 'video' %}<|vision_start|><|video_pad|><|vision_end|>
{%- elif part.type == 'audio' %}<|audio_start|><|audio_pad|><|audio_end|>
{%- else %}{{ part.text }}{% endif %}{% endfor %}{% endif %}<|im_end|>
{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant
{% endif %}"""
TEXT = {
    "vocab_size": 272, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
    "max_position_embeddings": 4096, "tie_word_embeddings": False, "eos_token_id": TOKEN["<|im_end|>"], "bos_token_id": None,
    "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [1, 1, 2]}, "initializer_range": 0.2,
}  # fmt: skip
VISION_TOWER = {
    "depth": 2, "hidden_size": 32, "num_heads": 2, "intermediate_size": 48, "out_hidden_size": 32, "patch_size": 4, "spatial_merge_size": 2,
    "temporal_patch_size": 2, "initializer_range": 0.2,
}  # fmt: skip
IDS = {
    "image_token_id": TOKEN["<|image_pad|>"], "video_token_id": TOKEN["<|video_pad|>"],
    "vision_start_token_id": TOKEN["<|vision_start|>"], "vision_end_token_id": TOKEN["<|vision_end|>"],
}  # fmt: skip
AUDIO_TOWER = {
    "num_mel_bins": 16, "encoder_layers": 1, "encoder_attention_heads": 2, "encoder_ffn_dim": 32, "d_model": 16, "output_dim": 32, "n_window": 10,
    "max_source_positions": 200, "initializer_range": 0.2,
}  # fmt: skip
ARCHITECTURES = ("qwen2_5_vl", "qwen3_vl", "qwen2_5_omni_thinker")
MEDIA = {"qwen2_5_vl": ("image", "video"), "qwen3_vl": ("image", "video"), "qwen2_5_omni_thinker": ("image", "video", "audio")}


def network(architecture: str, text: dict, vision: dict, audio: dict):
    """Random weights, of the widths that the three parts of a configuration say."""
    tied = {"tie_word_embeddings": text["tie_word_embeddings"]}
    if architecture == "qwen2_5_vl":
        from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

        tower = {"window_size": 16, "fullatt_block_indexes": [1], "tokens_per_second": 2, **vision}
        return Qwen2_5_VLForConditionalGeneration(Qwen2_5_VLConfig(text_config=text, vision_config=tower, **IDS, **tied))
    if architecture == "qwen3_vl":
        from transformers import Qwen3VLConfig, Qwen3VLForConditionalGeneration

        tower = {**vision, "num_position_embeddings": 64, "deepstack_visual_indexes": [0]}
        text = {**text, "head_dim": 8}
        return Qwen3VLForConditionalGeneration(Qwen3VLConfig(text_config=text, vision_config=tower, **IDS, **tied))
    from transformers import Qwen2_5OmniThinkerConfig, Qwen2_5OmniThinkerForConditionalGeneration

    tower = {"window_size": 16, "fullatt_block_indexes": [1], **vision}
    ids = {
        "image_token_index": IDS["image_token_id"], "video_token_index": IDS["video_token_id"], "audio_token_index": TOKEN["<|audio_pad|>"],
        "audio_start_token_id": TOKEN["<|audio_start|>"], "audio_end_token_id": TOKEN["<|audio_end|>"],
        "vision_start_token_id": TOKEN["<|vision_start|>"], "vision_end_token_id": TOKEN["<|vision_end|>"],
    }  # fmt: skip
    scale = text["initializer_range"]
    config = Qwen2_5OmniThinkerConfig(text_config=text, vision_config=tower, audio_config=audio, initializer_range=scale, **ids)
    return Qwen2_5OmniThinkerForConditionalGeneration(config)


def write_tokenizer(folder: Path) -> None:
    from tokenizers.pre_tokenizers import ByteLevel
    from transformers import Qwen2Tokenizer

    tokenizer = Qwen2Tokenizer(
        vocab={letter: place for place, letter in enumerate(sorted(ByteLevel.alphabet()))}, merges=[],
        unk_token=None, eos_token="<|im_end|>", pad_token="<|endoftext|>",
    )  # fmt: skip
    tokenizer.add_special_tokens({"extra_special_tokens": SPECIAL})
    tokenizer.chat_template = TEMPLATE
    tokenizer.save_pretrained(folder)


def write_checkpoint(folder: Path, architecture: str = "qwen2_5_vl", seed: int = 0, scale: float = 0.2) -> Path:
    """A checkpoint of 75 thousand weights of scale .2: far enough from uniform that every input shows in every number."""
    from transformers import Qwen2VLImageProcessorPil, WhisperFeatureExtractor

    torch.manual_seed(seed)
    parts = ({**part, "initializer_range": scale} for part in (TEXT, VISION_TOWER, AUDIO_TOWER))
    network(architecture, *parts).save_pretrained(folder)
    write_tokenizer(folder)
    Qwen2VLImageProcessorPil(patch_size=4, min_pixels=64, max_pixels=1024).save_pretrained(folder)
    if architecture == "qwen2_5_omni_thinker":
        audio = WhisperFeatureExtractor(feature_size=16, sampling_rate=16000, hop_length=160, chunk_length=2, n_fft=400).to_dict()
        image = json.loads((folder / "preprocessor_config.json").read_text())
        (folder / "preprocessor_config.json").write_text(json.dumps(audio | image))
    return folder


def write_speaking(folder: Path, phrases: list[str], seed: int = 0) -> Path:
    """A checkpoint each of whose tokens is nearly always one of `phrases`, at most six; which, depends on the prompt and the adapter."""
    from safetensors.torch import load_file, save_file
    from transformers import AutoTokenizer

    write_checkpoint(folder, seed=seed)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.add_special_tokens({"extra_special_tokens": [*SPECIAL, *phrases]})
    tokenizer.save_pretrained(folder)
    weights = load_file(folder / "model.safetensors")
    first = tokenizer.convert_tokens_to_ids(phrases[0])
    weights["lm_head.weight"][first : first + len(phrases)] *= 40
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    return folder


def write_scene(folder: Path, name: str = "scene") -> dict:
    """A drawn scene of 100 x 100 pixels, as a row of points: the target in the middle, a look-alike that touches it at each side. Without
    negatives the label map has 1600 pixels of which 800 are the target; a negative at LEFT_OF_IT leaves 1200."""
    labels = np.zeros((100, 100), np.uint8)
    labels[20:40, 30:70], labels[20:40, 10:30], labels[20:40, 70:90] = 1, 2, 3
    for suffix, levels in ((".labels.png", labels), (".png", labels * 60), (".mask.png", (labels == 1).astype(np.uint8) * 255)):
        Image.fromarray(levels).save(folder / f"{name}{suffix}")
    return {
        "problem": "Which points are not of the thing in the middle?", "problem_type": "segmentation", "image": f"{name}.png",
        "mask": f"{name}.mask.png", "box": [30, 20, 70, 40], "points": [[50, 30]],
    }  # fmt: skip


LEFT_OF_IT, INSIDE = [0.15, 0.3], [0.5, 0.3]


def picture(seed: int, size: tuple[int, int] = (16, 24)) -> Image.Image:
    """height x width"""
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8))


def contents(kind: str, seed: int = 0):
    """A medium as it is read: an image, a video of 5 frames at 4 a second, .4 seconds of sound."""
    if kind == "image":
        return picture(seed)
    if kind == "video":
        return Frames([picture(seed + i, (16, 16)) for i in range(5)], 4.0)
    return np.random.default_rng(seed).standard_normal(6400).astype(np.float32) * 0.1


def prepared(folder: Path, kinds: tuple[str, ...] = ("image",), seed: int = 0, text: str = "what is it", blank: bool = False) -> Conditioning:
    item = Item(text, media=tuple((kind, f"/{kind}{seed}") for kind in kinds))
    processor = Processor(open_checkpoint(folder), Model(blank=blank))
    return Conditioning(item, processor(item, [processor.encoded(kind, contents(kind, seed)) for kind in kinds]))


def make_policy(folder: Path, device: str = "cpu", **settings) -> LanguagePolicy:
    """Answers of at most 12 tokens, LoRA of rank 4, unless told otherwise."""
    model, rollout = ({name: settings.pop(name) for name in list(settings) if name in section.model_fields} for section in (Model, Rollout))
    sections = Model(path=str(folder), **model), Rollout(**{"max_new_tokens": 12, **rollout})
    return LanguagePolicy(LanguageSettings(*sections, **{"lora_rank": 4, "lora_alpha": 8.0, **settings}), device)


def noisy_adapter(policy: LanguagePolicy, version: int = 1, seed: int = 0, scale: float = 0.1) -> Adapter:
    """What the policy holds, with noise on every trainable tensor."""
    rng = np.random.default_rng(seed)
    return Adapter.pack(version, {name: value + scale * rng.standard_normal(value.shape, dtype=np.float32) for name, value in policy.adapter_state().items()})


def sample_group(policy: LanguagePolicy, conditioning: Conditioning, size: int = 4, seed: tuple[int, ...] = (0, 0, 0, 0)) -> Trajectories:
    return policy.sample(Request(conditioning, size, seed, 1))
