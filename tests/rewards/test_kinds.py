"""What every component that ships promises: a score belongs to its motion, whatever stands beside or behind it."""

import functools

import numpy as np
import pytest

from rewards.components import Component
from rewards.motion.evaluators import load_evaluator
from rewards.motion.kinds import KINDS
from rewards.motion.motions import Motions
from rewards.motion.settings import Evaluators

EXACT = 2e-5  # float32: matrix products of other sizes round differently
PROMPTS = ["a person walks", "a person jumps", "a person walks", "a person jumps", "a person turns left", "a person jumps"]
GROUPS = np.array([0, 1, 0, 1, 0, 1])
OPTIONS = {"t2m.matching": {"mapping": "negative"}}  # the linear one is 0 for motions as far off as these
FEET = [6, 7, 9, 10]  # ankles and toes, of the 21 joints below the root
ORDER = np.array([3, 0, 5, 4, 1, 2])


@pytest.fixture(scope="module", params=KINDS.shipped)
def component(request):
    return KINDS.build("it", Component(request.param, options=OPTIONS.get(request.param, {})), evaluator)


@functools.cache
def evaluator(name):
    return load_evaluator(name, Evaluators())


def motions(lengths, frames=48, behind=0.0) -> Motions:
    """Six motions, and `behind` past each length, in up to `frames` frames. Three slide with their feet on the floor,
    three float."""
    draw = np.random.default_rng(0)
    bodies = draw.normal(0, 0.3, (6, 1, 263)) + np.cumsum(draw.normal(0, 0.05, (6, 49, 263)), axis=1)
    bodies[..., 1:3] = 0.02 * np.arange(6)[:, None, None]
    heights = bodies[..., 4:67].reshape(6, 49, 21, 3)[..., 1]
    heights[:] = 0.3 + np.abs(heights) + 0.2 * np.arange(6)[:, None, None]
    heights[:3, :, FEET] = 0.01
    produced = np.full((6, frames + 1, 263), behind, np.float32)
    features = np.full((6, frames, 263), behind, np.float32)
    for i, length in enumerate(lengths):
        produced[i, : length + 1] = bodies[i, : length + 1]
        features[i, :length] = bodies[i, :length]
        features[i, :length, 67:] += 0.1 * np.sin(i)  # what no joint follows is not quite as produced
    return Motions(features, np.array(lengths), PROMPTS, None, produced, GROUPS)


@pytest.mark.parametrize("lengths", [[48] * 6, [48, 30, 41, 41, 48, 25]], ids=["equal", "mixed"])
def test_scores_follow_their_motions_under_permutation(component, lengths):
    given = motions(lengths)
    scores = component(given)
    assert scores.shape == (6,) and scores.dtype == np.float32 and np.isfinite(scores).all()
    np.testing.assert_allclose(component(given.rows(ORDER)), scores[ORDER], atol=EXACT, rtol=1e-4)


def test_other_groups_change_nothing(component):
    given = motions([48, 30, 41, 41, 48, 25])
    for group in (0, 1):
        rows = np.flatnonzero(GROUPS == group)
        np.testing.assert_allclose(component(given.rows(rows)), component(given)[rows], atol=EXACT, rtol=1e-4)


@pytest.mark.parametrize("frames, behind", [(60, 0.0), (48, 1e3), (60, np.nan)])
def test_what_lies_past_a_length_changes_nothing(component, frames, behind):
    lengths = [48, 30, 41, 41, 48, 25]
    expected = component(motions(lengths))
    np.testing.assert_allclose(component(motions(lengths, frames, behind)), expected, atol=EXACT, rtol=1e-4)
    assert np.ptp(expected) > 1e-3


def test_a_motion_that_is_not_finite_fails_alone(component):
    given = motions([48, 30, 41, 41, 48, 25])
    given.features[2, 5] = given.produced[2, 5] = np.nan
    assert np.isnan(component(given)).tolist() == [False, False, True, False, False, False]
