"""How the motion family is scored: TMR, T2M, physics and whatever else reads motion; one evaluator trains, the other judges."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rewards.compose import raw_total
from rewards.family import Examination
from rewards.motion.evaluators import load_evaluator
from rewards.motion.loading import load_reward_and_judge
from rewards.motion.metrics import DIVERSITY_PAIRS, TOO_FEW, diversity, fid_to
from rewards.motion.motions import MIN_FRAMES, Motions, as_motions
from rewards.motion.physics import ALL_PHYSICS
from rewards.motion.settings import Evaluators
from rewards.motion.space import Evaluator
from rewards.motion.texts import Embedded
from rewards.scoring import Scorer
from rollout.io.errors import InputError
from rollout.motion.checkpoint import open_checkpoint
from rollout.motion.features import joints_in_metres
from rollout.motion.prompts import MotionPrompt
from rollout.policy import Group, arrays_digest

log = logging.getLogger(__name__)
REAL = Path(__file__).parent.parent / "assets" / "real_motion.npz"


class MotionRewards:
    """See `rewards.family.Rewards`."""

    def subjects(self, *groups: Group) -> Motions:
        return as_motions(*groups)

    def load(self, config: Any, device: str, shared: Embedded) -> tuple[Scorer, Evaluator]:
        reward = config.reward
        return load_reward_and_judge(reward.parsed(), reward.chosen_judge()[0], reward, device, shared, config.cluster.reward_deadline)

    def check(self, config: Any, prompts: list[MotionPrompt]) -> Embedded:
        """The text embeddings of all prompts, so that no actor encodes one again.

        Raises InputError when a component of the reward or the judge cannot be loaded, cannot read a prompt, finds its motion
        too short, or does not score a body that stands still."""
        (judge_name, independent), texts = config.reward.chosen_judge(), {}
        scorer, judge = self.load(config, "cpu", texts)
        if not independent:
            log.warning("reward.judge: the reward reads %s too: this run has no independent judge", judge_name)
        made = open_checkpoint(config.model.checkpoint, config.model.stats).format
        for evaluator in {**scorer.evaluators, judge_name: judge}.values():
            evaluator.require(made.features)
        short = min(prompts, key=lambda prompt: prompt.length)
        if short.length < MIN_FRAMES:
            raise InputError(f"prompt {short.text!r}: {short.length} frames, expected at least {MIN_FRAMES} for the evaluators to read")
        for evaluator in {**scorer.evaluators, judge_name: judge}.values():
            evaluator.embed_text([prompt.text for prompt in prompts], [prompt.tokens for prompt in prompts])
        one_of_each = {prompt.length: prompt for prompt in prompts}.values()  # a data set has tens of thousands of prompts
        lengths = np.array([prompt.length for prompt in one_of_each])
        produced = np.zeros((len(lengths), lengths.max() + 1, made.features), np.float32)
        captions = [prompt.text for prompt in one_of_each], [prompt.tokens for prompt in one_of_each]
        still = Motions(produced[:, 1:], lengths, *captions, produced)
        judge(still)
        scorer.check(still, config.cluster.reward_deadline)
        return texts

    def standing(self, config: Any, prompts: list[MotionPrompt], shared: Embedded) -> dict[str, list[str]]:
        found = {}
        for name, known in shared.items():
            given = [path for key in Evaluators.model_fields if key.startswith(name) and (path := getattr(config.reward, key))]
            texts = {str(i): known[prompt.text, prompt.tokens] for i, prompt in enumerate(prompts)}
            weights = load_evaluator(name, config.reward).weights_sha256()
            found[f"{name} evaluator"] = [str(given[0]) if given else "that which ships", arrays_digest(texts, weights)]
        return found

    def examine(self, groups: Sequence[Group], scorer: Scorer, judge: Evaluator) -> list[Examination]:
        """`extras`: every measure of `rewards/motion/physics.py`, in its unit, and the judge's `embedding` [G,D]."""
        found = []
        for group, scores in zip(groups, scorer(as_motions(*groups)).split([len(group) for group in groups])):
            motions, joints = as_motions(group), joints_in_metres(group.outputs)
            extras = {name: of(joints, group.lengths) for name, of in ALL_PHYSICS.items()}
            extras["embedding"] = judge.embed_motion(motions.features, motions.lengths)
            found.append(Examination(raw_total(scorer.settings, scores.values), scores.values, judge(motions), extras))
        return found

    def quality(self, config: Any, results: list[Examination]) -> dict[str, float | str | None]:
        return quality(results, real_motion(config.reward))

    def measured(self, results: list[Examination]) -> dict[str, np.ndarray]:
        return {name: np.stack([e.extras[name] for e in results]) for name in ALL_PHYSICS}


def quality(results: list[Examination], real: tuple[np.ndarray, np.ndarray] | None) -> dict[str, float | str | None]:
    """FID to real held-out motion (None without its statistics) and diversity, in the judge's embedding; means of physics.

    Motions that are not finite are left out; TOO_FEW where what is left does not do.
    """
    embeddings = np.concatenate([e.extras["embedding"] for e in results])
    embeddings = embeddings[np.isfinite(embeddings).all(axis=1)]
    physics = {name: np.concatenate([e.extras[name] for e in results]).astype(np.float64) for name in ALL_PHYSICS}
    return {
        "fid": fid_to(real, embeddings) if real else None,
        "diversity": diversity(embeddings, pairs=min(DIVERSITY_PAIRS, len(embeddings) - 1)) if len(embeddings) > 2 else TOO_FEW,
        **{name: float(np.nanmean(values)) if np.isfinite(values).any() else float("nan") for name, values in physics.items()},
    }


MOTION = MotionRewards()


def real_motion(reward: Any) -> tuple[np.ndarray, np.ndarray] | None:
    """Mean and covariance of real held-out motion in the judge's embedding; they ship for the shipped judges only."""
    judge, _ = reward.chosen_judge()
    if reward.custom(judge):
        return None
    with np.load(REAL, allow_pickle=False) as real:
        return real[f"{judge}_mean"], real[f"{judge}_cov"]
