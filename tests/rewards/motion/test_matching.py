"""The original's matching rewards, at their edges, and what else they say about the choices they do not read."""

import logging

import numpy as np
import pytest

from rewards.motion.matching import MAPPINGS, Matching, T2MMatching, mapped
from rewards.motion.motions import Motions
from rollout.io.errors import InputError


class Points:
    """Captions are numbers; a motion lies where its first feature says, on the first of two axes."""

    name = "points"

    def embed_text(self, prompts, tokens=None):
        return np.array([[float(prompt), 1.0] for prompt in prompts], np.float32)

    def embed_motion(self, features, lengths):
        return np.stack([features[:, 0, 0], np.ones(len(features))], axis=1).astype(np.float32)


def at(*places: float, prompt: str = "0") -> Motions:
    features = np.zeros((len(places), 4, 263), np.float32)
    features[:, 0, 0] = places
    return Motions(features, np.full(len(places), 4), [prompt] * len(places))


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, [1, 0.8, 0, 0]),
        ({"mapping": "linear", "max_distance": 4.0}, [1, 0.5, 0, 0]),
        ({"mapping": "exponential"}, [1, np.exp(-1), np.exp(-5), 0]),
        ({"mapping": "exponential", "scale": 1}, [1, np.exp(-2), np.exp(-10), 0]),
        ({"mapping": "sigmoid"}, [0.5, 1 / (1 + np.e), 1 / (1 + np.exp(5)), 0]),
        ({"mapping": "negative"}, [0, -2, -10, -1e6]),
    ],
)
def test_the_mapping_of_a_distance(options, expected):
    found = Matching(Points(), "euclidean", **options)(at(0, 2, 10, 1e6))
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-12)
    np.testing.assert_array_equal(T2MMatching(Points(), **options)(at(0, 2, 10, 1e6)), found)


@pytest.mark.parametrize("mapping", MAPPINGS)
def test_nearer_is_better_until_saturation_and_nan_stays(mapping):
    found = mapped(np.array([0.1, 1.0, 5.0, 9.9, 1e9, np.nan]), mapping)
    assert (np.diff(found[:4]) < 0).all() and found[4] <= found[3]
    assert np.isnan(found).tolist() == [False] * 5 + [True]


def test_cosine_is_half_of_one_more():
    score = Matching(Points())
    found = score(at(1, -1, 0, np.nan, prompt="1"))
    np.testing.assert_allclose(found, [1, 0.5, (1 + 2**-0.5) / 2, np.nan], rtol=1e-6)


def test_a_cosine_of_the_shipped_evaluator_is_its_own_score(tmr_folder):
    from rewards.motion.tmr import TMRReward

    evaluator = TMRReward.load(tmr_folder)
    motions = Motions(
        np.random.default_rng(0).normal(size=(3, 40, 263)).astype(np.float32), np.array([40, 30, 20]), ["a person walks"] * 3
    )
    np.testing.assert_allclose(Matching(evaluator)(motions), evaluator(motions), atol=1e-6)


@pytest.mark.parametrize(
    ("options", "reported"),
    [
        ({"similarity": "cosine", "scale": 2.0}, "scale is not read with similarity cosine"),
        ({"similarity": "cosine", "mapping": "sigmoid"}, "mapping is not read with similarity cosine"),
        ({"similarity": "euclidean", "mapping": "sigmoid", "max_distance": 9.0}, "max_distance is not read with mapping sigmoid"),
        ({"similarity": "euclidean", "scale": 2.0}, "scale is not read with mapping linear"),
    ],
)
def test_what_a_choice_does_not_read_is_reported(options, reported, caplog):
    with caplog.at_level(logging.WARNING):
        Matching(Points(), **options)
    assert reported in caplog.text and len(caplog.records) == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"similarity": "dot"}, "similarity: found 'dot', expected cosine or euclidean"),
        ({"mapping": "log"}, "mapping: found 'log', expected linear or exponential or sigmoid or negative"),
        ({"max_distance": 0}, "max_distance: found 0, expected a number above 0"),
        ({"scale": "wide"}, "scale: found 'wide', expected a number above 0"),
        ({"scale": float("nan")}, "scale: found nan, expected a number above 0"),
    ],
)
def test_a_choice_that_cannot_be_is_refused(options, message):
    with pytest.raises(InputError, match=message):
        Matching(Points(), **options)
