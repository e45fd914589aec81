"""MDM's transformer-encoder denoiser in layers of our own, so that every linear can carry an adapter.

The computation is that of the official model (spec official-formats 1.4): fp32 outputs agree to rounding. Attention is
written with four separate linears because an adapter on the fused weights of `nn.MultiheadAttention`, or on the
sub-modules of `nn.TransformerEncoderLayer` in eval mode, is silently never called.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

HEADS = 4  # hard-coded in every published MDM; it cannot be read from the weights


@dataclass(frozen=True)
class MDMShape:
    """Widths of a denoiser: motion features, latent D, feed-forward, layers, text embedding, longest position."""

    features: int
    latent: int
    feedforward: int
    layers: int
    text: int
    max_positions: int = 5000


class EncoderLayer(nn.Module):
    """Post-norm transformer encoder layer: attention, norm, erf-gelu feed-forward, norm. [B,S,D] -> [B,S,D]."""

    def __init__(self, latent: int, feedforward: int, dropout: float):
        super().__init__()
        self.q, self.k, self.v, self.out = (nn.Linear(latent, latent) for _ in range(4))
        self.linear1 = nn.Linear(latent, feedforward)
        self.linear2 = nn.Linear(feedforward, latent)
        self.norm1, self.norm2 = nn.LayerNorm(latent), nn.LayerNorm(latent)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, attention_mask: Tensor | None) -> Tensor:
        B, S, D = x.shape
        q, k, v = (linear(x).view(B, S, HEADS, D // HEADS).transpose(1, 2) for linear in (self.q, self.k, self.v))
        attended = F.scaled_dot_product_attention(q, k, v, attn_mask=attention_mask)
        x = self.norm1(x + self.dropout(self.out(attended.transpose(1, 2).reshape(B, S, D))))
        return self.norm2(x + self.dropout(self.linear2(self.dropout(F.gelu(self.linear1(x))))))


class MDM(nn.Module):
    """Predicts the clean motion x0 from a noisy one, a timestep and a text embedding."""

    def __init__(self, shape: MDMShape, dropout: float = 0.1, activation_checkpointing: bool = False):
        super().__init__()
        self.shape = shape
        self.activation_checkpointing = activation_checkpointing
        self.pose_in = nn.Linear(shape.features, shape.latent)
        self.time_in = nn.Sequential(nn.Linear(shape.latent, shape.latent), nn.SiLU(), nn.Linear(shape.latent, shape.latent))
        self.text_in = nn.Linear(shape.text, shape.latent)
        self.layers = nn.ModuleList(EncoderLayer(shape.latent, shape.feedforward, dropout) for _ in range(shape.layers))
        self.pose_out = nn.Linear(shape.latent, shape.features)
        self.dropout = nn.Dropout(dropout)
        self.register_buffer("positions", sinusoidal_table(shape.max_positions, shape.latent), persistent=False)

    def forward(self, x_BTF: Tensor, t_B: Tensor, text_BE: Tensor, frame_mask_BT: Tensor | None = None) -> Tensor:
        """x0 prediction [B,T,F].

        `t_B`: integer steps of the schedule the model was trained on. `text_BE`: text embedding; zeros are the null
        condition. `frame_mask_BT`: True at valid frames, only for models trained with `mask_frames`; None attends to all.
        """
        condition_BD = self.text_in(text_BE) + self.time_in(self.positions[t_B])
        h = torch.cat([condition_BD[:, None], self.pose_in(x_BTF)], dim=1)
        h = self.dropout(h + self.positions[: h.shape[1]])
        attention_mask = None
        if frame_mask_BT is not None:
            attention_mask = F.pad(frame_mask_BT, (1, 0), value=True)[:, None, None, :]
        for layer in self.layers:
            if self.activation_checkpointing and torch.is_grad_enabled():
                h = checkpoint(layer, h, attention_mask, use_reentrant=False)
            else:
                h = layer(h, attention_mask)
        return self.pose_out(h[:, 1:])


def sinusoidal_table(length: int, width: int) -> Tensor:
    """[length, width] of interleaved sin/cos with frequencies exp(-2k ln(10000) / width)."""
    position = torch.arange(length, dtype=torch.float32)[:, None]
    frequency = torch.exp(torch.arange(0, width, 2).float() * (-math.log(10000.0) / width))
    table = torch.zeros(length, width)
    table[:, 0::2] = torch.sin(position * frequency)
    table[:, 1::2] = torch.cos(position * frequency)
    return table
