"""The files of a checkpoint folder, and changing them in place."""

import json

import torch

from rollout.motion.checkpoint import Opened, check_denoiser

WEIGHTS = "model000000123.pt"
FILES = [WEIGHTS, "args.json", "Mean.npy", "Std.npy", "text_encoder.pt", "vocabulary.json"]


def edit(folder, change, name=WEIGHTS) -> None:
    state = torch.load(folder / name, weights_only=True)
    torch.save(change(state) or state, folder / name)


def edit_args(folder, **changes) -> None:
    args = json.loads((folder / "args.json").read_text())
    (folder / "args.json").write_text(json.dumps({k: v for k, v in {**args, **changes}.items() if v is not None}))


def build_denoiser(state, args, source):
    """The network of an official state dict, as `load_checkpoint` makes it."""
    return Opened(*check_denoiser(state, args, source), args, None, None, None).denoiser()
