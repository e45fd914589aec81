"""Official MDM checkpoint folders (`modelNNNNNNNNN.pt` + `args.json`) to our denoiser and back."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from rollout.errors import InputError
from rollout.motion.mdm import HEADS, MDM, MDMShape
from rollout.motion.schedule import Schedule
from rollout.motion.skeleton import FEATURES
from rollout.motion.text import VocabularyTextEncoder
from rollout.motion.vocabulary import Vocabulary
from rollout.weights import as_tensor, read_array, read_json_object, read_torch

# Options that first-release args.json files lack, with what they meant then (spec official-formats 1.2).
MISSING_ARGS = {
    "text_encoder_type": "clip", "mask_frames": False, "use_ema": False, "pos_embed_max_len": 5000, "cond_mask_prob": 0.1,
    "layers": 8, "latent_dim": 512, "diffusion_steps": 1000, "noise_schedule": "cosine", "sigma_small": True, "arch": "trans_enc",
}  # fmt: skip
RENAMED = {
    "input_process.poseEmbedding": "pose_in", "embed_timestep.time_embed": "time_in", "embed_text": "text_in",
    "output_process.poseFinal": "pose_out", "seqTransEncoder.layers": "layers", "self_attn.out_proj": "out",
}  # fmt: skip
RECOMPUTED = ("sequence_pos_encoder.pe", "embed_timestep.sequence_pos_encoder.pe")


@dataclass(frozen=True)
class Checkpoint:
    """What a motion policy is made of: denoiser in eval mode, its options, text encoder, feature normalisation."""

    denoiser: MDM
    args: dict
    text_encoder: VocabularyTextEncoder | None
    mean: np.ndarray
    std: np.ndarray

    def schedule(self, respacing: str) -> Schedule:
        return Schedule.create(self.args["noise_schedule"], self.args["diffusion_steps"], respacing)


def load_checkpoint(path: Path) -> Checkpoint:
    """Reads a checkpoint folder, or the `.pt` file inside one.

    Beside the official two files the folder holds `Mean.npy` and `Std.npy` (float [263]) and, for models trained here,
    `text_encoder.pt` with `vocabulary.json`. Raises InputError naming the file for anything missing or malformed.
    """
    path = Path(path)
    file = path if path.suffix == ".pt" else newest_model(path)
    args = _read_args(file.parent / "args.json")
    denoiser = build_denoiser(read_torch(file), args, file)
    return Checkpoint(denoiser, args, _load_text_encoder(file.parent, denoiser), *_load_normalisation(file.parent))


def build_denoiser(state: dict[str, Tensor], args: dict, source: Path) -> MDM:
    """An MDM holding exactly the official tensors of `state`, in eval mode; every key must be used."""
    if args["arch"] != "trans_enc":
        raise InputError(f"{source}: arch is {args['arch']!r}; supported here: 'trans_enc'")
    if isinstance(state, dict):
        state = state["model_avg"] if args.get("use_ema") and "model_avg" in state else state.get("model", state)
    if not isinstance(state, dict) or not state:
        raise InputError(f"{source}: expected a dictionary of tensors, found {type(state).__name__}")
    state = {k: v for k, v in state.items() if not k.startswith("clip_model.") and k not in RECOMPUTED}
    for key, value in state.items():
        if not isinstance(value, Tensor) or value.ndim == 0:
            raise InputError(f"{source}: {key} is of type {type(value).__name__}, expected a tensor with a shape")
    ours = from_official(state)
    try:
        shape = MDMShape(
            features=ours["pose_in.weight"].shape[1], latent=ours["pose_in.weight"].shape[0], layers=args["layers"],
            feedforward=ours["layers.0.linear1.weight"].shape[0], text=ours["text_in.weight"].shape[1],
            max_positions=args["pos_embed_max_len"],
        )  # fmt: skip
    except KeyError as key:
        raise InputError(f"{source}: not an MDM checkpoint: tensor {key} is missing") from None
    except IndexError:
        raise InputError(f"{source}: not an MDM checkpoint: a weight of its first linears has no matrix shape") from None
    if shape.features != FEATURES or shape.latent % HEADS:
        raise InputError(
            f"{source}: {shape.features} motion features, latent width {shape.latent}; "
            f"expected {FEATURES} features and a width for {HEADS} heads"
        )
    denoiser = MDM(shape)
    expected = denoiser.state_dict()
    for problem, keys in (("missing", expected.keys() - ours.keys()), ("unexpected", ours.keys() - expected.keys())):
        if keys:
            raise InputError(f"{source}: {problem} tensors {sorted(keys)[:4]} for {shape}")
    for key, value in ours.items():
        if value.shape != expected[key].shape:
            raise InputError(f"{source}: tensor {key} has shape {list(value.shape)}, expected {list(expected[key].shape)}")
        if not torch.isfinite(value).all():
            raise InputError(f"{source}: tensor {key} contains NaN or infinity")
    denoiser.load_state_dict(ours)
    return denoiser.eval()


def from_official(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Official names to ours; each fused `in_proj` becomes q, k and v."""
    ours = {}
    for key, value in state.items():
        for official, name in RENAMED.items():
            key = key.replace(official, name)
        if "self_attn.in_proj_" in key:
            for name, part in zip("qkv", value.detach().chunk(3)):
                ours[key.replace("self_attn.in_proj_", f"{name}.")] = part.clone()
        else:
            ours[key] = value.detach()
    return ours


def to_official(state: dict[str, Tensor], positions: Tensor) -> dict[str, Tensor]:
    """Our names to the official ones, position tables included: what the public MDM code loads strictly."""
    official = dict.fromkeys(RECOMPUTED, positions[:, None])
    official_name = {ours: name for name, ours in RENAMED.items()}
    for key, value in state.items():
        layer, _, leaf = key.rpartition(".q.")
        if layer:
            value = torch.cat([state[f"{layer}.{name}.{leaf}"] for name in "qkv"])
            key = f"{layer}.self_attn.in_proj_{leaf}"
        elif ".k." in key or ".v." in key:
            continue
        key = ".".join(official_name.get(part, part) for part in key.split("."))
        official[key] = value
    return official


def save_checkpoint(folder: Path, step: int, checkpoint: Checkpoint) -> Path:
    """Writes the official two files plus normalisation and the shipped kind of text encoder; returns the `.pt` path."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"model{step:09d}.pt"
    denoiser = checkpoint.denoiser
    torch.save(to_official(denoiser.state_dict(), denoiser.positions[: checkpoint.args["pos_embed_max_len"]]), file)
    (folder / "args.json").write_text(json.dumps(checkpoint.args, indent=4, sort_keys=True))
    np.save(folder / "Mean.npy", checkpoint.mean)
    np.save(folder / "Std.npy", checkpoint.std)
    if checkpoint.text_encoder is not None:
        torch.save(checkpoint.text_encoder.state_dict(), folder / "text_encoder.pt")
        checkpoint.text_encoder.vocabulary.save(folder / "vocabulary.json")
    return file


def newest_model(folder: Path) -> Path:
    files = sorted(folder.glob("model*.pt"))
    if not files:
        raise InputError(f"{folder}: no modelNNNNNNNNN.pt found in this folder")
    return files[-1]


def _read_args(file: Path) -> dict:
    """All options, with their old meaning where the file lacks them."""
    found = read_json_object(file)
    args = {**MISSING_ARGS, **found}
    for name in ("layers", "diffusion_steps", "pos_embed_max_len"):
        if type(args[name]) is not int or args[name] < 1:
            raise InputError(f"{file}: {name} is {args[name]!r}, expected a positive whole number")
    if not args["sigma_small"]:
        raise InputError(f"{file}: sigma_small is false; supported here: the fixed small variance")
    if args["pos_embed_max_len"] < args["diffusion_steps"]:
        raise InputError(f"{file}: pos_embed_max_len {args['pos_embed_max_len']} has no row for step {args['diffusion_steps'] - 1}")
    return args


def _load_text_encoder(folder: Path, denoiser: MDM) -> VocabularyTextEncoder | None:
    if not (folder / "text_encoder.pt").exists():
        return None
    vocabulary = Vocabulary.load(folder / "vocabulary.json")
    state = read_torch(folder / "text_encoder.pt")
    if not isinstance(state, dict):
        raise InputError(f"{folder / 'text_encoder.pt'}: expected a dictionary of tensors, found {type(state).__name__}")
    try:
        encoder = VocabularyTextEncoder(vocabulary, state["word_vectors.weight"].shape[1], state["gru.weight_hh_l0"].shape[1])
        encoder.load_state_dict(state)
    except (KeyError, IndexError, AttributeError, TypeError, RuntimeError) as error:
        raise InputError(f"{folder / 'text_encoder.pt'}: does not fit {folder / 'vocabulary.json'}: {str(error)[:160]!r}") from None
    for key, value in state.items():
        if not torch.isfinite(value).all():
            raise InputError(f"{folder / 'text_encoder.pt'}: tensor {key} contains NaN or infinity")
    if encoder.width != denoiser.shape.text:
        raise InputError(f"{folder / 'text_encoder.pt'}: embeds text in {encoder.width} numbers, the model takes {denoiser.shape.text}")
    return encoder.eval()


def _load_normalisation(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    files = folder / "Mean.npy", folder / "Std.npy"
    arrays = [as_tensor(read_array(file), str(file), (FEATURES,)).numpy() for file in files]
    if not (arrays[1] > 0).all():
        raise InputError(f"{folder / 'Std.npy'}: holds values that are not positive")
    return arrays[0], arrays[1]
