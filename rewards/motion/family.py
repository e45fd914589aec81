"""How the motion family is scored: TMR, T2M, physics and whatever else reads motion; one evaluator trains, the other judges."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rewards.compose import raw_total
from rewards.family import Examination
from rewards.motion.evaluators import Judges, load_evaluator
from rewards.motion.loading import load_reward_and_judge
from rewards.motion.metrics import DIVERSITY_PAIRS, TOO_FEW, diversity, fid_to, unit
from rewards.motion.motions import MIN_FRAMES, Motions, as_motions
from rewards.motion.physics import ALL_PHYSICS
from rewards.motion.real_band import real_measures
from rewards.motion.settings import Evaluators
from rewards.motion.texts import Embedded
from rewards.scoring import Scorer
from rollout.io.errors import InputError
from rollout.motion.checkpoint import open_checkpoint
from rollout.motion.features import joints_in_metres
from rollout.motion.prompts import MotionPrompt
from rollout.motion.skeleton import HUMANML3D
from rollout.policy import Group, arrays_digest

log = logging.getLogger(__name__)
JOINTS = "judge_joints"
FIDS = {"fid": lambda embeddings: embeddings, "fid_unit": unit}  # the second knows directions alone, which are what a cosine compares
REAL = Path(__file__).parent.parent / "assets" / "real_motion.npz"


class MotionRewards:
    """See `rewards.family.Rewards`."""

    def subjects(self, *groups: Group) -> Motions:
        return as_motions(*groups)

    def load(self, config: Any, device: str, shared: Embedded) -> tuple[Scorer, Judges]:
        reward = config.reward
        scorer, judge = load_reward_and_judge(
            reward.parsed(), reward.chosen_judge()[0], reward, device, shared, config.cluster.reward_deadline
        )
        return scorer, Judges.beside(judge, reward, device, shared)

    def check(self, config: Any, prompts: list[MotionPrompt]) -> Embedded:
        """The text embeddings of all prompts, so that no actor encodes one again.

        Raises InputError when a component of the reward or the judge cannot be loaded, cannot read a prompt, finds its motion
        too short, or does not score a body that stands still."""
        (judge_name, independent), texts = config.reward.chosen_judge(), {}
        scorer, judges = self.load(config, "cpu", texts)
        if not independent:
            log.warning("reward.judge: the reward reads %s too: this run has no independent judge", judge_name)
        made = open_checkpoint(config.model.checkpoint, config.model.stats).format
        evaluators = list(filter(None, {**scorer.evaluators, judge_name: judges.own, "joints": judges.joints}.values()))
        for evaluator in evaluators:
            evaluator.require(made.features)
        if not real_measures(made) and (names := [name for name, each in scorer.components.items() if getattr(each, "borrowed", False)]):
            borrowed = f"of {made.name} no real motion was measured, their ranges are {HUMANML3D.name}'s"
            log.warning("reward.components: %s: %s (give low, high and scale of your own)", ", ".join(names), borrowed)
        short = min(prompts, key=lambda prompt: prompt.length)
        if short.length < MIN_FRAMES:
            raise InputError(f"prompt {short.text!r}: {short.length} frames, expected at least {MIN_FRAMES} for the evaluators to read")
        for evaluator in evaluators:
            evaluator.embed_text([prompt.text for prompt in prompts], [prompt.tokens for prompt in prompts])
        one_of_each = {prompt.length: prompt for prompt in prompts}.values()  # a data set has tens of thousands of prompts
        lengths = np.array([prompt.length for prompt in one_of_each])
        produced = np.zeros((len(lengths), lengths.max() + 1, made.features), np.float32)
        captions = [prompt.text for prompt in one_of_each], [prompt.tokens for prompt in one_of_each]
        still = Motions(produced[:, 1:], lengths, *captions, produced)
        for judge in filter(None, (judges.own, judges.joints)):
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

    def examine(self, groups: Sequence[Group], scorer: Scorer, judges: Judges) -> list[Examination]:
        """`extras`: every measure of `rewards/motion/physics.py`, in its unit, the judge's `embedding` [G,D], and `judge_joints` where a
        TMR of joints judges too."""
        found = []
        for group, scores in zip(groups, scorer(as_motions(*groups)).split([len(group) for group in groups])):
            motions, joints = as_motions(group), joints_in_metres(group.outputs)
            extras = {name: of(joints, group.lengths) for name, of in ALL_PHYSICS.items()}
            extras["embedding"] = judges.own.embed_motion(motions.features, motions.lengths)
            extras |= {JOINTS: judges.joints(motions)} if judges.joints else {}
            found.append(Examination(raw_total(scorer.settings, scores.values), scores.values, judges.own(motions), extras))
        return found

    def quality(self, config: Any, results: list[Examination]) -> dict[str, float | str | None]:
        return quality(results, real_motion(config.reward))

    def measured(self, results: list[Examination]) -> dict[str, np.ndarray]:
        return {name: np.stack([e.extras[name] for e in results]) for name in _measured(results)}


def _measured(results: list[Examination]) -> list[str]:
    return [name for name in (JOINTS, *ALL_PHYSICS) if name in results[0].extras]


def quality(results: list[Examination], real: dict[str, tuple[np.ndarray, np.ndarray]] | None) -> dict[str, float | str | None]:
    """FID to real held-out motion, on embeddings as they are and on those of unit length (None without the statistics of both), and
    diversity, in the judge's embedding; means of physics, and of what the TMR of joints says.

    Motions that are not finite are left out; TOO_FEW where what is left does not do.
    """
    embeddings = np.concatenate([e.extras["embedding"] for e in results])
    embeddings = embeddings[np.isfinite(embeddings).all(axis=1)]
    measured = {name: np.concatenate([e.extras[name] for e in results]).astype(np.float64) for name in _measured(results)}
    means = {name: float(np.nanmean(values)) if np.isfinite(values).any() else float("nan") for name, values in measured.items()}
    return {
        **{name: mean for name, mean in means.items() if name == JOINTS},
        **{name: fid_to(real[name], of(embeddings)) if real else None for name, of in FIDS.items()},
        "diversity": diversity(embeddings, pairs=min(DIVERSITY_PAIRS, len(embeddings) - 1)) if len(embeddings) > 2 else TOO_FEW,
        **means,
    }


MOTION = MotionRewards()


def real_motion(reward: Any) -> dict[str, tuple[np.ndarray, np.ndarray]] | None:
    """Mean and covariance of real held-out motion in the judge's embedding, by FIDS; they ship for the shipped judges only."""
    judge, _ = reward.chosen_judge()
    if reward.custom(judge):
        return None
    with np.load(REAL, allow_pickle=False) as real:
        return {name: (real[f"{judge}_mean{of}"], real[f"{judge}_cov{of}"]) for name, of in {"fid": "", "fid_unit": "_unit"}.items()}
