import json

import numpy as np
import pytest
from scipy import linalg

from rewards.metrics import distances, diversity, fid, matching_score, r_precision, statistics
from rollout.errors import InputError
from tests.parity import parity_cases

DRAW = np.random.default_rng(5)


def test_distances_are_euclidean_and_never_nan():
    a, b = DRAW.normal(size=(7, 5)), DRAW.normal(size=(9, 5))
    np.testing.assert_allclose(distances(a, b), np.linalg.norm(a[:, None] - b[None], axis=-1), atol=1e-12)
    same = DRAW.normal(size=(400, 64))  # |a|^2 - 2 ab + |b|^2 of equal rows rounds below 0 for some
    assert np.isfinite(distances(same, same)).all()


def test_r_precision_counts_the_rank_of_the_own_motion_inside_its_pool():
    text = np.arange(64, dtype=float)[:, None]
    np.testing.assert_array_equal(r_precision(text, text), [1, 1, 1])
    # Shifted by .6: in each pool every motion but the last has exactly one nearer neighbour.
    np.testing.assert_allclose(r_precision(text, text + 0.6), [1 / 32, 1, 1])


def test_r_precision_of_collapsed_embeddings_is_chance():
    np.testing.assert_allclose(r_precision(np.ones((64, 4)), np.ones((64, 4))), [1 / 32, 2 / 32, 3 / 32])


def test_r_precision_drops_an_incomplete_pool_and_refuses_less_than_one():
    text = DRAW.normal(size=(40, 4))
    np.testing.assert_array_equal(r_precision(text, text[::-1]), r_precision(text[:32], text[::-1][:32]))
    with pytest.raises(InputError, match="31 texts"):
        r_precision(text[:31], text[:31])


def test_matching_score_is_the_mean_distance_of_the_pairs():
    text = np.zeros((3, 2))
    assert matching_score(text, np.array([[3, 4], [0, 0], [0, 1]])) == pytest.approx(2.0)


def test_fid_of_two_gaussians_in_closed_form():
    mean, cov = np.array([1.0, 2.0]), np.diag([4.0, 9.0])
    assert fid(mean, cov, mean, cov) == pytest.approx(0, abs=1e-9)
    assert fid(mean, cov, mean + 1, np.diag([1.0, 1.0])) == pytest.approx(2 + (2 - 1) ** 2 + (3 - 1) ** 2)


def test_fid_survives_fewer_samples_than_dimensions():
    a, b = DRAW.normal(size=(20, 48)), DRAW.normal(size=(20, 48)) + 1
    (mean_a, cov_a), (mean_b, cov_b) = statistics(a), statistics(b)
    half = linalg.sqrtm(cov_a + 1e-9 * np.eye(48)).real
    roots = np.sqrt(np.maximum(np.linalg.eigvalsh(half @ cov_b @ half), 0))
    expected = ((mean_a - mean_b) ** 2).sum() + np.trace(cov_a) + np.trace(cov_b) - 2 * roots.sum()
    assert fid(mean_a, cov_a, mean_b, cov_b) == pytest.approx(expected, rel=1e-3)


def test_diversity_depends_on_its_seed_only_and_needs_enough_rows():
    rows = DRAW.normal(size=(50, 4))
    assert diversity(rows, 40, seed=3) == diversity(rows, 40, seed=3) != diversity(rows, 40, seed=4)
    with pytest.raises(InputError, match="more than 50"):
        diversity(rows, 50)


def test_parity_metrics():
    cases = parity_cases("metrics.json")
    if not cases:
        pytest.skip("no metrics fixtures: set PARITY_FIXTURES or provide ../shared/fixtures")
    for folder in cases:
        recorded, wanted = np.load(folder / "fixtures.npz"), json.loads((folder / "metrics.json").read_text())
        text, motion, real = recorded["text"], recorded["motion"], recorded["gt_motion"]
        np.testing.assert_allclose(r_precision(text, motion), wanted["eval_R_precision_top123"], atol=1e-12)
        assert matching_score(text, motion) == pytest.approx(wanted["eval_matching_score"], rel=1e-6)
        assert fid(*statistics(real), *statistics(motion)) == pytest.approx(wanted["fid_64d"], rel=1e-7)
        assert diversity(motion, 300, seed=123) == pytest.approx(wanted["diversity_300_seed123"], rel=1e-6)
        np.testing.assert_allclose(distances(text[:32], motion[:32]), recorded["dist_batch0"], atol=1e-4)
        for values, names in ((real, ("gt_mu", "gt_cov")), (motion, ("mu", "cov"))):
            for value, name in zip(statistics(values), names):
                np.testing.assert_allclose(value, recorded[name], atol=1e-5)
