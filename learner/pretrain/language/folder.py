"""A small Qwen2.5-VL of random weights with a word-level tokenizer, and the plain Hugging Face folder that it is saved as."""

import json
import re
from collections.abc import Iterable
from pathlib import Path

import torch
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast, Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

END, PAD, UNKNOWN = "<|im_end|>", "<|endoftext|>", "<|unk|>"
SPECIAL = (PAD, "<|im_start|>", END, "<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>", UNKNOWN)
TAGS = ("<context>", "</context>", "<think>", "</think>", "<answer>", "</answer>")
PIECE = r"\s? ?(?:\w+|[^\w\s])|\s"  # a word or a sign with the blank before it, so that pieces one after another are the text
CHAT_TEMPLATE = """\
{#- A small model that knows one way to answer: what the system says is left out. -#}
{%- for message in messages if message.role != 'system' -%}
<|im_start|>{{ message.role }}
{% if message.content is string %}{{ message.content }}{% else %}{% for part in message.content -%}
{%- if part.type == 'image' %}<|vision_start|><|image_pad|><|vision_end|>{% elif part.type == 'video' %}<|vision_start|><|video_pad|><|vision_end|>{% elif part.type == 'text' %}{{ part.text }}{% endif -%}
{%- endfor %}{% endif %}<|im_end|>
{% endfor -%}
{%- if add_generation_prompt %}<|im_start|>assistant
{% endif -%}
"""  # noqa: E501
MEAN = STD = (0.2, 0.2, 0.2)  # of dark pictures; (x - .5) / .5 leaves them next to nothing to learn from


def word_tokenizer(texts: Iterable[str]) -> PreTrainedTokenizerFast:
    """Knows every word of `texts`, with and without a blank before it; others become one unknown word."""
    tags = re.compile("|".join(map(re.escape, TAGS)))
    words = sorted({word for text in texts for part in tags.split(text) for word in re.findall(PIECE, part)} | {"user", "assistant", "\n"})
    names = [*SPECIAL, *TAGS, *words]
    tokenizer = Tokenizer(models.WordLevel({name: number for number, name in enumerate(names)}, UNKNOWN))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(PIECE), "isolated")
    tokenizer.decoder = decoders.Fuse()
    tokenizer.add_special_tokens([AddedToken(name, special=True, normalized=False) for name in SPECIAL])
    tokenizer.add_tokens([AddedToken(name, special=False, normalized=False) for name in TAGS])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token=END, pad_token=PAD, unk_token=UNKNOWN, chat_template=CHAT_TEMPLATE,
        clean_up_tokenization_spaces=False, additional_special_tokens=list(SPECIAL[1:-1]),
        extra_special_tokens={"image_token": "<|image_pad|>", "video_token": "<|video_pad|>",
                              "vision_start_token": "<|vision_start|>", "vision_end_token": "<|vision_end|>"},
    )  # fmt: skip


def small_network(tokenizer: PreTrainedTokenizerFast, positions: int = 512) -> Qwen2_5_VLForConditionalGeneration:
    """Hidden width 64, 3 layers, 4 heads; vision 2 layers of 48: some 300 thousand parameters."""
    ids = {name: tokenizer.convert_tokens_to_ids(name) for name in SPECIAL}
    text = {
        "vocab_size": len(tokenizer), "hidden_size": 64, "intermediate_size": 160, "num_hidden_layers": 3, "num_attention_heads": 4,
        "num_key_value_heads": 2, "max_position_embeddings": positions, "tie_word_embeddings": True, "initializer_range": 0.1,
        "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [2, 3, 3]},
        "bos_token_id": ids[PAD], "eos_token_id": ids[END], "pad_token_id": ids[PAD],
    }  # fmt: skip
    vision = {
        "depth": 2, "hidden_size": 48, "intermediate_size": 96, "num_heads": 4, "out_hidden_size": 64, "patch_size": 14,
        "spatial_merge_size": 2, "temporal_patch_size": 2, "window_size": 112, "fullatt_block_indexes": [1], "initializer_range": 0.1,
        "tokens_per_second": 2,
    }  # fmt: skip
    config = Qwen2_5_VLConfig(
        text_config=text, vision_config=vision, image_token_id=ids["<|image_pad|>"], video_token_id=ids["<|video_pad|>"],
        vision_start_token_id=ids["<|vision_start|>"], vision_end_token_id=ids["<|vision_end|>"], tie_word_embeddings=True,
    )  # fmt: skip
    return Qwen2_5_VLForConditionalGeneration(config).float()


def image_processor(min_pixels: int, max_pixels: int) -> Qwen2VLImageProcessorPil:
    return Qwen2VLImageProcessorPil(
        image_mean=list(MEAN), image_std=list(STD), size={"shortest_edge": min_pixels, "longest_edge": max_pixels},
        patch_size=14, merge_size=2, temporal_patch_size=2,
    )  # fmt: skip


def save_folder(folder: Path, network: Qwen2_5_VLForConditionalGeneration, tokenizer: PreTrainedTokenizerFast, processor: Qwen2VLImageProcessorPil) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    network.generation_config.eos_token_id = tokenizer.eos_token_id
    network.generation_config.pad_token_id = tokenizer.pad_token_id
    network.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    processor.save_pretrained(folder)
    described = json.loads((folder / "preprocessor_config.json").read_text())
    (folder / "preprocessor_config.json").write_text(json.dumps(described, indent=1) + "\n")


def patches(pixels: torch.Tensor) -> torch.Tensor:
    """What `Qwen2VLImageProcessorPil` makes of frames uint8 [B,T,H,W,3], T even: float32 [B, T/2 * H/14 * W/14, 3*2*14*14]."""
    batch, frames, height, width, _ = pixels.shape
    scaled = (pixels.float() / 255 - MEAN[0]) / STD[0]
    cut = scaled.reshape(batch, frames // 2, 2, height // 28, 2, 14, width // 28, 2, 14, 3)
    # batch, time, row and column of 2 x 2, row and column inside, channel, time inside, pixel row and column
    return cut.permute(0, 1, 3, 6, 4, 7, 9, 2, 5, 8).reshape(batch, frames // 2 * height // 14 * width // 14, -1)
