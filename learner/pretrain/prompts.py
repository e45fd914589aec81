"""The prompts that ship: a compact training set, held-out captions of the same kinds of motion, distractors."""

import json
from pathlib import Path

import numpy as np

from learner.pretrain.retrieval import stack
from rewards.metrics import statistics
from rewards.pair import load_reward_and_judge
from rewards.paths import EvaluatorPaths
from rollout.motion.dataset import Clip
from rollout.motion.features import rederived

# Training and held-out prompts per action. Kinds that a person recognises in two seconds without a prop come first.
SHARES = {
    "walk": (14, 14), "run": (4, 6), "jump_forward": (4, 6), "jump_inplace": (3, 6), "hop_left": (2, 3), "hop_right": (2, 3),
    "kick": (5, 6), "punch": (5, 5), "dribble": (4, 4), "wash_window": (4, 4), "scoop": (4, 4), "direct_traffic": (3, 3),
}  # fmt: skip
DISTRACTORS = 256


def split_prompts(clips: list[Clip], frames: int, seed: int) -> dict[str, list]:
    """`training` and `heldout`: [{"caption", "length"}]; `distractors`: captions of neither.

    Training captions come from training clips. Held-out ones come from val and test clips and occur on no training clip
    where enough of those exist, so no model here has ever been trained on them. `length` is in frames, at most `frames`.
    """
    rng = np.random.default_rng(seed)
    seen = {caption for clip in clips if clip.split == "train" for caption in clip.captions}
    chosen = {"training": [], "heldout": []}
    for action, (training, heldout) in SHARES.items():
        own = [clip for clip in clips if clip.action == action]
        train = _captions(own, lambda clip: clip.split == "train", rng)
        held = _captions(own, lambda clip: clip.split != "train", rng)
        chosen["training"] += train[:training]
        held = [c for c in held if c not in train[:training]]
        chosen["heldout"] += sorted(held, key=lambda caption: caption in seen)[:heldout]
    used = set(chosen["training"]) | set(chosen["heldout"])
    others = sorted(seen - used)
    entries = {name: [{"caption": c, "length": frames} for c in captions] for name, captions in chosen.items()}
    return entries | {"distractors": [others[i] for i in rng.permutation(len(others))[:DISTRACTORS]]}


def _captions(clips: list[Clip], wanted, rng: np.random.Generator) -> list[str]:
    captions = sorted({caption for clip in clips if wanted(clip) for caption in clip.captions})
    return [captions[i] for i in rng.permutation(len(captions))]


def write_prompts(folder: Path, prompts: dict[str, list]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, entries in prompts.items():
        stem = name if name == "distractors" else f"{name}_prompts"
        (folder / f"{stem}.json").write_text(json.dumps(entries, indent=0) + "\n")


def write_real_motion(root: Path, clips: list[Clip], features: list[np.ndarray], frames: int) -> None:
    """Mean and covariance of real held-out motion in both evaluators' embeddings: what FID compares with.

    Two crops of at most `frames` frames of every val and test clip, as long as the motions that are judged and re-derived like them.
    """
    rng = np.random.default_rng(0)
    crops = []
    for clip, motion in zip(clips, features):
        if clip.split != "train":
            for start in rng.integers(0, max(1, len(motion) - frames + 1), 2):
                crops.append(rederived(motion[start : start + frames]))
    paths = EvaluatorPaths(t2m_path=str(root / "rewards/assets/t2m"), tmr_path=str(root / "rewards/assets/tmr"))
    tmr, t2m = load_reward_and_judge("tmr", paths, "cpu")
    arrays = {}
    for evaluator in (tmr, t2m):
        mean, cov = statistics(evaluator.embed_motion(*stack(crops)))
        arrays |= {f"{evaluator.name}_mean": mean.astype(np.float32), f"{evaluator.name}_cov": cov.astype(np.float32)}
    np.savez_compressed(root / "learner" / "assets" / "real_motion.npz", **arrays)
