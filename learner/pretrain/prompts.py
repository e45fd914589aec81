"""The prompts that ship: a compact training set, held-out captions of the same kinds of motion, distractors."""

import dataclasses
import json
from pathlib import Path

import numpy as np

from learner.evaluate.motion.measures import measure
from learner.pretrain.retrieval import stack
from rewards.motion.evaluators import load_evaluator
from rewards.motion.metrics import statistics, unit
from rewards.motion.settings import JudgedTerms
from rollout.io.errors import InputError
from rollout.motion.dataset import Clip
from rollout.motion.features import rederived
from rollout.motion.prompts import MotionPrompt

# Training and held-out prompts per action. Kinds that a person recognises in two seconds without a prop come first.
SHARES = {
    "walk": (14, 14), "run": (4, 6), "jump_forward": (4, 6), "jump_inplace": (3, 6), "hop_left": (2, 3), "hop_right": (2, 3),
    "kick": (5, 6), "punch": (5, 5), "dribble": (4, 4), "wash_window": (4, 4), "scoop": (4, 4), "direct_traffic": (3, 3),
}  # fmt: skip
DISTRACTORS = 256
CROPS = 32  # stored crops of real motion of each held-out caption


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


def write_prompts(root: Path, prompts: dict[str, list]) -> None:
    """rollout/assets/{training,heldout}_prompts.json and rewards/assets/distractors.json under `root`."""
    for name, entries in prompts.items():
        room, stem = ("rewards", name) if name == "distractors" else ("rollout", f"{name}_prompts")
        folder = root / room / "assets"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{stem}.json").write_text(json.dumps(entries, indent=0) + "\n")


def write_real_motion(root: Path, clips: list[Clip], features: list[np.ndarray], prompts: list[MotionPrompt]) -> None:
    """What the evaluators make of real held-out motion, so that no motion has to ship. `prompts`: the held-out ones.

    * `<evaluator>_mean`, `_cov`, and with `_unit` of embeddings of length 1: of two crops of every val and test clip, as long as
      the longest prompt and re-derived like the motions that are judged: what a run's FID compares with
    * `captions`, and `crop_*` of 32 crops of each caption's own val and test clips: the real motion of `learner.evaluate`
    """
    rng = np.random.default_rng(0)
    frames = max(prompt.length for prompt in prompts)
    held = [(clip, motion) for clip, motion in zip(clips, features) if clip.split != "train"]
    crops = []
    for _, motion in held:
        for start in rng.integers(0, max(1, len(motion) - frames + 1), 2):
            crops.append(rederived(motion[start : start + frames]))
    paths = JudgedTerms(**{f"{name}_path": str(root / "rewards/assets" / name) for name in ("tmr", "t2m", *JudgedTerms.beside)})
    evaluators = {name: load_evaluator(name, paths) for name in paths.evaluators()}
    arrays = {}
    for evaluator in (evaluators["tmr"], evaluators["t2m"]):  # which may judge
        embeddings = evaluator.embed_motion(*stack(crops))
        for of, rows in {"": embeddings, "_unit": unit(embeddings)}.items():
            mean, cov = statistics(rows)
            arrays |= {f"{evaluator.name}_mean{of}": mean.astype(np.float32), f"{evaluator.name}_cov{of}": cov.astype(np.float32)}
    own = []
    for prompt in prompts:
        told = [motion for clip, motion in held if prompt.text in clip.captions and len(motion) >= prompt.length]
        if not told:
            raise InputError(f"{prompt.text!r}: no val or test clip of at least {prompt.length} frames has this caption")
        for crop in range(CROPS):
            motion = told[crop % len(told)]
            start = int(rng.integers(len(motion) - prompt.length + 1))
            own.append(motion[start : start + prompt.length])
    measured = measure(*stack(own), evaluators)
    fields = [field.name for field in dataclasses.fields(measured) if field.name != "reward"]  # which differs by run
    arrays |= {f"crop_{name}": getattr(measured, name).astype(np.float16) for name in fields}
    arrays["captions"] = np.array([prompt.text for prompt in prompts])
    np.savez_compressed(root / "rewards" / "assets" / "real_motion.npz", **arrays)
