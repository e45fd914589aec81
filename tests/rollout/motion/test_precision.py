"""bf16 beside fp32: only products are rounded, on both sides alike, and what is trained is not."""

import numpy as np
import pytest
import torch

from rollout.lora import FoldedLinear
from rollout.motion.diffusion_policy import RECOMPUTE_GAP, MotionDiffusionPolicy
from rollout.motion.matching import MatchingPolicy
from tests.tiny import make_policy, noisy_adapter, sample_group

BF16_STEP = 2**-8  # between two numbers of bf16, of their size


@pytest.fixture(params=[MotionDiffusionPolicy, MatchingPolicy])
def policies(request, mdm_folder):
    """In bf16, and in fp32, with the same weights."""
    made = [make_policy(mdm_folder, kind=request.param, precision=precision) for precision in ("bf16", "fp32")]
    for policy in made:
        policy.load_adapter(noisy_adapter(policy))
    return made


def test_what_is_sampled_in_bf16_is_recomputed_to_the_bit_and_near_fp32(policies):
    half, full = policies
    group = sample_group(half)
    assert {value.dtype for name, value in group.actions.items() if name != "t"} == {group.log_probs.dtype} == {np.dtype(np.float32)}
    recomputed = zip(half.score(group), full.score(group.without(full.shortcuts)), torch.tensor(group.log_probs).T, strict=True)
    for in_bf16, in_fp32, sampled in recomputed:
        assert in_bf16.log_prob.requires_grad and torch.equal(in_bf16.log_prob.detach(), sampled) and not in_bf16.log_ratio.any()
        assert 0 < (in_fp32.log_prob - sampled).abs().max() < RECOMPUTE_GAP["bf16"]


def test_the_gradient_in_bf16_is_fp32_and_nearly_that_of_fp32(policies):
    half, full = policies
    group = sample_group(full).without(full.shortcuts)
    found, exact = (torch.autograd.grad(sum(score.log_ratio.sum() for score in policy.score(group)), policy.parameters()) for policy in policies)
    assert {gradient.dtype for gradient in found} == {torch.float32}
    near, gradient = (torch.cat([each.flatten() for each in gradients]) for gradients in (found, exact))
    assert 0 < (near - gradient).norm() < 0.05 * gradient.norm()


def test_the_reference_is_in_bf16_too(policies):
    half, full = policies
    group = sample_group(full).without(full.shortcuts)
    found, exact = (next(iter(policy.score(group, frozenset([0])))).log_prob_ref for policy in policies)
    assert 0 < (found - exact).abs().max() < RECOMPUTE_GAP["bf16"]


@pytest.mark.parametrize("with_gradient", [True, False])
def test_an_adapter_far_below_the_rounding_of_its_weights_counts(with_gradient):
    """It is added to weights of fp32, which are rounded after it: of many weights the right share moves to the next number. Rounded
    before, none would."""
    torch.manual_seed(0)
    linear = FoldedLinear(torch.nn.Linear(512, 512, bias=False), 4, 1.0, torch.Generator().manual_seed(0))
    change = linear.lora_A.new_full((512, 4), BF16_STEP / 16 * linear.weight.abs().mean().item())

    def weights() -> torch.Tensor:
        with torch.autocast("cpu", torch.bfloat16), torch.set_grad_enabled(with_gradient):
            return linear(torch.eye(512)).detach().float().T

    before = weights()
    with torch.no_grad():
        linear.lora_A.fill_(0.25)
        linear.lora_B.copy_(change)
    moved = weights() - before
    assert torch.equal(linear.folded(), linear.weight + change @ linear.lora_A)
    wanted = (change @ linear.lora_A).mean().item()
    assert (moved == 0).float().mean() > 0.5 and 0.8 < moved.mean().item() / wanted < 1.2
