"""TMR: text-motion retrieval with ACTOR-style variational encoders (Petrovich et al. 2023), as a reward.

Names and computations are those of the official state dicts; every width is read from the tensors.
"""

import logging
import re
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from rewards.reward import Motions
from rollout.weights import as_tensor, load_strict, read_json_object, read_torch, size_of
from rollout.errors import InputError
from rollout.motion.vocabulary import Vocabulary

MAX_LENGTH = 5000
DROPOUT = 0.1
log = logging.getLogger(__name__)


def position_table(length: int, width: int) -> Tensor:
    """Interleaved sine-cosine table [length, width]: pe[p, 2k] = sin(p w_k), pe[p, 2k+1] = cos(p w_k)."""
    frequency_k = torch.exp(torch.arange(0, width, 2) * (-np.log(10000.0) / width))
    angle_pk = torch.arange(length)[:, None] * frequency_k
    return torch.stack([angle_pk.sin(), angle_pk.cos()], dim=-1).reshape(length, width)


def valid_frames(length: int, lengths: Tensor) -> Tensor:
    """bool [N, length], True where a position lies inside its sequence."""
    return torch.arange(length, device=lengths.device)[None] < lengths[:, None]


class ActorEncoder(nn.Module):
    """A sequence to a Gaussian in latent space: two learned tokens in front read out its mean and log-variance."""

    def __init__(self, nfeats: int, latent_dim: int, ff_size: int, num_layers: int, num_heads: int):
        super().__init__()
        self.tokens = nn.Parameter(torch.randn(2, latent_dim))
        self.projection = nn.Linear(nfeats, latent_dim)
        layer = nn.TransformerEncoderLayer(latent_dim, num_heads, ff_size, DROPOUT, "gelu", batch_first=True)
        self.seqTransEncoder = nn.TransformerEncoder(layer, num_layers, enable_nested_tensor=False)
        self.dropout = nn.Dropout(DROPOUT)
        self.register_buffer("pe", position_table(MAX_LENGTH, latent_dim), persistent=False)

    def forward(self, x_blf: Tensor, mask_bl: Tensor) -> tuple[Tensor, Tensor]:
        """x [B, L, nfeats], mask [B, L] True = valid. Returns mu and logvar, each [B, latent_dim]."""
        tokens_b2d = self.tokens.expand(len(x_blf), -1, -1)
        seq_bld = torch.cat([tokens_b2d, self.projection(x_blf)], dim=1)
        seq_bld = self.dropout(seq_bld + self.pe[: seq_bld.shape[1]])
        padding_bl = ~torch.cat([mask_bl.new_ones(len(mask_bl), 2), mask_bl], dim=1)
        seq_bld = self.seqTransEncoder(seq_bld, src_key_padding_mask=padding_bl)
        return seq_bld[:, 0], seq_bld[:, 1]


class ActorDecoder(nn.Module):
    """A latent to a sequence: position queries attend to the latent as a memory of one token. Used in training."""

    def __init__(self, nfeats: int, latent_dim: int, ff_size: int, num_layers: int, num_heads: int):
        super().__init__()
        layer = nn.TransformerDecoderLayer(latent_dim, num_heads, ff_size, DROPOUT, "gelu", batch_first=True)
        self.seqTransDecoder = nn.TransformerDecoder(layer, num_layers)
        self.final_layer = nn.Linear(latent_dim, nfeats)
        self.dropout = nn.Dropout(DROPOUT)
        self.register_buffer("pe", position_table(MAX_LENGTH, latent_dim), persistent=False)

    def forward(self, latent_bd: Tensor, mask_bl: Tensor) -> Tensor:
        """Normalised features [B, L, nfeats]; padded frames are 0."""
        queries_bld = self.dropout(self.pe[: mask_bl.shape[1]].expand(len(latent_bd), -1, -1))
        seq_bld = self.seqTransDecoder(queries_bld, latent_bd[:, None], tgt_key_padding_mask=~mask_bl)
        return self.final_layer(seq_bld) * mask_bl[..., None]


def build_encoder(state: dict, source: str, config: dict) -> ActorEncoder:
    """An encoder with the widths of `state`, loaded with it. `config` (official names) must agree where it speaks.

    Raises InputError for missing, unexpected, misshapen or NaN tensors, all named.
    """
    found = [re.match(r"seqTransEncoder\.layers\.(\d+)\.", key) for key in state] if isinstance(state, dict) else []
    widths = {
        "nfeats": size_of(state, "projection.weight", 1, 263),
        "latent_dim": size_of(state, "tokens", 1, 256),
        "ff_size": size_of(state, "seqTransEncoder.layers.0.linear1.weight", 0, 1024),
        "num_layers": 1 + max((int(match[1]) for match in found if match), default=0),
        "num_heads": config.get("num_heads", 4),  # no tensor tells the number of heads
    }
    stated = {key: config.get(key, width) for key, width in widths.items()}
    different = [f"{key} {stated[key]} (weights: {width})" for key, width in widths.items() if stated[key] != width]
    if different:
        raise InputError(f"{source}: config.json does not fit the weights: {', '.join(different)}")
    latent, heads = widths["latent_dim"], widths["num_heads"]
    if type(heads) is not int or heads < 1 or latent % heads:
        raise InputError(f"{source}: latent width {latent} is not divisible into {heads} heads")
    encoder = ActorEncoder(**widths)
    load_strict(encoder, state, source)
    return encoder


class TMRReward:
    """Cosine between the latent means of a motion and of its prompt, as cos/2 + 1/2 in [0, 1]."""

    name = "tmr"

    def __init__(
        self,
        text_encoder: ActorEncoder,
        motion_encoder: ActorEncoder,
        mean: Tensor,
        std: Tensor,
        vocabulary: Vocabulary,
        word_embeddings: Tensor,
        device: str = "cpu",
    ):
        """mean, std: [263] of raw features; word_embeddings: [len(vocabulary), nfeats], row 1 for unknown words."""
        self.device = torch.device(device)
        self.text_encoder = text_encoder.to(self.device).eval()
        self.motion_encoder = motion_encoder.to(self.device).eval()
        self.mean, self.std = mean.to(self.device), std.to(self.device)
        self.vocabulary, self.word_embeddings = vocabulary, word_embeddings.detach().to(self.device)
        self._text_cache: dict[str, np.ndarray] = {}

    @classmethod
    def load(cls, folder: Path, device: str = "cpu") -> "TMRReward":
        """Reads config.json, last_weights/{text,motion}_encoder.pt, stats/{mean,std}.pt, vocabulary.json and
        word_embeddings.pt. InputError names the first file that is missing or wrong."""
        folder = Path(folder)
        model = read_json_object(folder / "config.json").get("model", {})
        encoders = []
        for part in ("text_encoder", "motion_encoder"):
            path = folder / "last_weights" / f"{part}.pt"
            config = model.get(part, {}) if isinstance(model, dict) else {}
            encoders.append(build_encoder(read_torch(path), str(path), config if isinstance(config, dict) else {}))
        text_encoder, motion_encoder = encoders
        text_width, motion_width = text_encoder.tokens.shape[1], motion_encoder.tokens.shape[1]
        if text_width != motion_width:
            raise InputError(f"{folder}/last_weights: latent width {text_width} (text) and {motion_width} (motion)")
        nfeats = motion_encoder.projection.in_features
        mean, std = (
            as_tensor(read_torch(path), str(path), (nfeats,))
            for path in (folder / "stats" / "mean.pt", folder / "stats" / "std.pt")
        )
        vocabulary = Vocabulary.load(folder / "vocabulary.json")
        path = folder / "word_embeddings.pt"
        table = as_tensor(read_torch(path), str(path), (len(vocabulary), text_encoder.projection.in_features))
        return cls(text_encoder, motion_encoder, mean, std, vocabulary, table, device)

    @torch.no_grad()
    def embed_motion(self, features: np.ndarray, lengths: np.ndarray) -> np.ndarray:
        """Raw features [N, T, 263] and lengths [N] to latent means, float32 [N, D], in input order."""
        x_ntf = torch.as_tensor(features, dtype=torch.float32, device=self.device)
        lengths_n = torch.as_tensor(lengths, device=self.device)
        mask_nt = valid_frames(x_ntf.shape[1], lengths_n)
        # Zeroed, not only masked: an attention weight of 0 times NaN would still be NaN.
        x_ntf = ((x_ntf - self.mean) / (self.std + 1e-12)).masked_fill(~mask_nt[..., None], 0)
        return self.motion_encoder(x_ntf, mask_nt)[0].cpu().numpy()

    @torch.no_grad()
    def embed_text(self, prompts: list[str]) -> np.ndarray:
        """Latent means of the prompts, float32 [N, D]. InputError when a prompt has no known word at all."""
        for prompt in dict.fromkeys(prompts):
            if prompt in self._text_cache:
                continue
            self.vocabulary.require_known(prompt)
            if unknown := self.vocabulary.unknown_words(prompt):
                log.warning("%s: prompt %r: unknown words %s", self.name, prompt, ", ".join(unknown))
            # One prompt at a time: its embedding then cannot depend on its neighbours, to the last bit.
            x_1lf = self.word_embeddings[self.vocabulary.encode(prompt)][None]
            mask_1l = torch.ones(x_1lf.shape[:2], dtype=torch.bool, device=self.device)
            self._text_cache[prompt] = self.text_encoder(x_1lf, mask_1l)[0][0].cpu().numpy()
        return np.stack([self._text_cache[prompt] for prompt in prompts])

    def __call__(self, motions: Motions) -> dict[str, np.ndarray]:
        text_nd = self.embed_text(motions.prompts)
        motion_nd = self.embed_motion(motions.features, motions.lengths)
        norms_n = np.linalg.norm(text_nd, axis=1) * np.linalg.norm(motion_nd, axis=1)
        cosine_n = ((text_nd * motion_nd).sum(axis=1) / norms_n / 2 + 0.5).astype(np.float32)
        return {"total": cosine_n, "cosine": cosine_n}
