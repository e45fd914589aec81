"""Tiny random models in the layouts that the loaders read, tiny prompt files, and a run config of them.

A network of random weights of ordinary scale separates right from wrong as well as a trained one, in milliseconds.
"""

import dataclasses
import json
from pathlib import Path

import numpy as np
import torch
import yaml

from rewards.motion.t2m import BiGRUEncoder, MovementEncoder, TextEncoder
from rewards.motion.tmr import ActorEncoder
from rewards.motion.words import EOS, SOS
from rollout.adapter import Adapter
from rollout.motion.checkpoint import MotionCheckpoint, save_checkpoint
from rollout.motion.diffusion_policy import MotionDiffusionPolicy, MotionPolicySettings
from rollout.motion.mdm import MDM, MDMShape
from rollout.motion.prepare import MotionPreparer
from rollout.motion.prompts import MotionPrompt
from rollout.motion.settings import Model
from rollout.motion.skeleton import FORMATS, HUMANML3D, MotionFormat
from rollout.motion.text import VocabularyTextEncoder
from rollout.motion.vocabulary import Vocabulary
from rollout.policy import Conditioning, Request, Trajectories
from tests.humanml_folder import write_folder

WORDS = ["a", "person", "walks", "forward", "jumps", "left"]
TRAINING = ["a person walks forward", "a person walks left", "a person jumps forward", "jumps left"]
HELDOUT = ["a person jumps left", "walks forward"]
FRAMES = 12
SHAPE = MDMShape(features=263, latent=32, feedforward=48, layers=2, text=16, max_positions=100)
ARGS = {
    "arch": "trans_enc", "dataset": "humanml", "latent_dim": 32, "layers": 2, "diffusion_steps": 50,
    "noise_schedule": "cosine", "sigma_small": True, "mask_frames": False, "cond_mask_prob": 0.1, "use_ema": False,
    "text_encoder_type": "vocabulary", "pos_embed_max_len": 100, "unconstrained": False, "emb_trans_dec": False,
}  # fmt: skip


def randomise(module: torch.nn.Module, seed: int) -> torch.nn.Module:
    """Weights that keep activations of order 1: matrices N(0, 1/fan_in), gains near 1, biases near 0."""
    rng = np.random.default_rng(seed)
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            noise = torch.from_numpy(rng.standard_normal(tuple(parameter.shape), dtype=np.float32))
            if parameter.ndim > 1:
                parameter.copy_(noise / parameter[0].numel() ** 0.5)
            else:
                parameter.copy_(0.05 * noise + ("norm" in name and name.endswith("weight")))
    return module


def write_mdm(folder: Path, seed: int = 0, text_width: int = 16, **args) -> Path:
    """An official-format MDM folder with text encoder and normalisation; `args` override those of its args.json."""
    rng = np.random.default_rng(seed)
    text_encoder = VocabularyTextEncoder(Vocabulary(WORDS), text_width // 2, text_width // 4)
    decoder = args.get("arch") == "trans_dec"
    class_token = "time" if args.get("emb_trans_dec") else "none"
    dataset = args.get("dataset", ARGS["dataset"])
    features = next(each.features for each in FORMATS.values() if dataset in each.datasets)
    positions = args.get("pos_embed_max_len", ARGS["pos_embed_max_len"])
    shape = dataclasses.replace(SHAPE, max_positions=positions, features=features, text=text_width, decoder=decoder, class_token=class_token)
    denoiser = randomise(MDM(shape), seed)
    mean, std = rng.normal(size=features).astype(np.float32), rng.uniform(0.5, 1.5, features).astype(np.float32)
    save_checkpoint(folder, 123, MotionCheckpoint(denoiser, {**ARGS, **args}, randomise(text_encoder, seed + 1), mean, std))
    return folder


def make_policy(folder: Path, device: str = "cpu", kind: type = MotionDiffusionPolicy, **settings) -> MotionDiffusionPolicy:
    """A policy on a tiny model: 12 frames, 10 of 50 steps, guidance 2.5, LoRA of rank 4, unless told otherwise."""
    model = {"path": str(folder), "frames": FRAMES} | {name: settings.pop(name) for name in list(settings) if name in Model.model_fields}
    return kind(MotionPolicySettings(Model(**model), **{"lora_rank": 4, "lora_alpha": 8, **settings}), device)


def noisy_adapter(policy: MotionDiffusionPolicy, version: int = 1, seed: int = 0, scale: float = 0.1) -> Adapter:
    """What the policy holds, with noise on every trainable tensor: far enough from the base to show in every number."""
    rng = np.random.default_rng(seed)
    state = {
        name: value + scale * rng.standard_normal(value.shape, dtype=np.float32)
        for name, value in policy.adapter_state().items()
    }
    return Adapter.pack(version, state)


def prepared(policy: MotionDiffusionPolicy, prompts: list[MotionPrompt]) -> list[Conditioning]:
    """The prompts, encoded for `policy`."""
    return MotionPreparer(policy.settings.model).prepare(prompts)


def sample_group(
    policy: MotionDiffusionPolicy, size: int = 4, trained_steps: int = 3, seed: tuple[int, ...] = (0, 0, 0, 0),
    text: str = TRAINING[0], length: int = FRAMES,
) -> Trajectories:  # fmt: skip
    (conditioning,) = prepared(policy, [MotionPrompt(text, length)])
    return policy.sample(Request(conditioning, size, seed, trained_steps))


def write_tmr(folder: Path, kind: MotionFormat = HUMANML3D, nfeats: int | None = None) -> Path:
    """A TMR evaluator of 16 latent dims that reads the features of `kind`, or `nfeats` numbers of a frame, as `TMRReward.load` reads it."""
    nfeats = nfeats or kind.features
    torch.manual_seed(1)
    (folder / "last_weights").mkdir(parents=True)
    (folder / "stats").mkdir()
    shape = {"latent_dim": 16, "ff_size": 24, "num_layers": 2, "num_heads": 4}
    shapes = {"text_encoder": {"nfeats": 12, **shape}, "motion_encoder": {"nfeats": nfeats, **shape}}
    for part, widths in shapes.items():
        torch.save(ActorEncoder(**widths).state_dict(), folder / "last_weights" / f"{part}.pt")
    torch.save(torch.randn(nfeats), folder / "stats" / "mean.pt")
    torch.save(torch.rand(nfeats) + 0.5, folder / "stats" / "std.pt")
    torch.save(torch.randn(len(WORDS) + 2, 12), folder / "word_embeddings.pt")
    Vocabulary(WORDS).save(folder / "vocabulary.json")
    (folder / "config.json").write_text(json.dumps({"model": shapes}))
    return folder


def write_t2m(folder: Path, kind: MotionFormat = HUMANML3D) -> Path:
    """A T2M evaluator of 8 co-embedding dims, as `T2MReward.load` reads it."""
    torch.manual_seed(2)
    folder.mkdir(parents=True)
    networks = {
        "text_encoder": TextEncoder(10, 15, 12, 8),
        "movement_encoder": MovementEncoder(kind.features - 4, 14, 9),
        "motion_encoder": BiGRUEncoder(9, 16, 8),
    }
    torch.save({part: network.state_dict() for part, network in networks.items()}, folder / "finest.tar")
    draw = np.random.default_rng(3)
    np.save(folder / "mean.npy", draw.normal(size=kind.features))
    np.save(folder / "std.npy", draw.uniform(0.5, 1.5, kind.features))
    np.save(folder / "word_vectors.npy", draw.normal(size=(len(WORDS) + 4, 10)).astype(np.float32))
    Vocabulary([SOS, EOS, *WORDS]).save(folder / "vocabulary.json")
    return folder


def write_prompts(path: Path, texts: list[str]) -> Path:
    """A prompt file of one text a line."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(texts) + "\n")
    return path


def write_run_config(folder: Path, kind: MotionFormat = HUMANML3D, **sections) -> Path:
    """The YAML of a complete run of seconds, with every model and prompt file it names; `sections` override it."""
    folder.mkdir(parents=True, exist_ok=True)
    config = {
        "iterations": 2,
        "model": {"path": str(write_mdm(folder / "mdm", mask_frames=True, dataset=kind.datasets[0])), "frames": FRAMES, "steps": "10"},
        "lora": {"r": 4, "alpha": 8.0},
        "rollout": {
            "prompts": str(write_prompts(folder / "training.txt", TRAINING)),
            "prompts_per_iteration": 2, "group_size": 4, "trained_steps": 3,
        },
        "reward": {"tmr_path": str(write_tmr(folder / "tmr", kind)), "t2m_path": str(write_t2m(folder / "t2m", kind))},
        "optimizer": {"learning_rate": 1e-3},
        "evaluate": {
            "heldout": str(write_prompts(folder / "heldout.txt", HELDOUT)), "prompts": 2, "samples_per_prompt": 2,
        },
        "cluster": {"samplers": 1},
    }  # fmt: skip
    for name, value in sections.items():
        config[name] = {**config.get(name, {}), **value} if isinstance(value, dict) else value
    path = folder / "run.yaml"
    path.write_text(yaml.safe_dump(config))
    return path


def write_motions(folder: Path, count: int = 40, kind: MotionFormat = HUMANML3D) -> Path:
    """A HumanML3D (or KIT) folder whose test split has `count` motions of 40 to 49 frames, each with two tagged captions."""
    tags = {"a": "a/DET", "person": "person/NOUN", "walks": "walk/VERB", "forward": "forward/ADV", "jumps": "jump/VERB", "left": "left/ADV"}
    draw = np.random.default_rng(4)
    clips = {}
    for i in range(count):
        captions = [TRAINING[i % 4], HELDOUT[i % 2]]
        lines = [f"{text}#{' '.join(tags[word] for word in text.split())}#0.0#0.0" for text in captions]
        clips[f"{i:06}"] = (draw.normal(0, 0.1, (40 + i % 10, kind.features)).astype(np.float32), "\n".join(lines))
    return write_folder(folder, clips)


def write_evaluate_config(folder: Path, kind: MotionFormat = HUMANML3D, **sections) -> Path:
    """The YAML of an evaluation of seconds, with everything it names; `sections` override it."""
    folder.mkdir(parents=True, exist_ok=True)
    judges = {"tmr_path": write_tmr(folder / "tmr", kind), "t2m_path": write_t2m(folder / "t2m", kind)}
    more = {"joints": 66, "essential": 67} if kind is HUMANML3D else {}
    judges |= {f"{name}_path": write_tmr(folder / name, nfeats=width) for name, width in more.items()}
    config = {
        "data": str(write_motions(folder / "motions", kind=kind)),
        "replications": 2, "multimodality": 1, "samples": 320,
        "model": {"path": str(write_mdm(folder / "mdm", mask_frames=True, dataset=kind.datasets[0])), "frames": FRAMES, "steps": "4"},
        "reward": {name: str(path) for name, path in judges.items()},
        "cluster": {"samplers": 1},
    }  # fmt: skip
    path = folder / "evaluate.yaml"
    path.write_text(yaml.safe_dump(config | sections))
    return path
