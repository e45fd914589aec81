"""Random vision-language checkpoints, a SAM2 and items, at real sizes in the official layouts.

A Qwen2.5-VL or the thinker of a Qwen2.5-Omni of some 300 million weights: the vocabulary, patches and windows of the official ones,
fewer and narrower layers. Items are pictures of 840 x 840 pixels with a region that is asked for, or videos with sound. SAM2 has
the size that its configuration has of itself (Hiera tiny, 1024 pixels).
"""

import json
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from scipy.io import wavfile

from tests.tiny_language import TEXT, network, write_tokenizer

LANGUAGE = TEXT | {
    "vocab_size": 151_936, "hidden_size": 896, "intermediate_size": 4864, "num_hidden_layers": 8, "num_attention_heads": 14,
    "max_position_embeddings": 32_768, "tie_word_embeddings": True, "initializer_range": 0.02,
    "rope_parameters": {"rope_type": "default", "rope_theta": 1_000_000.0, "mrope_section": [8, 12, 12]},
}  # fmt: skip
VISION = {
    "depth": 8, "hidden_size": 640, "num_heads": 10, "intermediate_size": 1728, "out_hidden_size": 896, "patch_size": 14,
    "spatial_merge_size": 2, "temporal_patch_size": 2, "window_size": 112, "fullatt_block_indexes": [3, 7], "initializer_range": 0.02,
}  # fmt: skip
AUDIO = {
    "num_mel_bins": 128, "encoder_layers": 4, "encoder_attention_heads": 8, "encoder_ffn_dim": 2048, "d_model": 512, "output_dim": 896,
    "n_window": 100, "max_source_positions": 1500, "initializer_range": 0.02,
}  # fmt: skip
SIDE, FRAMES, SECONDS, RATE = 840, 8, 4, 16_000
ITEMS = 4


def write_model(folder: Path, architecture: str) -> int:
    """Returns how many weights there are."""
    from transformers import Qwen2VLImageProcessorPil, WhisperFeatureExtractor

    torch.manual_seed(0)
    model = network(architecture, LANGUAGE, VISION, AUDIO)
    model.save_pretrained(folder)
    write_tokenizer(folder)
    Qwen2VLImageProcessorPil(patch_size=14, min_pixels=56 * 56, max_pixels=SIDE * SIDE).save_pretrained(folder)
    if architecture == "qwen2_5_omni_thinker":
        described = folder / "preprocessor_config.json"
        heard = WhisperFeatureExtractor(feature_size=128, sampling_rate=RATE, hop_length=160, chunk_length=30, n_fft=400).to_dict()
        described.write_text(json.dumps(heard | json.loads(described.read_text())))
    return sum(weights.numel() for weights in model.parameters())


def write_sam2(folder: Path) -> int:
    from transformers import Sam2Config, Sam2Model

    torch.manual_seed(1)
    model = Sam2Model(Sam2Config())
    model.save_pretrained(folder)
    return sum(weights.numel() for weights in model.parameters())


def write_pictures(folder: Path, name: str, seed: int) -> Path:
    """Items that ask for a region."""
    draw, rows = np.random.default_rng(seed), []
    for number in range(ITEMS):
        x, y = (int(corner) for corner in draw.integers(100, 500, 2))
        mask = np.zeros((SIDE, SIDE), np.uint8)
        mask[y : y + 200, x : x + 150] = 255
        Image.fromarray(draw.integers(0, 256, (SIDE, SIDE, 3)).astype(np.uint8)).save(folder / f"{name}{number}.png")
        Image.fromarray(mask).save(folder / f"{name}{number}.mask.png")
        rows.append({
            "problem": f"Which points are not of person {name} {number}?", "problem_type": "segmentation", "image": f"{name}{number}.png",
            "mask": f"{name}{number}.mask.png", "box": [x, y, x + 150, y + 200], "points": [[x + 75, y + 100]],
        })  # fmt: skip
    return _written(folder / f"{name}.jsonl", rows)


def write_videos(folder: Path, name: str, seed: int) -> Path:
    """Questions about videos of 448 x 336 pixels with four seconds of sound."""
    draw, rows = np.random.default_rng(seed), []
    for number in range(ITEMS):
        np.save(folder / f"{name}{number}.npy", draw.integers(0, 256, (FRAMES, 336, 448, 3)).astype(np.uint8))
        wavfile.write(folder / f"{name}{number}.wav", RATE, draw.normal(0, 3000, RATE * SECONDS).astype(np.int16))
        rows.append({
            "problem": f"What does person {name} {number} do?", "problem_type": "multiple choice", "options": ["A. sits", "B. runs"],
            "solution": "<answer>A</answer>", "data_type": "video", "path": {"video": f"{name}{number}.npy", "audio": f"{name}{number}.wav"},
        })  # fmt: skip
    return _written(folder / f"{name}.jsonl", rows)


def _written(file: Path, rows: list[dict]) -> Path:
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file
