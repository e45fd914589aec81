"""The distribution that sampling and recompute share, against its definition."""

import numpy as np
import pytest
import torch

from rollout.language.decoding import Distribution, uniforms

LOGITS = torch.tensor([[1.0, 3.0, -1.0, 2.0, 0.5]])


@pytest.mark.parametrize("temperature", [1.0, 0.5, 2.0])
@pytest.mark.parametrize("top_k", [0, 2])
def test_tokens_are_sampled_as_often_as_they_are_likely(temperature, top_k):
    distribution = Distribution(temperature, top_k, torch.tensor([1]))
    scaled = distribution.scaled(LOGITS)
    support = distribution.support(scaled)
    logits = LOGITS.double().clone()
    logits[0, 1] = -torch.inf  # forbidden
    if top_k:
        logits[0, [2, 4]] = -torch.inf  # not of the two likeliest that are allowed
    expected = (logits / temperature).softmax(-1)[0]
    grid = (torch.arange(10_000, dtype=torch.float64) + 0.5) / 10_000
    picked = torch.cat([distribution.pick(scaled, each[None], support) for each in grid])
    np.testing.assert_allclose(picked.bincount(minlength=5) / 10_000, expected, atol=2e-4)
    for token in torch.unique(picked):
        found = distribution.log_prob(scaled, token[None], support)
        np.testing.assert_allclose(found.item(), expected[token].log().item(), atol=1e-6)


def test_the_ends_of_the_unit_interval_give_tokens_that_can_be():
    distribution = Distribution(1.0, 0, torch.tensor([0, 4]))
    scaled = distribution.scaled(LOGITS)
    below_one = torch.tensor([np.nextafter(1.0, 0.0)], dtype=torch.float64)
    assert [distribution.pick(scaled, u, None).item() for u in (torch.zeros(1, dtype=torch.float64), below_one)] == [1, 3]


def test_noise_belongs_to_the_answer_and_the_place():
    some, more = uniforms([(1, 2), (1, 3)], 5), uniforms([(1, 3)], 9)
    np.testing.assert_array_equal(some[1], more[0, :5])
    assert (some[0] != some[1]).all() and ((some >= 0) & (some < 1)).all()
