"""Training of the demo-size MDM that ships with the project."""

import copy
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from learner.pretrain.crops import rare_first
from rollout.motion.checkpoint import MotionCheckpoint, save_checkpoint
from rollout.motion.dataset import Clip
from rollout.motion.mdm import MDM, MDMShape
from rollout.motion.schedule import Schedule
from rollout.motion.skeleton import HUMANML3D
from rollout.motion.text import VocabularyTextEncoder
from rollout.motion.vocabulary import Vocabulary

# HumanML3D averages the std inside these groups of dimensions (spec official-formats, section 4).
STD_GROUPS = ((0, 1), (1, 3), (3, 4), (4, 67), (67, 193), (193, 259), (259, 263))


@dataclass(frozen=True)
class MDMTraining:
    """Hyper-parameters; with the defaults of `learner.pretrain` they made the shipped model."""

    steps: int  # length of the cosine learning-rate schedule
    stop: int  # where it is cut: the average is good by then, and rewards have room to rise
    batch_size: int = 64
    min_frames: int = 40
    max_frames: int = 60
    latent: int = 128
    feedforward: int = 256
    layers: int = 4
    diffusion_steps: int = 50
    cond_mask_prob: float = 0.1
    word_dropout: float = 0.05
    learning_rate: float = 1e-3
    warmup_steps: int = 200
    ema_decay: float = 0.999


def feature_statistics(features: list[np.ndarray], groups: tuple = STD_GROUPS) -> tuple[np.ndarray, np.ndarray]:
    """Mean and std, averaged in each of `groups` (first, end), float32 [F] each, over all frames of `features`."""
    frames = np.concatenate(features)
    mean, std = frames.mean(0), frames.std(0)
    for start, end in groups:
        std[start:end] = std[start:end].mean()
    return mean.astype(np.float32), std.astype(np.float32)


class ClipBatches:
    """Random crops with one of their captions."""

    def __init__(self, clips: list[Clip], features: list[np.ndarray], mean: np.ndarray, std: np.ndarray, options: MDMTraining):
        self.clips, self.options = clips, options
        self.features = [torch.from_numpy((f - mean) / std) for f in features]
        self.probabilities = rare_first(clips)

    def draw(self, rng: np.random.Generator) -> tuple[Tensor, Tensor, list[str]]:
        """x0 [B,T,263] zero-padded, frame mask [B,T], captions."""
        options = self.options
        x0 = torch.zeros(options.batch_size, options.max_frames, HUMANML3D.features)
        mask = torch.zeros(options.batch_size, options.max_frames, dtype=torch.bool)
        captions = []
        for row, i in enumerate(rng.choice(len(self.clips), options.batch_size, p=self.probabilities)):
            motion = self.features[i]
            length = min(len(motion), options.max_frames)
            if rng.random() < 0.5:  # half the batch whole, half shortened, so that every length is in the data
                length = int(rng.integers(options.min_frames, length + 1))
            start = int(rng.integers(0, len(motion) - length + 1))
            x0[row, :length], mask[row, :length] = motion[start : start + length], True
            captions.append(str(rng.choice(self.clips[i].captions)))
        return x0, mask, captions


def diffusion_loss(denoiser: MDM, schedule: Schedule, x0: Tensor, mask: Tensor, text: Tensor, t: Tensor, noise: Tensor) -> Tensor:
    """Mean over the batch of the x0 error, averaged over valid dims (spec official-formats 1.7). text [B,E]: one token."""
    abar = torch.from_numpy(schedule.alphas_cumprod)[t].float()[:, None, None]
    predicted = denoiser(abar.sqrt() * x0 + (1 - abar).sqrt() * noise, t, text[:, None], mask)
    error = ((predicted - x0) ** 2 * mask[..., None]).sum((1, 2))
    return (error / (mask.sum(1) * x0.shape[2] + 1e-8)).mean()


def train_mdm(
    train: tuple[list[Clip], list[np.ndarray]], val: tuple[list[Clip], list[np.ndarray]], out: Path, seed: int, options: MDMTraining
) -> dict:
    """Trains on (clips, features), writes an official-format folder to `out`, returns curves and seconds.

    The weights written are the exponential moving average, the ones the card's figures are measured on.
    """
    torch.manual_seed(seed)
    rng, generator = np.random.default_rng(seed), torch.Generator().manual_seed(seed)
    mean, std = feature_statistics(train[1])
    schedule = Schedule.create("cosine", options.diffusion_steps)
    text_encoder = VocabularyTextEncoder(Vocabulary.build([c for clip in train[0] for c in clip.captions]))
    shape = MDMShape(HUMANML3D.features, options.latent, options.feedforward, options.layers, text_encoder.width, max_positions=256)
    model = torch.nn.ModuleDict({"denoiser": MDM(shape), "text": text_encoder})
    average = copy.deepcopy(model).eval().requires_grad_(False)
    optimizer = torch.optim.AdamW(model.parameters(), lr=options.learning_rate, weight_decay=0.01)
    batches = ClipBatches(*train, mean, std, options)
    validation = [ClipBatches(*val, mean, std, options).draw(np.random.default_rng(1)) for _ in range(4)]

    args = {
        "arch": "trans_enc", "dataset": "humanml", "latent_dim": options.latent, "layers": options.layers,
        "diffusion_steps": options.diffusion_steps, "noise_schedule": "cosine", "sigma_small": True, "mask_frames": True,
        "cond_mask_prob": options.cond_mask_prob, "text_encoder_type": "vocabulary", "use_ema": False,
        "pos_embed_max_len": shape.max_positions, "num_frames": options.max_frames, "unconstrained": False,
        "emb_trans_dec": False, "seed": seed,
    }  # fmt: skip
    curve, started, running = [], time.time(), 0.0
    for step in range(1, options.stop + 1):
        warm = min(1.0, step / options.warmup_steps)
        decay = 0.02 + 0.98 * 0.5 * (1 + np.cos(np.pi * step / options.steps))
        optimizer.param_groups[0]["lr"] = options.learning_rate * warm * decay
        x0, mask, captions = batches.draw(rng)
        ids = text_encoder.training_batch(captions, options.word_dropout, generator)
        keep = torch.rand(len(x0), 1, generator=generator) >= options.cond_mask_prob
        t = torch.randint(0, options.diffusion_steps, (len(x0),), generator=generator)
        noise = torch.randn(x0.shape, generator=generator)
        loss = diffusion_loss(model["denoiser"], schedule, x0, mask, text_encoder(ids) * keep, t, noise)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        rate = min(options.ema_decay, (1 + step) / (10 + step))
        with torch.no_grad():
            torch._foreach_lerp_(list(average.parameters()), list(model.parameters()), 1 - rate)
        running += loss.item() / 100
        if step % 100 == 0:
            point = {"step": step, "train_loss": running, "seconds": time.time() - started}
            if step % 500 == 0 or step == options.stop:
                point["val_loss"] = validation_loss(average, schedule, validation, seed)
                save_checkpoint(out, step, MotionCheckpoint(average["denoiser"], args, average["text"], mean, std))
                for old in sorted(out.glob("model*.pt"))[:-1]:
                    old.unlink()
            curve.append(point)
            left = point["seconds"] / step * (options.stop - step)
            print(f"mdm step {step}/{options.stop} " + " ".join(f"{k} {v:.4f}" for k, v in point.items() if "loss" in k) + f" left {left:.0f} s")
            running = 0.0
    return {"curve": curve, "seconds": time.time() - started, "parameters": sum(p.numel() for p in model.parameters())}


@torch.no_grad()
def validation_loss(model: torch.nn.ModuleDict, schedule: Schedule, batches: list, seed: int) -> float:
    """x0 error of `model` on fixed crops, captions, steps and noise."""
    generator, losses = torch.Generator().manual_seed(seed), []
    for x0, mask, captions in batches:
        ids = model["text"].training_batch(captions, 0.0, generator)
        t = torch.randint(0, len(schedule), (len(x0),), generator=generator)
        noise = torch.randn(x0.shape, generator=generator)
        losses.append(diffusion_loss(model["denoiser"], schedule, x0, mask, model["text"](ids), t, noise).item())
    return float(np.mean(losses))
