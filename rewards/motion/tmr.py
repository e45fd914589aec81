"""TMR: text-motion retrieval with ACTOR-style variational encoders (Petrovich et al. 2023), as a reward.

Names and computations are those of the official state dicts; every width is read from the tensors.
"""

import functools
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from rewards.motion.readings import READINGS
from rewards.motion.space import Evaluator, cosine
from rewards.motion.t2m import MovementEncoder
from rewards.motion.texts import Caption
from rewards.motion.tmr_files import (
    DECODER,
    MOTION,
    MOVEMENT,
    PLAIN,
    TEXT,
    encoder_file,
    pick,
    read_config,
    read_networks,
    read_pair,
    read_statistics,
    read_word_table,
)  # fmt: skip
from rollout.io.errors import InputError
from rollout.io.kept import Kept
from rollout.io.machine import device_kind
from rollout.io.weights import load_strict, read_json_object, size_of
from rollout.motion.huggingface import HuggingFaceText, text_encoder
from rollout.motion.mdm import sinusoidal_table
from rollout.motion.skeleton import HUMANML3D

MAX_LENGTH = 5000
DROPOUT = 0.1


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
        self.register_buffer("pe", sinusoidal_table(MAX_LENGTH, latent_dim), persistent=False)

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
        self.register_buffer("pe", sinusoidal_table(MAX_LENGTH, latent_dim), persistent=False)

    def forward(self, latent_bd: Tensor, mask_bl: Tensor) -> Tensor:
        """Normalised features [B, L, nfeats]; padded frames are 0."""
        queries_bld = self.dropout(self.pe[: mask_bl.shape[1]].expand(len(latent_bd), -1, -1))
        seq_bld = self.seqTransDecoder(queries_bld, latent_bd[:, None], tgt_key_padding_mask=~mask_bl)
        return self.final_layer(seq_bld) * mask_bl[..., None]


def build_encoder(state: dict, source: str, config: dict) -> ActorEncoder:
    """An encoder with the widths of `state`, loaded with it. `config` (official names) must agree where it speaks.

    Raises InputError for missing, unexpected, misshapen or NaN tensors, all named.
    """
    widths = {
        "nfeats": size_of(state, "projection.weight", 1, 263),
        "latent_dim": size_of(state, "tokens", 1, 256),
        "ff_size": size_of(state, "seqTransEncoder.layers.0.linear1.weight", 0, 1024),
        "num_layers": layers_of(state, "seqTransEncoder"),
        "num_heads": config.get("num_heads", 4),  # no tensor tells the number of heads
    }
    stated = {key: config.get(key, width) for key, width in widths.items()}
    different = [f"{key} {stated[key]} (weights: {width})" for key, width in widths.items() if stated[key] != width]
    if different:
        raise InputError(f"{source}: config.json does not fit the weights: {', '.join(different)}")
    latent, heads = widths["latent_dim"], widths["num_heads"]
    if type(heads) is not int or heads < 1 or latent % heads:
        raise InputError(f"{source}: latent width {latent} is not divisible into {heads} heads")
    return load_strict(lambda: ActorEncoder(**widths), state, source)


def layers_of(state, stack: str) -> int:
    """How many layers `stack` has in a state dict, 1 when it has none. Counted: a name may say any number."""
    found = [re.match(rf"{stack}\.layers\.(\d+)\.", str(key)) for key in state] if isinstance(state, dict) else []
    return max(1, len({match[1] for match in found if match}))


def check_movement(path: Path) -> None:
    """Raises InputError unless the file holds TMR's motion decoder, or T2M's movement encoder, in every key and shape."""
    networks = read_networks(path)
    if MOVEMENT in networks or "main.0.weight" in networks.get(PLAIN, {}):
        state = pick(networks, MOVEMENT, path)
        load_strict(lambda: MovementEncoder.like(state), state, str(path))
    else:
        state = pick(networks, DECODER, path)
        nfeats, latent = size_of(state, "final_layer.weight", 0, 263), size_of(state, "final_layer.weight", 1, 256)
        feedforward = size_of(state, "seqTransDecoder.layers.0.linear1.weight", 0, 1024)
        layers = layers_of(state, "seqTransDecoder")
        load_strict(lambda: ActorDecoder(nfeats, latent, feedforward, layers, num_heads=1), state, str(path))


class TMRReward(Evaluator):
    """Cosine between the latent means of a motion and of its prompt, as cos/2 + 1/2 in [0, 1]."""

    name = "tmr"

    def __init__(
        self,
        text_encoder: ActorEncoder,
        motion_encoder: ActorEncoder,
        mean: Tensor,
        std: Tensor,
        read_text: Callable[[str], np.ndarray],
        device: str = "cpu",
        language_model: Callable[[], HuggingFaceText] | None = None,
    ):
        """mean, std: of what it reads of a motion (`rewards/motion/readings.py`); read_text: a caption to the text encoder's input,
        float32 [L, nfeats]; language_model: what `read_text` reads by when that is slow enough to keep what becomes of captions for
        later runs."""
        super().__init__(device, mean, std, text_encoder=text_encoder, motion_encoder=motion_encoder)
        self.read_text, self.language_model = read_text, language_model
        self.reads = READINGS.get(len(mean))
        self.width = HUMANML3D.features if self.reads else len(mean)

    @classmethod
    def load(
        cls, folder: Path | str, device: str = "cpu", stats: str | None = None, text_source: str | None = None
    ) -> "TMRReward":
        """A run folder: config.json, last_weights/{text,motion}_encoder.pt or .safetensors, statistics (see `read_statistics`), and
        vocabulary.json with word_embeddings.pt or else the DistilBERT `text_source`. InputError names the first file that
        is missing or wrong."""
        folder = Path(folder)
        config = read_json_object(folder / "config.json")
        paths = {part: encoder_file(folder, part) for part in (TEXT, MOTION)}
        weights = {part: (pick(read_networks(path), part, path), path) for part, path in paths.items()}
        return cls._assemble(weights, config, [folder], device, stats, text_source)

    @classmethod
    def load_files(
        cls,
        text_path: str | None,
        motion_path: str | None,
        movement_path: str | None = None,
        device: str = "cpu",
        stats: str | None = None,
        text_source: str | None = None,
    ) -> "TMRReward":
        """Single weights files in any layout of `rewards/motion/tmr_files.py`; everything else is looked for beside the first of
        them and one folder above. The movement file (TMR has none; its motion decoder, say) is checked and not used."""
        text_file, motion_file, movement_file = (path and Path(path) for path in (text_path, motion_path, movement_path))
        weights = read_pair(text_file, motion_file)
        if movement_file:
            check_movement(movement_file)
        folders = list(weights[TEXT][1].absolute().parents)[:2]
        return cls._assemble(weights, read_config(folders), folders, device, stats, text_source)

    @classmethod
    def _assemble(cls, weights, config: dict, folders: list[Path], device: str, stats, text_source) -> "TMRReward":
        model = config.get("model")
        encoders = {}
        for part, (state, path) in weights.items():
            widths = model.get(part) if isinstance(model, dict) else None
            encoders[part] = build_encoder(state, str(path), widths if isinstance(widths, dict) else {})
        latents = {part: encoder.tokens.shape[1] for part, encoder in encoders.items()}
        if latents[TEXT] != latents[MOTION]:
            raise InputError(f"{weights[MOTION][1]}: latent width {latents[MOTION]}, the text encoder has {latents[TEXT]}")
        mean, std = read_statistics(folders, config, stats, encoders[MOTION].projection.in_features)
        table = read_word_table(folders, encoders[TEXT].projection.in_features)
        if table and text_source:
            raise InputError(f"reward.text_encoder: found {text_source!r}, but this evaluator reads text by its vocabulary.json")
        if table:
            return cls(encoders[TEXT], encoders[MOTION], mean, std, table.encode, device)
        # Looked up for the first unknown caption only: whoever is given the embeddings needs no language model.
        language_model = functools.partial(text_encoder, "bert", text_source)
        return cls(encoders[TEXT], encoders[MOTION], mean, std, lambda text: language_model().encode(text), device, language_model)

    @torch.no_grad()
    def embed_motion(self, features: np.ndarray, lengths: np.ndarray) -> np.ndarray:
        """Raw features [N, T, F] and lengths [N] to latent means, float32 [N, D], in input order."""
        self.require(features.shape[-1])
        read = self.reads(features) if self.reads else features
        x_ntf = torch.as_tensor(read, dtype=torch.float32, device=self.device)
        lengths_n = torch.as_tensor(lengths, device=self.device)
        mask_nt = valid_frames(x_ntf.shape[1], lengths_n)
        # Zeroed, not only masked: an attention weight of 0 times NaN would still be NaN.
        x_ntf = ((x_ntf - self.mean) / (self.std + 1e-12)).masked_fill(~mask_nt[..., None], 0)
        return self.motion_encoder(x_ntf, mask_nt)[0].cpu().numpy()

    @functools.cached_property
    def _kept(self) -> Kept:
        heads = self.text_encoder.seqTransEncoder.layers[0].self_attn.num_heads  # of which no weight tells
        standing = {"networks": self.weights_sha256(), "heads": str(heads), "computed on": device_kind(str(self.device))}
        return Kept(lambda text: self._embed_caption(text, ()), self.language_model().standing | standing)

    def _embed_captions(self, captions: list[Caption]) -> list[np.ndarray]:
        return self._kept([text for text, _ in captions]) if self.language_model else super()._embed_captions(captions)

    @torch.no_grad()
    def _embed_caption(self, text: str, tokens: tuple[str, ...]) -> np.ndarray:
        x_1lf = torch.as_tensor(self.read_text(text), device=self.device)[None]
        wanted = self.text_encoder.projection.in_features
        if x_1lf.shape[2] != wanted:
            raise InputError(
                f"reward.text_encoder: gives token features of {x_1lf.shape[2]} numbers, TMR's text encoder reads {wanted}"
            )
        mask_1l = torch.ones(x_1lf.shape[:2], dtype=torch.bool, device=self.device)
        return self.text_encoder(x_1lf, mask_1l)[0][0].cpu().numpy()

    def of(self, text: np.ndarray, motion: np.ndarray) -> np.ndarray:
        return (cosine(text, motion) / 2 + 0.5).astype(np.float32)
