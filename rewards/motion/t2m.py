"""T2M: the co-embedding evaluator of HumanML3D (Guo et al. 2022): movement convolutions and BiGRUs, as a reward.

Names and computations are those of the official state dicts, but embeddings come back in input order: packing is
length-aware, nothing is sorted. Every width is read from the tensors.
"""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence

from rewards.motion.glove import GloveWords
from rewards.motion.space import Evaluator
from rewards.motion.t2m_files import find_checkpoint, read_statistics, read_words
from rewards.motion.words import CATEGORIES, WordTable
from rollout.io.errors import InputError
from rollout.io.weights import load_strict, read_torch, size_of

MAX_FRAMES = 196
FRAMES_PER_MOVEMENT = 4
CONTACTS = 4  # the last features, which the evaluator does not read


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

    @classmethod
    def like(cls, state: dict) -> "MovementEncoder":
        """One of the widths of a state dict."""
        first, second = "main.0.weight", "main.3.weight"
        return cls(size_of(state, first, 1, 259), size_of(state, first, 0, 512), size_of(state, second, 0, 512))

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
    hidden, latent = size_of(text, "input_emb.weight", 0, 512), size_of(text, "output_net.3.weight", 0, 512)
    builders = (
        lambda: TextEncoder(size_of(text, "input_emb.weight", 1, 300), len(CATEGORIES), hidden, latent),
        lambda: MovementEncoder.like(movement),
        lambda: BiGRUEncoder(size_of(movement, "out_net.weight", 0, 512), size_of(motion, "input_emb.weight", 0, 1024), latent),
    )
    return tuple(load_strict(build, checkpoint[part], f"{source} [{part}]") for part, build in zip(parts, builders))


class T2MReward(Evaluator):
    """Minus the Euclidean distance between the co-embeddings of a motion and of its prompt (embedding units)."""

    name = "t2m"

    def __init__(
        self,
        text_encoder: TextEncoder,
        movement_encoder: MovementEncoder,
        motion_encoder: BiGRUEncoder,
        mean: Tensor,
        std: Tensor,
        words: GloveWords | WordTable,
        device: str = "cpu",
    ):
        """mean, std: [F] of raw features; words: how a caption becomes word vectors and categories."""
        networks = {"text_encoder": text_encoder, "movement_encoder": movement_encoder, "motion_encoder": motion_encoder}
        super().__init__(device, mean.double(), std.double(), **networks)
        self.words = words

    @classmethod
    def load(cls, path: Path | str, device: str = "cpu") -> "T2MReward":
        """An evaluator in any layout of `rewards/motion/t2m_files.py`. InputError names the first file that is missing or wrong."""
        checkpoint = find_checkpoint(Path(path))
        networks = build_networks(read_torch(checkpoint), str(checkpoint))
        statistics = read_statistics(checkpoint, networks[1].main[0].in_channels + CONTACTS)
        return cls(*networks, *statistics, read_words(checkpoint, networks[0].input_emb.in_features), device)

    @torch.no_grad()
    def embed_motion(self, features: np.ndarray, lengths: np.ndarray, keep_tail: bool = False) -> np.ndarray:
        """Raw features [N, T, F] and lengths [N] in 4..196 to co-embeddings, float32 [N, D], in input order.

        The convolutions look 3 frames past a motion's end. They see zeros there, so that a score is of the motion alone;
        with `keep_tail` they see what `features` holds, as the official evaluation of generated motions does.
        """
        self.require(features.shape[-1])
        x_ntf = (torch.as_tensor(features, device=self.device).double() - self.mean) / self.std
        return self.embed_normalised(x_ntf.float(), torch.as_tensor(lengths), keep_tail).cpu().numpy()

    def embed_normalised(self, x_ntf: Tensor, lengths_n: Tensor, keep_tail: bool = False) -> Tensor:
        """As `embed_motion`, on normalised features, with gradient."""
        low, high = int(lengths_n.min()), int(lengths_n.max())
        if low < FRAMES_PER_MOVEMENT or high > MAX_FRAMES:
            raise InputError(f"t2m: motion lengths {low}..{high}, expected {FRAMES_PER_MOVEMENT}..{MAX_FRAMES} frames")
        # Room past the end, as in the official zero-padding to 196 frames, makes the result the same whatever the batch
        # is padded to.
        frames = min(high + FRAMES_PER_MOVEMENT, MAX_FRAMES)
        x_ntf = nn.functional.pad(x_ntf[:, :frames], (0, 0, 0, max(0, frames - x_ntf.shape[1])))
        if not keep_tail:
            beyond_nt = torch.arange(frames)[None] >= lengths_n.cpu()[:, None]
            x_ntf = x_ntf.masked_fill(beyond_nt[..., None].to(x_ntf.device), 0)
        return self.motion_encoder(self.movement_encoder(x_ntf[..., :-CONTACTS]), lengths_n // FRAMES_PER_MOVEMENT)

    @torch.no_grad()
    def _embed_caption(self, text: str, tokens: tuple[str, ...]) -> np.ndarray:
        vectors, categories, length = self.words.sentence(text, tokens)
        one_hot_1lc = torch.eye(len(CATEGORIES), device=self.device)[categories][None]
        vectors_1lw = torch.as_tensor(vectors, device=self.device)[None]
        return self.text_encoder(vectors_1lw, one_hot_1lc, torch.tensor([length]))[0].cpu().numpy()

    def of(self, text: np.ndarray, motion: np.ndarray) -> np.ndarray:
        return -np.linalg.norm(text - motion, axis=1).astype(np.float32)
