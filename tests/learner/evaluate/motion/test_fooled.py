"""Motions that only say they are better: features that no joint follows are edited, and the joints are left as they were."""

import dataclasses

import numpy as np
import pytest

from learner.evaluate.models import BASE
from learner.evaluate.motion.measures import Reader, Texts
from learner.evaluate.motion.report import Row, beside
from rewards.motion.metrics import matching_score
from rewards.motion.settings import JudgedTerms
from rewards.motion.space import cosine
from rollout.motion.diffusion_policy import MotionDiffusionPolicy, MotionPolicySettings
from rollout.motion.family import MOTION
from rollout.motion.prepare import MotionPreparer
from rollout.motion.prompts import read_prompts
from rollout.motion.settings import Model

JUDGES = ("joints", "essential")


@pytest.fixture(scope="module")
def rows():
    """A model that makes of each caption the motion of another, the same with rotations, velocities and contacts of the right one, and
    one that makes the right one; by the shipped model and evaluators, in two replications."""
    reader, model = Reader(JudgedTerms(), 5.0, ".", {}, "cpu"), Model()
    prompts = read_prompts(MOTION.shipped("heldout"), model.frames)[::2][:32]
    policy = MotionDiffusionPolicy(MotionPolicySettings(model))
    right = policy.generate(MotionPreparer(model).prepare(prompts), [(0, i) for i in range(32)])
    wrong = np.roll(right, 11, axis=0)
    made = {BASE: wrong, "fooled": np.concatenate([wrong[..., :67], right[..., 67:]], axis=-1), "right": right}
    texts, lengths = Texts(prompts, reader.evaluators).of(prompts), np.array([prompt.length for prompt in prompts])
    found = {}
    for name, features in made.items():
        measured = reader(features, lengths, True)
        values = {"mm_dist": [], **{f"{judge}_score": [] for judge in JUDGES}}
        for own in (slice(0, 16), slice(16, 32)):
            values["mm_dist"].append(matching_score(texts["t2m"][own], measured.t2m[own]))
            for judge in JUDGES:
                values[f"{judge}_score"].append(float(cosine(texts[judge][own], getattr(measured, judge)[own]).mean() / 2 + 0.5))
        found[name] = Row(name, None if name == BASE else "runs/it/adapter", None, values)
    return found


@pytest.mark.parametrize("judge", JUDGES)
def test_the_official_score_is_fooled_and_those_of_the_joints_are_not(rows, judge):
    base, fooled, right = (rows[name].values[f"{judge}_score"] for name in (BASE, "fooled", "right"))
    assert max(rows["fooled"].values["mm_dist"]) < min(rows[BASE].values["mm_dist"]) - 1
    assert fooled == base and min(right) > max(base) + 0.1


def test_what_improves_without_its_joints_is_told(rows):
    (line,) = beside(rows[BASE], None, rows["fooled"])
    assert line.startswith("fooled: the score of all 263 features rose (MM-Dist -")
    told = "not that of the joints (+0.0000 ± 0.0000) nor that of the 67 features that determine them (+0.0000 ± 0.0000): what improved"
    assert told in line
    assert beside(rows[BASE], None, rows["right"]) == []


def test_one_judge_that_sees_it_is_enough(rows):
    """Of two that both read the skeleton: features that neither can read did not rise it."""
    seen = {"essential_score": rows["right"].values["essential_score"]}
    assert beside(rows[BASE], None, dataclasses.replace(rows["fooled"], values=rows["fooled"].values | seen)) == []
