"""T2M: the co-embedding evaluator of HumanML3D (Guo et al. 2022): movement convolutions and BiGRUs, as a reward.

Names and computations are those of the official state dicts, but embeddings come back in input order: packing is
length-aware, nothing is sorted. Every width is read from the tensors.
"""

import logging
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence

from rewards.reward import Motions
from rollout.weights import as_tensor, load_strict, read_array, read_torch, size_of
from rewards.words import CATEGORIES, EOS, SOS, encode_caption
from rollout.errors import InputError
from rollout.motion.vocabulary import Vocabulary

MAX_FRAMES = 196
FRAMES_PER_MOVEMENT = 4
log = logging.getLogger(__name__)


class MovementEncoder(nn.Module):
    """Two strided convolutions: 4 frames of features (without the 4 foot contacts) to one movement."""

    def __init__(self, nfeats: int, hidden: int, latent: int):
        super().__init__()
        self.main = nn.Sequential(
            nn.Conv1d(nfeats, hidden, 4, 2, 1),
            nn.Dropout(0.2),
            nn.LeakyReLU(0.2),
            nn.Conv1d(hidden, latent, 4, 2, 1),
            nn.Dropout(0.2),
            nn.LeakyReLU(0.2),
        )
        self.out_net = nn.Linear(latent, latent)

    def forward(self, x_btf: Tensor) -> Tensor:
        """[B, T, nfeats] -> [B, T // 4, latent]."""
        return self.out_net(self.main(x_btf.transpose(1, 2)).transpose(1, 2))


class BiGRUEncoder(nn.Module):
    """A sequence to one vector: the last states of both directions, through a small head."""

    def __init__(self, nfeats: int, hidden: int, output: int):
        super().__init__()
        self.input_emb = nn.Linear(nfeats, hidden)
        self.gru = nn.GRU(hidden, hidden, batch_first=True, bidirectional=True)
        self.output_net = nn.Sequential(
            nn.Linear(2 * hidden, hidden), nn.LayerNorm(hidden), nn.LeakyReLU(0.2), nn.Linear(hidden, output)
        )
        self.hidden = nn.Parameter(torch.randn(2, 1, hidden))

    def forward(self, x_blf: Tensor, lengths_b: Tensor) -> Tensor:
        """[B, L, nfeats] and lengths [B] in any order -> [B, output], in input order."""
        packed = pack_padded_sequence(self.input_emb(x_blf), lengths_b.cpu(), batch_first=True, enforce_sorted=False)
        last_2bh = self.gru(packed, self.hidden.repeat(1, len(x_blf), 1))[1]
        return self.output_net(torch.cat([last_2bh[0], last_2bh[1]], dim=-1))


class TextEncoder(BiGRUEncoder):
    """Word vectors plus an embedding of the part-of-speech category."""

    def __init__(self, word_dim: int, categories: int, hidden: int, output: int):
        super().__init__(word_dim, hidden, output)
        self.pos_emb = nn.Linear(categories, word_dim)

    def forward(self, words_blw: Tensor, categories_blc: Tensor, lengths_b: Tensor) -> Tensor:
        return super().forward(words_blw + self.pos_emb(categories_blc), lengths_b)


def build_networks(checkpoint, source: str) -> tuple[TextEncoder, MovementEncoder, BiGRUEncoder]:
    """Text, movement and motion networks with the widths of an official checkpoint dict, loaded with it.

    Raises InputError for missing, unexpected, misshapen or NaN tensors, all named; optimizer states are ignored.
    """
    parts = ("text_encoder", "movement_encoder", "motion_encoder")
    if not isinstance(checkpoint, dict) or (absent := [part for part in parts if part not in checkpoint]):
        found = f"without {', '.join(absent)}" if isinstance(checkpoint, dict) else type(checkpoint).__name__
        raise InputError(f"{source}: found {found}, expected a dict with {', '.join(parts)}")
    text, movement, motion = (checkpoint[part] for part in parts)
    networks = (
        TextEncoder(
            size_of(text, "input_emb.weight", 1, 300),
            len(CATEGORIES),
            size_of(text, "input_emb.weight", 0, 512),
            size_of(text, "output_net.3.weight", 0, 512),
        ),
        MovementEncoder(
            size_of(movement, "main.0.weight", 1, 259),
            size_of(movement, "main.0.weight", 0, 512),
            size_of(movement, "main.3.weight", 0, 512),
        ),
        BiGRUEncoder(
            size_of(movement, "out_net.weight", 0, 512),
            size_of(motion, "input_emb.weight", 0, 1024),
            size_of(text, "output_net.3.weight", 0, 512),
        ),
    )
    for part, network in zip(parts, networks):
        load_strict(network, checkpoint[part], f"{source} [{part}]")
    return networks


class T2MReward:
    """Minus the Euclidean distance between the co-embeddings of a motion and of its prompt (embedding units)."""

    name = "t2m"

    def __init__(
        self,
        text_encoder: TextEncoder,
        movement_encoder: MovementEncoder,
        motion_encoder: BiGRUEncoder,
        mean: Tensor,
        std: Tensor,
        vocabulary: Vocabulary,
        word_vectors: Tensor,
        device: str = "cpu",
    ):
        """mean, std: [263] of raw features; word_vectors: [len(vocabulary), word_dim], row 1 for unknown words."""
        self.device = torch.device(device)
        self.text_encoder = text_encoder.to(self.device).eval()
        self.movement_encoder = movement_encoder.to(self.device).eval()
        self.motion_encoder = motion_encoder.to(self.device).eval()
        self.mean, self.std = mean.to(self.device), std.to(self.device)
        self.vocabulary, self.word_vectors = vocabulary, word_vectors.detach().to(self.device)
        self._text_cache: dict[str, np.ndarray] = {}

    @classmethod
    def load(cls, folder: Path, device: str = "cpu") -> "T2MReward":
        """Reads finest.tar (a torch.save dict), mean.npy, std.npy, vocabulary.json and word_vectors.npy.
        InputError names the first file that is missing or wrong."""
        folder = Path(folder)
        path = folder / "finest.tar"
        networks = build_networks(read_torch(path), str(path))
        nfeats = networks[1].main[0].in_channels + 4
        mean, std = (
            as_tensor(read_array(path), str(path), (nfeats,)) for path in (folder / "mean.npy", folder / "std.npy")
        )
        if not (std > 0).all():
            raise InputError(f"{folder / 'std.npy'}: holds values that are not positive")
        path = folder / "vocabulary.json"
        vocabulary = Vocabulary.load(path)
        if absent := [word for word in (SOS, EOS) if word not in vocabulary.index]:
            raise InputError(f"{path}: without the words {', '.join(absent)}")
        path = folder / "word_vectors.npy"
        table = as_tensor(read_array(path), str(path), (len(vocabulary), networks[0].input_emb.in_features))
        return cls(*networks, mean, std, vocabulary, table, device)

    @torch.no_grad()
    def embed_motion(self, features: np.ndarray, lengths: np.ndarray) -> np.ndarray:
        """Raw features [N, T, 263] and lengths [N] in 4..196 to co-embeddings, float32 [N, D], in input order."""
        x_ntf = torch.as_tensor(features, dtype=torch.float32, device=self.device)
        return self.embed_normalised((x_ntf - self.mean) / self.std, torch.as_tensor(lengths)).cpu().numpy()

    def embed_normalised(self, x_ntf: Tensor, lengths_n: Tensor) -> Tensor:
        """As `embed_motion`, on normalised features, with gradient."""
        low, high = int(lengths_n.min()), int(lengths_n.max())
        if low < FRAMES_PER_MOVEMENT or high > MAX_FRAMES:
            raise InputError(f"t2m: motion lengths {low}..{high}, expected {FRAMES_PER_MOVEMENT}..{MAX_FRAMES} frames")
        # The convolutions look 3 frames past the end. Room for them, as in the official zero-padding to 196 frames,
        # makes the result the same whatever the batch is padded to.
        frames = min(high + FRAMES_PER_MOVEMENT, MAX_FRAMES)
        x_ntf = nn.functional.pad(x_ntf[:, :frames], (0, 0, 0, max(0, frames - x_ntf.shape[1])))
        beyond_nt = torch.arange(frames)[None] >= lengths_n.cpu()[:, None]
        x_ntf = x_ntf.masked_fill(beyond_nt[..., None].to(x_ntf.device), 0)
        return self.motion_encoder(self.movement_encoder(x_ntf[..., :-4]), lengths_n // FRAMES_PER_MOVEMENT)

    @torch.no_grad()
    def embed_text(self, prompts: list[str]) -> np.ndarray:
        """Co-embeddings of the prompts, float32 [N, D]. InputError when a prompt has no known word at all."""
        for prompt in dict.fromkeys(prompts):
            if prompt in self._text_cache:
                continue
            self.vocabulary.require_known(prompt)
            if unknown := self.vocabulary.unknown_words(prompt):
                log.warning("%s: prompt %r: unknown words %s", self.name, prompt, ", ".join(unknown))
            words, categories = encode_caption(self.vocabulary, prompt)
            one_hot_1lc = torch.eye(len(CATEGORIES), device=self.device)[categories][None]
            # One prompt at a time: its embedding then cannot depend on its neighbours, to the last bit.
            embedding_1d = self.text_encoder(self.word_vectors[words][None], one_hot_1lc, torch.tensor([len(words)]))
            self._text_cache[prompt] = embedding_1d[0].cpu().numpy()
        return np.stack([self._text_cache[prompt] for prompt in prompts])

    def __call__(self, motions: Motions) -> dict[str, np.ndarray]:
        gap_nd = self.embed_text(motions.prompts) - self.embed_motion(motions.features, motions.lengths)
        matching_n = -np.linalg.norm(gap_nd, axis=1).astype(np.float32)
        return {"total": matching_n, "matching": matching_n}
