"""Motions that only say they are better: features that no joint follows are edited, and the joints are left as they were."""

import numpy as np
import pytest

from learner.evaluate.models import BASE
from learner.evaluate.motion.measures import Reader, Texts
from learner.evaluate.motion.report import Row, beside
from rewards.motion.metrics import matching_score
from rewards.motion.settings import RewardTerms
from rewards.motion.space import cosine
from rollout.motion.diffusion_policy import MotionDiffusionPolicy, MotionPolicySettings
from rollout.motion.family import MOTION
from rollout.motion.prepare import MotionPreparer
from rollout.motion.prompts import read_prompts
from rollout.motion.settings import Model


@pytest.fixture(scope="module")
def rows():
    """A model that makes of each caption the motion of another, the same with rotations, velocities and contacts of the right one, and
    one that makes the right one; by the shipped model and evaluators, in two replications."""
    reader, model = Reader(RewardTerms(), 5.0, ".", {}, "cpu"), Model()
    prompts = read_prompts(MOTION.shipped("heldout"), model.frames)[::2][:32]
    policy = MotionDiffusionPolicy(MotionPolicySettings(model))
    right = policy.generate(MotionPreparer(model).prepare(prompts), [(0, i) for i in range(32)])
    wrong = np.roll(right, 11, axis=0)
    made = {BASE: wrong, "fooled": np.concatenate([wrong[..., :67], right[..., 67:]], axis=-1), "right": right}
    texts, lengths = Texts(prompts, reader.evaluators).of(prompts), np.array([prompt.length for prompt in prompts])
    found = {}
    for name, features in made.items():
        measured = reader(features, lengths, True)
        values = {"mm_dist": [], "joints_score": []}
        for own in (slice(0, 16), slice(16, 32)):
            values["mm_dist"].append(matching_score(texts["t2m"][own], measured.t2m[own]))
            values["joints_score"].append(float(cosine(texts["joints"][own], measured.joints[own]).mean() / 2 + 0.5))
        found[name] = Row(name, None if name == BASE else "runs/it/adapter", None, values)
    return found


def test_the_official_score_is_fooled_and_that_of_the_joints_is_not(rows):
    assert max(rows["fooled"].values["mm_dist"]) < min(rows[BASE].values["mm_dist"]) - 1
    assert rows["fooled"].values["joints_score"] == rows[BASE].values["joints_score"]
    assert min(rows["right"].values["joints_score"]) > max(rows[BASE].values["joints_score"]) + 0.1


def test_what_improves_without_its_joints_is_told(rows):
    (line,) = beside(rows[BASE], None, rows["fooled"])
    assert line.startswith("fooled: the score of all 263 features rose (MM-Dist -")
    assert "that of the joints did not (+0.0000 ± 0.0000)" in line
    assert beside(rows[BASE], None, rows["right"]) == []
