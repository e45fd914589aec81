"""What each normaliser makes of a group, at the edges: no spread, failures, two samples, ties, rounding."""

import json

import numpy as np
import pytest

from rewards.normalise import KINDS, AdaptivePercentile, normalise
from rollout.io.errors import InputError

NAN = np.nan


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("raw", [3, 1, 1, NAN, 7]),
        ("std", [0, -2 / 6**0.5, -2 / 6**0.5, NAN, 4 / 6**0.5]),
        ("rank", [2 / 3, 1 / 6, 1 / 6, NAN, 1]),
        ("minmax", [1 / 3, 0, 0, NAN, 1]),
    ],
)
def test_the_formula_with_ties_and_a_failed_sample(kind, expected):
    found = normalise(kind, np.array([3, 1, 1, NAN, 7], np.float32))
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=1e-6)


@pytest.mark.parametrize(("kind", "low", "high"), [("raw", -2, 5), ("std", -1, 1), ("rank", 0, 1), ("minmax", 0, 1)])
def test_two_samples_are_the_two_ends(kind, low, high):
    np.testing.assert_allclose(normalise(kind, np.array([5, -2])), [high, low], atol=1e-6)


@pytest.mark.parametrize(("kind", "constant"), [("raw", 0.7), ("std", 0), ("rank", 0.5), ("minmax", 0.5)])
@pytest.mark.parametrize("values", [[0.7] * 4, [0.7], [0.7, NAN, 0.7]])
def test_a_group_without_spread_becomes_one_constant(kind, constant, values):
    expected = np.where(np.isnan(values), NAN, constant)
    np.testing.assert_allclose(normalise(kind, np.array(values)), expected, atol=1e-6)


@pytest.mark.parametrize("kind", ["std", "rank", "minmax"])
def test_rounding_is_no_signal(kind):
    ones = np.array([1, 1 + 6e-8, 1 - 6e-8, 1], np.float32)
    assert np.ptp(ones) > 0
    assert np.ptp(normalise(kind, ones)) == 0
    assert np.ptp(normalise(kind, np.zeros(3))) == 0
    assert np.ptp(normalise(kind, 1e-6 * np.arange(4))) > 0  # small values may differ by little


@pytest.mark.parametrize("kind", KINDS)
def test_what_failed_stays_failed(kind):
    np.testing.assert_array_equal(normalise(kind, np.array([NAN, NAN])), [NAN, NAN])
    assert normalise(kind, np.array([])).shape == (0,)
    assert np.isnan(normalise(kind, np.array([1, np.inf, 2]))).tolist() == [False, True, False]


@pytest.mark.parametrize("kind", KINDS)
def test_values_keep_their_samples_and_their_order(kind):
    values = np.random.default_rng(0).normal(size=9)
    order = np.random.default_rng(1).permutation(9)
    found = normalise(kind, values)
    np.testing.assert_array_equal(normalise(kind, values[order]), found[order])
    np.testing.assert_array_equal(found.argsort(), values.argsort())


@pytest.mark.parametrize("kind", ["std", "rank", "minmax"])
def test_unit_and_offset_do_not_matter(kind):
    values = np.random.default_rng(0).normal(size=9)
    np.testing.assert_allclose(normalise(kind, 1000 * values + 5), normalise(kind, values), atol=1e-5)


def test_another_kind_is_refused():
    with pytest.raises(InputError, match="normalise: found 'zscore', expected raw or std or rank or minmax"):
        normalise("zscore", np.ones(2))


def test_the_percentile_is_of_the_last_values_these_included():
    adaptive = AdaptivePercentile(history=4, percentile=50)
    np.testing.assert_allclose(adaptive(np.array([2.0, -4.0])), [2 / 3, -4 / 3], rtol=1e-6)  # of 2, 4
    np.testing.assert_allclose(adaptive(np.array([8.0, 8.0, 8.0])), [1, 1, 1], rtol=1e-6)  # of 4, 8, 8, 8: the 2 is gone
    assert AdaptivePercentile()(np.arange(101.0))[95] == 1  # by default the 95th


def test_failures_are_not_remembered_and_zeros_do_not_divide():
    adaptive = AdaptivePercentile(percentile=50)
    np.testing.assert_array_equal(adaptive(np.array([NAN, 0.0, 0.0])), [NAN, 0, 0])
    np.testing.assert_array_equal(adaptive(np.array([NAN, np.inf])), [NAN, NAN])
    assert adaptive.state() == {"sizes": [0.0, 0.0]}
    np.testing.assert_allclose(AdaptivePercentile(percentile=100)(np.array([-2.0, 1.0])), [-1, 0.5])  # the sign stays


def test_a_run_goes_on_from_its_state_as_if_never_stopped():
    groups = np.random.default_rng(0).normal(size=(40, 8))
    whole = AdaptivePercentile(history=64)
    expected = [whole(group) for group in groups]
    first, second = AdaptivePercentile(history=64), AdaptivePercentile(history=64)
    for group in groups[:20]:
        first(group)
    second(groups[0])  # what it knew before does not count
    second.load_state(json.loads(json.dumps(first.state())))
    np.testing.assert_array_equal([second(group) for group in groups[20:]], expected[20:])
    assert len(second.state()["sizes"]) == 64


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"percentile": 0}, "percentile: found 0, expected a number above 0"),
        ({"percentile": 101}, "percentile: found 101, expected at most 100"),
        ({"history": 0}, "history: found 0, expected a whole number of at least 1"),
    ],
)
def test_a_percentile_that_cannot_be_is_refused(options, message):
    with pytest.raises(InputError, match=message):
        AdaptivePercentile(**options)
