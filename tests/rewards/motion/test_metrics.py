import json
import re

import numpy as np
import pytest
from scipy import linalg

from rewards.motion.metrics import (
    distances,
    diversity,
    fid,
    matching_score,
    mean_and_interval,
    multimodality,
    r_precision,
    statistics,
)
from rollout.io.errors import InputError
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


def test_multimodality_is_the_spread_inside_a_caption_and_not_between_captions():
    rows = np.repeat(DRAW.normal(size=(6, 1, 4)) * 100, 30, axis=1)
    assert multimodality(rows) == 0
    rows[:, ::2, 0] += 3  # two motions of a caption are equal or 3 apart
    assert 0 < multimodality(rows) < 3
    assert multimodality(rows, seed=1) == multimodality(rows, seed=1)
    with pytest.raises(InputError, match="at least 10"):
        multimodality(rows[:, :9])


def test_the_interval_of_replications_divides_by_their_number_and_not_by_one_less():
    mean, half = mean_and_interval([[1.0, 5.0], [3.0, 5.0]])
    np.testing.assert_allclose(mean, [2, 5])
    np.testing.assert_allclose(half, [1.96 / np.sqrt(2), 0])


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
        assert multimodality(recorded["mm_activation"], 10, seed=321) == pytest.approx(wanted["multimodality_10_seed321"], rel=1e-6)
        mean, half = mean_and_interval(recorded["replication_values"])
        np.testing.assert_allclose(mean, wanted["replication_mean"], rtol=1e-12)
        np.testing.assert_allclose(half, wanted["replication_conf"], rtol=1e-12)
        np.testing.assert_array_equal(r_precision(text[:32], motion[:32]) * 32, wanted["R_precision_batch0_sum_all"])
        assert matching_score(text[:32], motion[:32]) * 32 == pytest.approx(wanted["matching_score_fn_batch0_sum"], rel=1e-6)
        assert fid(*statistics(real), *statistics(real)) == pytest.approx(wanted["fid_same"], abs=1e-9)
        for name in (key for key in wanted if key.startswith("fid_512d_")):
            # Named fid_<width>d_n<rows>_rng<seed>_rng<seed>x<scale>+<shift>, of standard normal rows.
            width, rows, seed_a, seed_b, scale, shift = re.findall(r"[\d.]+", name)
            a, b = (np.random.default_rng(int(s)).standard_normal((int(rows), int(width))) for s in (seed_a, seed_b))
            moved = statistics(b * float(scale) + float(shift))
            assert fid(*statistics(a), *moved) == pytest.approx(wanted[name], rel=1e-6)
        np.testing.assert_allclose(distances(text[:32], motion[:32]), recorded["dist_batch0"], atol=1e-4)
        for values, names in ((real, ("gt_mu", "gt_cov")), (motion, ("mu", "cov"))):
            for value, name in zip(statistics(values), names):
                np.testing.assert_allclose(value, recorded[name], atol=1e-5)
