"""Captioned motion crops for training an evaluator, with motions spoilt on purpose as hard negatives."""

from collections import Counter
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from rollout.motion.dataset import Clip
from rollout.motion.features import frozen, joints_to_features, padded
from rollout.motion.vocabulary import UNKNOWN, Vocabulary

MIN_FRAMES, MAX_FRAMES = 40, 60  # the lengths the policy makes and the evaluator has to judge
ALIKE = 0.6


def rare_first(clips: list[Clip]) -> np.ndarray:
    """float64 [N], how likely each clip is drawn: rare actions come more often than their share (count^0.5)."""
    counts = Counter(clip.action for clip in clips)
    weights_n = np.array([counts[clip.action] ** -0.5 for clip in clips])
    return weights_n / weights_n.sum()


def jittered(joints: np.ndarray, metres: float, draw: np.random.Generator) -> np.ndarray:
    """Features of joints [T, 22, 3] with independent noise of `metres` standard deviation on every coordinate."""
    return joints_to_features((joints + draw.normal(0, metres, joints.shape)).astype(np.float32))


def crop(features: np.ndarray, draw: np.random.Generator) -> np.ndarray:
    """A random window of 40..60 frames, or the whole of a shorter motion."""
    length = min(len(features), int(draw.integers(MIN_FRAMES, MAX_FRAMES + 1)))
    start = int(draw.integers(0, len(features) - length + 1))
    return features[start : start + length]


def alike_clips(clips: list[Clip]) -> np.ndarray:
    """bool [N, N]: pairs of clips whose captions say the same, so that neither is a wrong answer for the other's.

    They share a caption, or their tf-idf bags of words have a cosine above 0.6 and lean to the same side: a mirrored
    clip differs from its original in "left" and "right" only, and is a fair negative.
    """
    vocabulary = Vocabulary.build([caption for clip in clips for caption in clip.captions])
    count_nv = np.zeros((len(clips), len(vocabulary)))
    for row, clip in enumerate(clips):
        np.add.at(count_nv[row], vocabulary.encode(" ".join(clip.captions)), 1)
    idf_v = np.log(len(clips) / np.maximum((count_nv > 0).sum(0), 1))
    bag_nv = np.sqrt(count_nv) * idf_v
    bag_nv /= np.maximum(np.linalg.norm(bag_nv, axis=1, keepdims=True), 1e-9)
    sides = ("left", "right")
    left_n, right_n = (count_nv[:, vocabulary.index[side]] if side in vocabulary.index else np.zeros(len(clips)) for side in sides)
    side_n = np.sign(left_n - right_n)
    alike_nn = (bag_nv @ bag_nv.T > ALIKE) & (side_n[:, None] == side_n[None])
    captions = [set(clip.captions) for clip in clips]
    return alike_nn | np.array([[not a.isdisjoint(b) for b in captions] for a in captions])


class CaptionedCrops:
    """Random batches: crops with one of their captions each."""

    def __init__(
        self, clips: list[Clip], features: list[np.ndarray], mean: np.ndarray, std: np.ndarray, seed: int,
        reads: Callable[[np.ndarray], np.ndarray] | None = None,
    ):  # fmt: skip
        """reads: what the evaluator reads of a crop's features, whose mean and std these are; None: all of them."""
        self.reads = reads
        self.clips, self.features, self.mean, self.std = clips, features, mean, std
        self.draw = np.random.default_rng(seed)
        self.weights_n = rare_first(clips)
        self.alike_nn = alike_clips(clips)
        self.jittered = [jittered(clip.joints, self.draw.uniform(0.015, 0.04), self.draw) for clip in clips]

    def batch(self, size: int, spoilt: list[str], noise: float) -> tuple[Tensor, Tensor, list[str], Tensor]:
        """Normalised crops [size + len(spoilt), 60, F] (zero-padded) with lengths, `size` captions, and which of the
        pairs [size, size + len(spoilt)] must not count as negatives.

        Motion size + i is another crop of clip i of the batch, spoilt: "frozen", "jittered" (joints) or
        "shuffled" (frames); no caption of the batch fits it. `noise` is the standard deviation of the noise added to
        every motion, in normalised units.
        """
        rows = self.draw.choice(len(self.clips), size, p=self.weights_n)
        motions = [crop(self.features[row], self.draw) for row in rows]
        captions = [self.clips[row].captions[self.draw.integers(len(self.clips[row].captions))] for row in rows]
        for kind, row in zip(spoilt, rows):
            motions.append(self._spoil(kind, crop(self.features[row], self.draw), row))
        motions = [self.reads(motion) for motion in motions] if self.reads else motions
        noisy = [(motion - self.mean) / self.std + self.draw.normal(0, noise, motion.shape) for motion in motions]
        x_ntf, lengths_n = padded(noisy, MAX_FRAMES)
        alike = np.concatenate([self.alike_nn[np.ix_(rows, rows)], np.zeros((size, len(spoilt)), bool)], axis=1)
        np.fill_diagonal(alike, False)
        return torch.from_numpy(x_ntf), torch.from_numpy(lengths_n), captions, torch.from_numpy(alike)

    def _spoil(self, kind: str, motion: np.ndarray, row: int) -> np.ndarray:
        if kind == "frozen":
            return frozen(motion, int(self.draw.integers(len(motion))))
        if kind == "jittered":
            return crop(self.jittered[row], self.draw)
        return self.draw.permutation(motion)

    def forget_words(self, indices: list[int], probability: float) -> list[int]:
        """Some words replaced by the unknown word, so that its vector is trained too."""
        return [UNKNOWN if self.draw.random() < probability else index for index in indices]
