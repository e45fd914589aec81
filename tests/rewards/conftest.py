"""Small random evaluators, written as the folders their loaders read."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch

from rewards.t2m import BiGRUEncoder, MovementEncoder, TextEncoder
from rewards.tmr import ActorEncoder
from rewards.words import EOS, SOS
from rollout.motion.vocabulary import Vocabulary

WORDS = ["a", "person", "walks", "forward", "jumps", "left"]


@pytest.fixture
def tmr_folder(tmp_path) -> Path:
    torch.manual_seed(1)
    folder = tmp_path / "tmr"
    (folder / "last_weights").mkdir(parents=True)
    (folder / "stats").mkdir()
    shape = {"latent_dim": 16, "ff_size": 24, "num_layers": 2, "num_heads": 4}
    shapes = {"text_encoder": {"nfeats": 12, **shape}, "motion_encoder": {"nfeats": 263, **shape}}
    for part, widths in shapes.items():
        torch.save(ActorEncoder(**widths).state_dict(), folder / "last_weights" / f"{part}.pt")
    torch.save(torch.randn(263), folder / "stats" / "mean.pt")
    torch.save(torch.rand(263) + 0.5, folder / "stats" / "std.pt")
    torch.save(torch.randn(len(WORDS) + 2, 12), folder / "word_embeddings.pt")
    Vocabulary(WORDS).save(folder / "vocabulary.json")
    (folder / "config.json").write_text(json.dumps({"model": shapes}))
    return folder


@pytest.fixture
def t2m_folder(tmp_path) -> Path:
    torch.manual_seed(2)
    folder = tmp_path / "t2m"
    folder.mkdir()
    networks = {
        "text_encoder": TextEncoder(10, 15, 12, 8),
        "movement_encoder": MovementEncoder(259, 14, 9),
        "motion_encoder": BiGRUEncoder(9, 16, 8),
    }
    torch.save({part: network.state_dict() for part, network in networks.items()}, folder / "finest.tar")
    draw = np.random.default_rng(3)
    np.save(folder / "mean.npy", draw.normal(size=263))
    np.save(folder / "std.npy", draw.uniform(0.5, 1.5, 263))
    np.save(folder / "word_vectors.npy", draw.normal(size=(len(WORDS) + 4, 10)).astype(np.float32))
    Vocabulary([SOS, EOS, *WORDS]).save(folder / "vocabulary.json")
    return folder


def parity_cases(pattern: str) -> list[Path]:
    """Folders of recorded official outputs that hold `pattern`; PARITY_FIXTURES overrides where they are."""
    beside = Path(__file__).resolve().parents[2].parent / "shared" / "fixtures"
    root = Path(os.environ.get("PARITY_FIXTURES", beside))
    return sorted(path for path in root.glob("*/") if list(path.glob(pattern)))
