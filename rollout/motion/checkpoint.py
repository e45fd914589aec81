"""Official MDM checkpoint folders (`modelNNNNNNNNN.pt` or `model.safetensors`, and `args.json`) to our denoiser and back."""

import json
import os
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from rollout.io.errors import InputError
from rollout.io.weights import as_tensor, check_strict, load_strict, read_array, read_json_object, read_torch, read_weights, size_of
from rollout.motion.mdm import HEADS, MDM, MDMShape
from rollout.motion.official import NAMES, RECOMPUTED, STACK, from_official, to_official
from rollout.motion.schedule import Schedule
from rollout.motion.skeleton import EITHER, FORMATS, MotionFormat
from rollout.motion.text import VocabularyTextEncoder
from rollout.motion.vocabulary import Vocabulary
from rollout.motion.wrapped import unwrapped

# Options that older args.json files lack, with what they meant then (spec official-formats 1.2).
MISSING_ARGS = {
    "arch": "trans_enc", "text_encoder_type": "clip", "mask_frames": False, "use_ema": False, "pos_embed_max_len": 5000,
    "context_len": 0, "pred_len": 0, "multi_target_cond": False, "cond_mask_prob": 0.1, "layers": 8, "latent_dim": 512,
    "diffusion_steps": 1000, "noise_schedule": "cosine", "sigma_small": True, "emb_trans_dec": False, "dataset": "humanml",
}  # fmt: skip
MOST_POSITIONS = 100_000  # each costs a row of the latent width; published models have 5,000


@dataclass(frozen=True)
class MotionCheckpoint:
    """What a motion policy is made of: denoiser in eval mode, its args.json, feature normalisation, text encoder.

    `text_encoder` is None for a checkpoint that was trained on CLIP or DistilBERT text, which it does not hold.
    """

    denoiser: MDM
    args: dict
    text_encoder: VocabularyTextEncoder | None
    mean: np.ndarray
    std: np.ndarray

    options = property(lambda self: with_missing(self.args))


@dataclass(frozen=True)
class Opened:
    """A checkpoint that was read and found whole: all of `MotionCheckpoint`, with the tensors of the network in place of it. taken: which
    weights, where the file has several."""

    state: dict[str, Tensor]
    shape: MDMShape
    taken: str
    args: dict
    text_encoder: VocabularyTextEncoder | None
    mean: np.ndarray
    std: np.ndarray

    options = property(lambda self: with_missing(self.args))

    @property
    def format(self) -> MotionFormat:
        return FORMATS[self.shape.features]

    def schedule(self, respacing: str, ddim_eta: float = 1.0) -> Schedule:
        return Schedule.create(self.options["noise_schedule"], self.options["diffusion_steps"], respacing, ddim_eta)

    def denoiser(self) -> MDM:
        """In eval mode."""
        module = MDM(self.shape)
        module.load_state_dict(self.state)
        return module.eval()


def with_missing(args: dict) -> dict:
    """All options of an args.json: those it lacks have their old meaning.

    `first_release` (no `text_encoder_type` yet) tells apart the two published meanings of `emb_trans_dec`; `cond_mode` was
    the name of `unconstrained` in a very old variant; prefix completion predicts `context_len` frames unless it says more.
    """
    options = {**MISSING_ARGS, "unconstrained": args.get("cond_mode") == "no_cond", **args}
    return options | {"first_release": "text_encoder_type" not in args, "pred_len": options["pred_len"] or options["context_len"]}


def load_checkpoint(path: Path, stats: Path | str | None = None) -> MotionCheckpoint:
    """See `open_checkpoint`."""
    opened = open_checkpoint(path, stats)
    return MotionCheckpoint(opened.denoiser(), opened.args, opened.text_encoder, opened.mean, opened.std)


def open_checkpoint(path: Path, stats: Path | str | None = None) -> Opened:
    """Reads a checkpoint folder, or the file of weights inside one.

    `Mean.npy` and `Std.npy` (float [263], KIT [251]) are those in `stats`, or beside the weights, or in `dataset/HumanML3D`
    (`dataset/KIT-ML`) of the MDM checkout around the folder. Models trained here also have `text_encoder.pt` with
    `vocabulary.json`. Raises InputError naming the file for anything missing or malformed.
    """
    file = weights_file(Path(path))
    args = _read_args(file.parent / "args.json")
    state, shape, taken = check_denoiser(read_weights(file), args, file)
    folder = Path(stats) if stats else _stats_folder(file.parent, FORMATS[shape.features])
    return Opened(state, shape, taken, args, _load_text_encoder(file.parent, shape), *_load_normalisation(folder, shape.features))


def checkpoint_files(path: Path, stats: Path | str | None) -> dict[str, Path]:
    """By name, every file that `open_checkpoint` reads for a model that can be trained."""
    file = weights_file(path)
    folder = Path(stats) if stats else _stats_folder(file.parent, open_checkpoint(path).format)
    names = {name: place / name for place, name in [(file.parent, "args.json"), (folder, "Mean.npy"), (folder, "Std.npy")]}
    own = [file.parent / name for name in ("text_encoder.pt", "vocabulary.json")]
    return {"base checkpoint": file, **names, **{part.name: part for part in own if part.exists()}}


def check_denoiser(state: dict[str, Tensor], args: dict, source: Path) -> tuple[dict[str, Tensor], MDMShape, str]:
    """The tensors of an MDM under our names, its shape, and the key they were found under, out of exactly the official ones; every
    tensor must be used."""
    options = with_missing(args)
    _require_supported(options, source)
    state, taken = unwrapped(state, options["use_ema"], source)
    if not isinstance(state, dict) or not state:
        raise InputError(f"{source}: expected a dictionary of tensors, found {type(state).__name__}")
    state = {k: v for k, v in state.items() if not str(k).startswith("clip_model.") and k not in RECOMPUTED}
    for key, value in state.items():
        if not isinstance(key, str) or not isinstance(value, Tensor) or value.ndim == 0:
            raise InputError(f"{source}: {key} is of type {type(value).__name__}, expected a tensor with a shape")
    decoder = options["arch"] == "trans_dec"
    if unknown := sorted(key for key in state if not key.startswith((*NAMES, STACK[decoder]))):
        raise InputError(f"{source}: unexpected tensors {unknown[:4]} in a {options['arch']} checkpoint")
    ours = from_official(state, decoder)
    for key in ("pose_in.weight", "layers.0.linear1.weight", *([] if options["unconstrained"] else ["text_in.weight"])):
        if key not in ours:
            raise InputError(f"{source}: not an MDM checkpoint of {STACK[decoder].split('.')[0]}: tensor {key} is missing")
        if ours[key].ndim != 2:
            raise InputError(f"{source}: not an MDM checkpoint: {key} has shape {list(ours[key].shape)}, expected a matrix")
    class_token = "none"
    if decoder and options["emb_trans_dec"]:
        class_token = "condition" if options["first_release"] else "time"
    # Of layers args.json may claim any number; past the number of tensors one more is as wrong, and not slower.
    shape = MDMShape(
        features=size_of(ours, "pose_in.weight", 1, 0), latent=size_of(ours, "pose_in.weight", 0, 0), layers=min(options["layers"], len(ours)),
        feedforward=size_of(ours, "layers.0.linear1.weight", 0, 0), text=0 if options["unconstrained"] else ours["text_in.weight"].shape[1],
        max_positions=options["pos_embed_max_len"], decoder=decoder, class_token=class_token,
    )  # fmt: skip
    if shape.features not in FORMATS or shape.latent % HEADS or not shape.latent:
        raise InputError(
            f"{source}: {shape.features} motion features, latent width {shape.latent}; "
            f"expected {EITHER} features and a width for {HEADS} heads"
        )
    others = [name for width, each in FORMATS.items() if width != shape.features for name in each.datasets]
    if args.get("dataset") in others:
        weights = f"the weights make {FORMATS[shape.features].name}'s {shape.features} features"
        raise InputError(f"{source}: dataset is {args['dataset']!r} in args.json, but {weights}")
    return check_strict(lambda: MDM(shape), ours, str(source)), shape, taken


def _require_supported(options: dict, source: Path) -> None:
    if options["arch"] == "gru":
        raise InputError(
            f"{source}: arch 'gru' is not supported: the published model recurs over the batch, so that a motion depends on "
            "its neighbours; supported: trans_enc, trans_dec"
        )
    if options["arch"] not in ("trans_enc", "trans_dec"):
        raise InputError(f"{source}: arch is {options['arch']!r}; supported: trans_enc, trans_dec")
    if options["arch"] == "trans_enc" and options["text_encoder_type"] == "bert":
        raise InputError(f"{source}: trans_enc takes one text token, text_encoder_type 'bert' gives one a word; expected trans_dec")
    if options["multi_target_cond"]:
        raise InputError(f"{source}: multi_target_cond is true; models conditioned on target joints are not supported")


def save_checkpoint(folder: Path, step: int, checkpoint: MotionCheckpoint) -> Path:
    """Writes the official two files plus normalisation and the shipped kind of text encoder; returns the `.pt` path."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"model{step:09d}.pt"
    torch.save(to_official(checkpoint.denoiser), file)
    (folder / "args.json").write_text(json.dumps(checkpoint.args, indent=4, sort_keys=True))
    np.save(folder / "Mean.npy", checkpoint.mean)
    np.save(folder / "Std.npy", checkpoint.std)
    if checkpoint.text_encoder is not None:
        torch.save(checkpoint.text_encoder.state_dict(), folder / "text_encoder.pt")
        checkpoint.text_encoder.vocabulary.save(folder / "vocabulary.json")
    return file


def weights_file(path: Path) -> Path:
    """The file itself, or that of the most steps in a folder: an official one, else one that was repackaged. Raises InputError where
    there are none, or several and no number says which is the newest."""
    if os.path.isfile(path) or path.suffix in (".pt", ".safetensors"):  # which, unlike Path.is_file, finds no name too long
        return path
    files = sorted(path.glob("model*.pt")) or sorted(path.glob("model*.safetensors"))
    if not files:
        raise InputError(f"{path}: no modelNNNNNNNNN.pt found in this folder, and no model.safetensors")
    steps = {file: int(number[1]) for file in files if (number := re.fullmatch(r"model(\d+)", file.stem))}
    if len(files) > 1 and len(set(steps.values())) < len(files):
        names = ", ".join(file.name for file in files)
        raise InputError(f"{path}: found {names[:200]}, expected one file, or modelNNNNNNNNN by number of steps, or the path of one")
    return max(files, key=steps.get) if steps else files[0]


def _read_args(file: Path) -> dict:
    """What the file says; InputError where its meaning is impossible or not supported."""
    found = read_json_object(file)
    options = with_missing(found)
    for name, least in (("layers", 1), ("diffusion_steps", 1), ("pos_embed_max_len", 1), ("context_len", 0), ("pred_len", 0)):
        if type(options[name]) is not int or options[name] < least:
            raise InputError(f"{file}: {name} is {options[name]!r}, expected a whole number of at least {least}")
    if not options["sigma_small"]:
        raise InputError(f"{file}: sigma_small is false; supported here: the fixed small variance")
    if options["pos_embed_max_len"] > MOST_POSITIONS:
        raise InputError(f"{file}: pos_embed_max_len is {options['pos_embed_max_len']}, expected at most {MOST_POSITIONS}")
    if options["pos_embed_max_len"] < options["diffusion_steps"]:
        raise InputError(f"{file}: pos_embed_max_len {options['pos_embed_max_len']} has no row for step {options['diffusion_steps'] - 1}")
    return found


def _load_text_encoder(folder: Path, shape: MDMShape) -> VocabularyTextEncoder | None:
    file = folder / "text_encoder.pt"
    if not file.exists():
        return None
    vocabulary, state = Vocabulary.load(folder / "vocabulary.json"), read_torch(file)
    words, hidden = size_of(state, "word_vectors.weight", 1, 64), size_of(state, "gru.weight_hh_l0", 1, 64)
    encoder = load_strict(lambda: VocabularyTextEncoder(vocabulary, words, hidden), state, f"{file} with vocabulary.json")
    if encoder.width != shape.text:
        raise InputError(f"{file}: embeds text in {encoder.width} numbers, the model takes {shape.text}")
    return encoder.eval()


def _stats_folder(folder: Path, kind: MotionFormat) -> Path:
    """Where Mean.npy is: beside the weights, else in the dataset of the nearest checkout above them."""
    if not (folder / "Mean.npy").exists():
        for above in folder.resolve().parents:
            if (above / "dataset" / kind.name / "Mean.npy").exists():
                return above / "dataset" / kind.name
    return folder


def _load_normalisation(folder: Path, features: int) -> tuple[np.ndarray, np.ndarray]:
    files = folder / "Mean.npy", folder / "Std.npy"
    if not files[0].exists():
        raise InputError(f"{files[0]}: file not found; expected the dataset's Mean.npy and Std.npy beside the weights or in model.stats")
    arrays = [as_tensor(read_array(file), str(file), (features,)).numpy() for file in files]
    if not (arrays[1] > 0).all():
        raise InputError(f"{files[1]}: holds values that are not positive")
    return arrays[0], arrays[1]
