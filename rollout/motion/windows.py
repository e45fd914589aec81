"""A motion of several windows, by a prefix-completion model (DiP, Tevet et al. 2024): each continues the last frames of the one before."""

import dataclasses

import numpy as np
import torch
from torch import Tensor

from rollout.motion.denoiser_inputs import DenoiserInputs
from rollout.policy import Conditioning
from rollout.seeds import Stream


def cut(conditioning: Conditioning, number: int, window: int) -> Conditioning:
    """It, of the length that window `number` of `window` frames has: all are full but the last, which has what is left. Past the end,
    where a longer motion is beside it in a batch, one frame."""
    length = min(max(conditioning.prompt.length - number * window, 1), window)
    return dataclasses.replace(conditioning, prompt=dataclasses.replace(conditioning.prompt, length=length))


def seed_of_window(seed: tuple[int, ...], number: int) -> tuple[int, ...]:
    """The first window's is the group's own, so that one window is a motion like any other."""
    return (*seed, int(Stream.WINDOW), number) if number else seed


def continued(batch: DenoiserInputs, x0_BTF: Tensor) -> Tensor | None:
    """[B,C,F]: what the next window continues, the last frames of this one and, if it is shorter, of what it continued itself."""
    return None if batch.prefix is None else torch.cat([batch.prefix, x0_BTF], dim=1)[:, -batch.prefix.shape[1] :].contiguous()


def joined(windows: list[np.ndarray]) -> np.ndarray:
    """Actions of all windows along their second dim, those of a shorter window ([G,K,T,F]) filled up with 0."""
    if len(windows) == 1:
        return windows[0]
    if windows[0].ndim == 4:
        windows = [np.pad(each, [(0, 0), (0, 0), (0, windows[0].shape[2] - each.shape[2]), (0, 0)]) for each in windows]
    return np.concatenate(windows, axis=1)
