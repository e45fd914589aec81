"""The noise schedule: equal to the recorded official arrays, and the identities the objective stands on."""

import re

import numpy as np
import pytest

from rollout.io.errors import InputError
from rollout.motion.schedule import Schedule
from tests.parity import parity_cases

NAME = re.compile(r"(cosine|linear)_(\d+)_?(?:to_)?(.*)")
RECORDED = [path for folder in parity_cases("*.npz") for path in sorted(folder.glob("*.npz")) if NAME.fullmatch(path.stem)]


@pytest.mark.parametrize("path", RECORDED or [None], ids=lambda path: path.stem if path else "absent")
def test_invariant_06_parity_schedule_arrays_are_exactly_the_recorded_ones(path):
    if path is None:
        pytest.skip("no schedule fixtures: set PARITY_FIXTURES or provide ../shared/fixtures")
    kind, steps, respacing = NAME.fullmatch(path.stem).groups()
    schedule, recorded = Schedule.create(kind, int(steps), respacing), np.load(path)
    names = {
        "timestep_map": "timestep_map", "betas": "betas", "alphas_cumprod": "alphas_cumprod",
        "alphas_cumprod_prev": "alphas_cumprod_prev", "posterior_variance": "posterior_variance",
        "c1": "posterior_mean_coef1", "c2": "posterior_mean_coef2",
    }  # fmt: skip
    for ours, official in names.items():
        np.testing.assert_array_equal(getattr(schedule, ours), recorded[official], err_msg=ours, strict=True)
    np.testing.assert_array_equal(schedule.sigma, np.sqrt(recorded["posterior_variance"]))


@pytest.mark.parametrize("steps, total", [(50, 285.6), (1000, 12110)])
def test_invariant_06_the_likelihood_weights_add_up_to_half_the_signal_to_noise(steps, total):
    schedule = Schedule.create("cosine", steps)
    snr = schedule.alphas_cumprod / (1 - schedule.alphas_cumprod)
    weights = 0.5 * (schedule.c1[1:] / schedule.sigma[1:]) ** 2
    np.testing.assert_allclose(weights, (snr[:-1] - snr[1:]) / 2, rtol=1e-9)
    # The sum telescopes to the ends of the chain, of which the far one (pure noise) holds next to nothing.
    assert weights.sum() == pytest.approx(snr[0] / 2, rel=1e-5) and weights.sum() == pytest.approx(total, rel=1e-3)


@pytest.mark.parametrize(
    "noise_schedule, steps, respacing", [("cosine", 50, ""), ("cosine", 50, "10"), ("linear", 1000, "ddim50")]
)
def test_invariant_03_only_the_last_step_is_noiseless_and_it_is_never_trainable(noise_schedule, steps, respacing):
    schedule = Schedule.create(noise_schedule, steps, respacing)
    assert schedule.sigma[0] == 0 and (schedule.sigma[1:] > 0).all()
    assert schedule.trainable_steps.tolist() == list(range(2, len(schedule) - 1))


def test_the_last_step_returns_the_prediction_itself():
    schedule = Schedule.create("cosine", 50, "10")
    assert schedule.c1[0] == 1 and schedule.c2[0] == 0


@pytest.mark.parametrize(
    "respacing, kept",
    [("10", [0, 5, 11, 16, 22, 27, 33, 38, 44, 49]), ("ddim10", list(range(0, 50, 5))), ("2", [0, 49])],
)
def test_respacing_keeps_these_steps(respacing, kept):
    base, schedule = Schedule.create("cosine", 50), Schedule.create("cosine", 50, respacing)
    assert schedule.timestep_map.tolist() == kept
    np.testing.assert_allclose(schedule.alphas_cumprod, base.alphas_cumprod[kept], rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("respacing", ["1", "51", "0", "-3", "ten", "ddim", "ddim51", "ddim49", "10.0"])
def test_a_wrong_respacing_is_named(respacing):
    with pytest.raises(InputError, match=f"respacing.*{respacing.removeprefix('ddim')}"):
        Schedule.create("cosine", 50, respacing)


def test_an_unknown_noise_schedule_is_named():
    with pytest.raises(InputError, match="noise_schedule: found 'sigmoid'"):
        Schedule.create("sigmoid", 50)
