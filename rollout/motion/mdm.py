"""MDM's denoisers, transformer encoder and decoder, in layers of our own, so that every linear can carry an adapter.

The computation is that of the official model (spec official-formats 1.4): fp32 outputs agree to rounding. Attention is
written with four separate linears because an adapter on the fused weights of `nn.MultiheadAttention`, or on the
sub-modules of `nn.TransformerEncoderLayer` in eval mode, is silently never called.
"""

import math
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

HEADS = 4  # hard-coded in every published MDM; it cannot be read from the weights


@dataclass(frozen=True)
class MDMShape:
    """Widths of a denoiser: motion features, latent D, feed-forward, layers, text embedding, longest position.

    `text` 0: trained without text. `decoder`: frames attend to the text tokens as memory; otherwise the one text token
    stands in front of the frames. `class_token`: what a decoder has in front of its frames (`emb_trans_dec`): nothing,
    the timestep's embedding, or ("condition", first release) the sum of text and timestep.
    """

    features: int
    latent: int
    feedforward: int
    layers: int
    text: int
    max_positions: int = 5000
    decoder: bool = False
    class_token: Literal["none", "time", "condition"] = "none"


class Attention(nn.Module):
    """Multi-head attention of [B,S,D] over a memory [B,L,D]; mask [B,1,1,L], True where the memory may be read."""

    def __init__(self, latent: int):
        super().__init__()
        self.q, self.k, self.v, self.out = (nn.Linear(latent, latent) for _ in range(4))

    def attend(self, x: Tensor, memory: Tensor, mask: Tensor | None) -> Tensor:
        B, S, D = x.shape
        pairs = ((self.q, x), (self.k, memory), (self.v, memory))
        q, k, v = (linear(source).view(B, -1, HEADS, D // HEADS).transpose(1, 2) for linear, source in pairs)
        attended = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        return self.out(attended.transpose(1, 2).reshape(B, S, D))


class EncoderLayer(Attention):
    """Post-norm transformer encoder layer: attention, norm, erf-gelu feed-forward, norm. [B,S,D] -> [B,S,D]."""

    def __init__(self, latent: int, feedforward: int, dropout: float):
        super().__init__(latent)
        self.linear1 = nn.Linear(latent, feedforward)
        self.linear2 = nn.Linear(feedforward, latent)
        self.norm1, self.norm2 = nn.LayerNorm(latent), nn.LayerNorm(latent)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        x = self.norm1(x + self.dropout(self.attend(x, x, mask)))
        return self.norm2(x + self.feedforward(x))

    def feedforward(self, x: Tensor) -> Tensor:
        return self.dropout(self.linear2(self.dropout(F.gelu(self.linear1(x)))))


class DecoderLayer(EncoderLayer):
    """Post-norm transformer decoder layer: attention among frames (not causal), to the memory, feed-forward."""

    def __init__(self, latent: int, feedforward: int, dropout: float):
        super().__init__(latent, feedforward, dropout)
        self.cross = Attention(latent)
        self.norm3 = nn.LayerNorm(latent)

    def forward(self, x: Tensor, mask: Tensor | None, memory: Tensor, memory_mask: Tensor | None) -> Tensor:
        x = self.norm1(x + self.dropout(self.attend(x, x, mask)))
        x = self.norm2(x + self.dropout(self.cross.attend(x, memory, memory_mask)))
        return self.norm3(x + self.feedforward(x))


class MDM(nn.Module):
    """Predicts the clean motion x0 from a noisy one, a timestep and a text embedding."""

    def __init__(self, shape: MDMShape, dropout: float = 0.1, activation_checkpointing: bool = False):
        super().__init__()
        self.shape = shape
        self.activation_checkpointing = activation_checkpointing
        self.pose_in = nn.Linear(shape.features, shape.latent)
        self.time_in = nn.Sequential(nn.Linear(shape.latent, shape.latent), nn.SiLU(), nn.Linear(shape.latent, shape.latent))
        self.text_in = nn.Linear(shape.text, shape.latent) if shape.text else None
        layer = DecoderLayer if shape.decoder else EncoderLayer
        self.layers = nn.ModuleList(layer(shape.latent, shape.feedforward, dropout) for _ in range(shape.layers))
        self.pose_out = nn.Linear(shape.latent, shape.features)
        self.dropout = nn.Dropout(dropout)
        self.register_buffer("positions", sinusoidal_table(shape.max_positions, shape.latent), persistent=False)

    def forward(
        self, x_BTF: Tensor, t_B: Tensor, text_BLE: Tensor, frame_mask_BT: Tensor | None = None,
        text_mask_BL: Tensor | None = None, prefix_BCF: Tensor | None = None,
    ) -> Tensor:  # fmt: skip
        """x0 prediction [B,T,F].

        `t_B`: integer steps of the schedule the model was trained on. `text_BLE`: text tokens (L = 1 unless the model is
        a decoder); zeros are the null condition. Masks are True at what is valid, None where all is; the frames' one is
        for models trained with `mask_frames` only. `prefix_BCF`: the motion that the frames continue (prefix completion).
        """
        time_BD = self.time_in(self.positions[t_B])
        condition_BLD = time_BD[:, None] if self.text_in is None else self.text_in(text_BLE) + time_BD[:, None]
        prefix_length = 0 if prefix_BCF is None else prefix_BCF.shape[1]
        frames_BTF = x_BTF if prefix_BCF is None else torch.cat([prefix_BCF, x_BTF], dim=1)
        front = [] if self.shape.decoder else [condition_BLD]
        if self.shape.class_token != "none":
            front = [time_BD[:, None] if self.shape.class_token == "time" else condition_BLD]
        h = torch.cat([*front, self.pose_in(frames_BTF)], dim=1)
        h = self.dropout(h + self.positions[: h.shape[1]])
        frame_mask = None
        if frame_mask_BT is not None:
            frame_mask = F.pad(frame_mask_BT, (len(front) + prefix_length, 0), value=True)[:, None, None, :]
        inputs = (frame_mask,)
        if self.shape.decoder:
            inputs = (frame_mask, condition_BLD, None if text_mask_BL is None else text_mask_BL[:, None, None, :])
        for layer in self.layers:
            if self.activation_checkpointing and torch.is_grad_enabled():
                h = checkpoint(layer, h, *inputs, use_reentrant=False)
            else:
                h = layer(h, *inputs)
        return self.pose_out(h[:, len(front) + prefix_length :])


def sinusoidal_table(length: int, width: int) -> Tensor:
    """[length, width] of interleaved sin/cos with frequencies exp(-2k ln(10000) / width); without values on the meta device."""
    if torch.get_default_device().type == "meta":  # where arithmetic imports torch's compiler: a second of every process
        return torch.empty(length, width)
    frequency = torch.exp(torch.arange(0, width, 2).float() * (-math.log(10000.0) / width))
    angle = torch.arange(length, dtype=torch.float32)[:, None] * frequency
    return torch.stack([angle.sin(), angle.cos()], dim=-1).reshape(length, width)
