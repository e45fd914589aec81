"""Motions of any length from a prefix-completion model (DiP, Tevet et al. 2024): each round continues the one before."""

import dataclasses

import numpy as np

from rollout.motion.diffusion_policy import MotionDiffusionPolicy
from rollout.policy import Conditioning


def complete(
    policy: MotionDiffusionPolicy, conditioning: Conditioning, prefix: np.ndarray, frames: int, seeds: list[tuple[int, ...]]
) -> np.ndarray:  # fmt: skip
    """Raw features float32 [N, frames, F] that continue `prefix` (raw, at least `context_len` frames), one for each seed.

    Rounds of `pred_len` frames, each after the last `context_len` frames of what there is so far; the last one is cut. The
    prefix is not part of the result.
    """
    context, length = policy.options["context_len"], policy.options["pred_len"]
    prompt = dataclasses.replace(conditioning.prompt, length=length)
    motions = np.repeat(prefix[None].astype(np.float32), len(seeds), axis=0)
    for round_ in range(-(-frames // length)):
        contexts = (motions[:, -context:] - policy.mean) / policy.std
        batch = [Conditioning(prompt, {**conditioning.arrays, "prefix": own}) for own in contexts]
        motions = np.concatenate([motions, policy.generate(batch, [(*seed, round_) for seed in seeds])], axis=1)
    return motions[:, len(prefix) : len(prefix) + frames]
