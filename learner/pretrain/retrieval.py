"""What an evaluator is worth: retrieval on clips it has not seen, and what its score does when a motion is spoilt."""

import numpy as np

from learner.pretrain.crops import MAX_FRAMES, jittered
from rewards.motion.metrics import distances, r_precision, unit
from rewards.motion.motions import Motions
from rollout.motion.dataset import Clip
from rollout.motion.features import frozen, joints_to_features, padded, rederived

POOL = 32
DRAWS = 20


def stack(motions: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """The first 60 frames of each motion [T, 263], padded: features [N, 60, 263] and lengths [N]."""
    return padded([motion[:MAX_FRAMES] for motion in motions], MAX_FRAMES)


def compared(reward, rows: np.ndarray) -> np.ndarray:
    """Embeddings as the reward compares them: of unit length for TMR's cosine, raw for T2M's distance."""
    return unit(rows) if reward.name == "tmr" else rows


def retrieval(reward, clips: list[Clip], features: list[np.ndarray]) -> dict:
    """Text-to-motion R@1..R@3 in pools of 32, over 20 random poolings with a random caption of each clip.

    `same_caption_top1` also accepts a motion of which this very caption is told; `told_by_others` is how many other
    motions of a pool that is the case for, on average: they keep R@1 below 1 for any evaluator.
    """
    draw = np.random.default_rng(0)
    motion = compared(reward, reward.embed_motion(*stack(features)))
    precision, top1, others = [], [], []
    for _ in range(DRAWS):
        order = draw.permutation(len(clips))[: len(clips) // POOL * POOL]
        captions = [clips[i].captions[draw.integers(len(clips[i].captions))] for i in order]
        text = compared(reward, reward.embed_text(captions))
        precision.append(r_precision(text, motion[order], 3, POOL))
        for start in range(0, len(order), POOL):
            pool = order[start : start + POOL]
            told = np.array([[c in clips[i].captions for i in pool] for c in captions[start : start + POOL]])
            nearest = distances(text[start : start + POOL], motion[pool]).argmin(axis=1)
            top1.append(told[np.arange(POOL), nearest].mean())
            others.append(told.sum(axis=1).mean() - 1)
    mean, spread = np.mean(precision, axis=0), np.std(precision, axis=0)
    return {
        "clips": len(clips), "pool": POOL, "draws": DRAWS,
        **{f"r_at_{k}": round(float(mean[k - 1]), 4) for k in (1, 2, 3)},
        **{f"r_at_{k}_std_over_draws": round(float(spread[k - 1]), 4) for k in (1, 2, 3)},
        "chance_r_at_3": round(3 / POOL, 4), "same_caption_top1": round(float(np.mean(top1)), 4),
        "told_by_others": round(float(np.mean(others)), 3),
    }  # fmt: skip


def robustness(reward, clips: list[Clip], features: list[np.ndarray]) -> dict:
    """Mean score of real motions under their own caption, and of what must score lower.

    Each entry: the mean score, and the fraction of clips that score below their own unspoilt pair. `re_derived` is no
    fault: the features of the crop computed again from its recovered joints, as for a sampled motion.
    """
    draw = np.random.default_rng(0)
    captions = [clip.captions[0] for clip in clips]
    others = [[c.captions[0] for c in clips if c.action != clip.action] for clip in clips]
    windows = [motion[:MAX_FRAMES] for motion in features]
    joints = [clip.joints[: MAX_FRAMES + 1] for clip in clips]
    cases = {
        "own": (windows, captions),
        "re_derived": ([rederived(window) for window in windows], captions),
        "wrong_caption": (windows, [other[draw.integers(len(other))] for other in others]),
        "frozen": ([frozen(window, len(window) // 2) for window in windows], captions),
        "shuffled": ([draw.permutation(window) for window in windows], captions),
        "reversed": ([joints_to_features(j[::-1]) for j in joints], captions),
        **{f"jitter_{cm}cm": ([jittered(j, cm / 100, draw) for j in joints], captions) for cm in (0.5, 1, 2, 4)},
    }
    scores = {name: reward(Motions(*stack(motions), prompts)) for name, (motions, prompts) in cases.items()}
    return {
        name: {"mean": round(float(score.mean()), 4), "below_own": round(float((score < scores["own"]).mean()), 4)}
        for name, score in scores.items()
    }
