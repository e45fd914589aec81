"""Tensor names of the official MDM state dicts to ours and back (spec official-formats 1.3)."""

import re

import torch
from torch import Tensor

from rollout.motion.mdm import MDM

NAMES = {
    "input_process.poseEmbedding.": "pose_in.", "embed_timestep.time_embed.": "time_in.", "embed_text.": "text_in.",
    "output_process.poseFinal.": "pose_out.", "self_attn.out_proj.": "out.", "multihead_attn.out_proj.": "cross.out.",
}  # fmt: skip
STACK = {False: "seqTransEncoder.layers.", True: "seqTransDecoder.layers."}  # by whether the model is a decoder
RECOMPUTED = ("sequence_pos_encoder.pe", "embed_timestep.sequence_pos_encoder.pe")
_FUSED = re.compile(r"(.+\.)(self_attn|multihead_attn)\.in_proj_(weight|bias)")
_SPLIT = re.compile(r"(layers\.\d+\.)(cross\.)?([qkv])\.(weight|bias)")


def from_official(state: dict[str, Tensor], decoder: bool) -> dict[str, Tensor]:
    """Official names to ours; each fused `in_proj` becomes q, k and v. Names that are not official stay as they are."""
    names = {**NAMES, STACK[decoder]: "layers."}
    ours = {}
    for key, value in state.items():
        if fused := _FUSED.fullmatch(key):
            layer, attention, leaf = fused.groups()
            layer = layer.replace(STACK[decoder], "layers.") + ("cross." if attention == "multihead_attn" else "")
            for part, tensor in zip("qkv", value.detach().chunk(3)):
                ours[f"{layer}{part}.{leaf}"] = tensor.clone()
        else:
            for official, name in names.items():
                key = key.replace(official, name)
            ours[key] = value.detach()
    return ours


def to_official(denoiser: MDM) -> dict[str, Tensor]:
    """The weights under their official names, position tables included: what the public MDM code loads strictly."""
    stack, state = STACK[denoiser.shape.decoder], denoiser.state_dict()
    official = dict.fromkeys(RECOMPUTED, denoiser.positions[:, None])
    for key, value in state.items():
        if split := _SPLIT.fullmatch(key):
            layer, cross, part, leaf = split.groups("")
            key = f"{layer}{'multihead_attn' if cross else 'self_attn'}.in_proj_{leaf}"
            value = torch.cat([state[f"{layer}{cross}{p}.{leaf}"] for p in "qkv"])
        for name, ours in NAMES.items():
            key = re.sub(rf"^(layers\.\d+\.)?{re.escape(ours)}", rf"\g<1>{name}", key)
        official[re.sub(r"^layers\.", stack, key)] = value
    return official
