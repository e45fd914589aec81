"""Variants of MDM that the recorded cases may lack, against the plain torch layers that the official code is made of.

The reference follows spec official-formats 1.4 with `nn.TransformerEncoder` and `nn.TransformerDecoder`, sequence first.
"""

import numpy as np
import pytest
import torch
from torch import nn

from rollout.io.errors import InputError
from rollout.motion.checkpoint import with_missing
from rollout.motion.mdm import sinusoidal_table
from tests.rollout.checkpoint_files import build_denoiser
from tests.tiny import randomise

D, FF, LAYERS, B, T, L, C = 32, 48, 2, 3, 9, 4, 5
FORWARD = 5e-6
HEAD = {"text_encoder_type": "bert", "mask_frames": True, "latent_dim": D, "layers": LAYERS, "pos_embed_max_len": 100, "diffusion_steps": 50}
FIRST_RELEASE = {"latent_dim": D, "layers": LAYERS, "diffusion_steps": 100, "pos_embed_max_len": 100}


class Reference(nn.Module):
    """The official network's modules under their official names."""

    def __init__(self, args: dict, features: int = 263, text: int = 24):
        super().__init__()
        self.options = with_missing(args)
        self.input_process, self.output_process, self.embed_timestep = (nn.Module() for _ in range(3))
        self.input_process.poseEmbedding = nn.Linear(features, D)
        self.output_process.poseFinal = nn.Linear(D, features)
        self.embed_timestep.time_embed = nn.Sequential(nn.Linear(D, D), nn.SiLU(), nn.Linear(D, D))
        if not self.options["unconstrained"]:
            self.embed_text = nn.Linear(text, D)
        shape = {"d_model": D, "nhead": 4, "dim_feedforward": FF, "activation": "gelu"}
        if self.options["arch"] == "trans_dec":
            self.seqTransDecoder = nn.TransformerDecoder(nn.TransformerDecoderLayer(**shape), LAYERS)
        else:
            self.seqTransEncoder = nn.TransformerEncoder(nn.TransformerEncoderLayer(**shape), LAYERS, enable_nested_tensor=False)

    def forward(self, x_BTF, t_B, text_BLE, frame_mask_BT, text_mask_BL, prefix_BCF):
        table = sinusoidal_table(100, D)[:, None]
        time = self.embed_timestep.time_embed(table[t_B, 0])[None]
        condition = time if self.options["unconstrained"] else self.embed_text(text_BLE.transpose(0, 1)) + time
        if prefix_BCF is not None:
            x_BTF = torch.cat([prefix_BCF, x_BTF], dim=1)
            frame_mask_BT = torch.cat([torch.ones(B, C, dtype=torch.bool), frame_mask_BT], dim=1)
        frames = self.input_process.poseEmbedding(x_BTF.transpose(0, 1))
        front = []
        if self.options["arch"] == "trans_enc":
            front = [condition]
        elif self.options["emb_trans_dec"]:
            front = [condition if self.options["first_release"] else time]
        sequence = torch.cat([*front, frames])
        sequence = sequence + table[: len(sequence)]
        padding = None
        if self.options["mask_frames"]:
            padding = ~torch.cat([torch.ones(B, len(front), dtype=torch.bool), frame_mask_BT], dim=1)
        if self.options["arch"] == "trans_enc":
            out = self.seqTransEncoder(sequence, src_key_padding_mask=padding)
        else:
            memory_padding = None if text_mask_BL is None else ~text_mask_BL
            out = self.seqTransDecoder(sequence, condition, tgt_key_padding_mask=padding, memory_key_padding_mask=memory_padding)
        out = self.output_process.poseFinal(out[len(front) :]).transpose(0, 1)
        return out if prefix_BCF is None else out[:, C:]


VARIANTS = {
    "decoder of CLIP": {**HEAD, "arch": "trans_dec", "text_encoder_type": "clip", "mask_frames": False},
    "decoder with the time in front": {**HEAD, "arch": "trans_dec", "emb_trans_dec": True},
    "first-release decoder": {**FIRST_RELEASE, "arch": "trans_dec"},
    "first-release decoder with time and text in front": {**FIRST_RELEASE, "arch": "trans_dec", "emb_trans_dec": True},
    "prefix completion": {**HEAD, "arch": "trans_dec", "context_len": C, "pred_len": T},
    "prefix completion with the time in front": {**HEAD, "arch": "trans_dec", "context_len": C, "emb_trans_dec": True},
    "masked encoder": {**HEAD, "arch": "trans_enc", "text_encoder_type": "clip"},
    "encoder without text": {**FIRST_RELEASE, "unconstrained": True},
    "very old encoder without text": {**FIRST_RELEASE, "cond_mode": "no_cond"},
    "KIT": {**FIRST_RELEASE, "dataset": "kit"},
}


@pytest.mark.parametrize("name", VARIANTS)
@torch.no_grad()
def test_a_variant_computes_what_the_official_layers_do(name):
    args = VARIANTS[name]
    options, features = with_missing(args), 251 if name == "KIT" else 263
    reference = randomise(Reference(args, features), 0).eval()
    denoiser = build_denoiser(reference.state_dict(), args, name)
    draw = torch.Generator().manual_seed(1)
    tokens = L if options["text_encoder_type"] == "bert" else 1
    x, text = torch.randn(B, T, features, generator=draw), torch.randn(B, tokens, 24, generator=draw)
    frame_mask = torch.arange(T) < torch.tensor([[T], [4], [7]])
    text_mask = torch.arange(L) < torch.tensor([[2], [L], [1]]) if tokens > 1 else None
    prefix = torch.randn(B, C, features, generator=draw) if options["context_len"] else None
    inputs = x, torch.tensor([0, 20, 49]), text
    expected = reference(*inputs, frame_mask, text_mask, prefix)
    found = denoiser(*inputs, frame_mask if options["mask_frames"] else None, text_mask, prefix)
    torch.testing.assert_close(found, expected, atol=FORWARD, rtol=0)


def test_the_two_meanings_of_the_class_token_differ():
    weights = randomise(Reference(VARIANTS["first-release decoder with time and text in front"]), 0).state_dict()
    first, head = (
        build_denoiser(weights, args, "both").eval()(torch.ones(1, T, 263), torch.tensor([3]), torch.ones(1, 1, 24))
        for args in (VARIANTS["first-release decoder with time and text in front"], {**HEAD, "arch": "trans_dec", "emb_trans_dec": True})
    )
    assert (first - head).abs().max() > 1e-3


def test_prefix_completion_predicts_its_context_length_unless_it_says_more():
    assert with_missing({"context_len": 20})["pred_len"] == 20 and with_missing({"context_len": 20, "pred_len": 40})["pred_len"] == 40


@pytest.mark.parametrize("change, expected", [
    ({"arch": "gru"}, "gru.*not supported: the published model recurs over the batch"), ({"arch": "mamba"}, "'mamba'; supported"),
    ({"arch": "trans_enc"}, "one text token.*expected trans_dec"), ({"multi_target_cond": True}, "multi_target_cond"),
])  # fmt: skip
def test_what_cannot_be_computed_is_refused(change, expected):
    args = {**HEAD, "arch": "trans_dec"}
    weights = Reference(args).state_dict()
    with pytest.raises(InputError, match=expected):
        build_denoiser(weights, {**args, **change}, "model.pt")


@pytest.mark.parametrize("key", ["seqTransDecoder.layers.0.multihead_attn.in_proj_weight", "seqTransDecoder.layers.1.norm3.bias"])
def test_every_key_of_a_decoder_is_needed_and_used(key):
    args = {**HEAD, "arch": "trans_dec"}
    weights = Reference(args).state_dict()
    for changed in ({k: v for k, v in weights.items() if k != key}, {**weights, key.replace(".0.", ".7.").replace(".1.", ".8."): weights[key]},
                    {**weights, "pose_in.weight": weights[key]}, {**weights, key: weights[key][..., :-1]}):  # fmt: skip
        with pytest.raises(InputError, match="model.pt: .*(missing|unexpected|shape)"):
            build_denoiser(changed, args, "model.pt")
    with pytest.raises(InputError, match="NaN"):
        build_denoiser({**weights, key: weights[key] * np.nan}, args, "model.pt")
