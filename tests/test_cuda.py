"""What must hold on a GPU as on a CPU, and between the two, with `cluster.deterministic` as it is by default, in every precision.

Each runs on the CPU too, so that it is known to run when it meets a GPU. `pytest -m cuda` are those that need one.
"""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from cluster.device import AS_TOLD, EXACT, allow_tf32, compute_exactly
from learner.config.settings import Objective
from rewards.motion.motions import Motions
from rewards.motion.t2m import MovementEncoder, T2MReward
from rewards.motion.tmr import TMRReward
from rollout.motion.denoiser_inputs import DenoiserInputs
from rollout.motion.diffusion_policy import RECOMPUTE_GAP
from rollout.motion.mdm import MDM, MDMShape
from tests.learner.bench import Run
from tests.tiny import TRAINING, make_policy, randomise, sample_group

SCORES = 1e-4  # how far scores may be apart between a CPU and a GPU


@pytest.fixture(autouse=True)
def exactly(device, monkeypatch):
    """As in an actor on that device, and afterwards as it was. Nothing else in the suite starts CUDA."""
    for name, value in (AS_TOLD | EXACT).items():
        monkeypatch.setenv(name, value)
    backends, sdp = torch.backends, torch.backends.cuda
    before = backends.cuda.matmul.allow_tf32, backends.cudnn.allow_tf32, backends.cudnn.benchmark
    kernels = sdp.flash_sdp_enabled(), sdp.mem_efficient_sdp_enabled(), sdp.cudnn_sdp_enabled()
    compute_exactly(gpu=device == "cuda")
    allow_tf32("fp32")
    yield
    torch.use_deterministic_algorithms(False)
    backends.cuda.matmul.allow_tf32, backends.cudnn.allow_tf32, backends.cudnn.benchmark = before
    for enable, enabled in zip((sdp.enable_flash_sdp, sdp.enable_mem_efficient_sdp, sdp.enable_cudnn_sdp), kernels):
        enable(enabled)


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=pytest.mark.cuda)])
def device(request):
    if request.param == "cuda" and not torch.cuda.is_available():
        pytest.skip("no GPU")
    return request.param


@pytest.fixture(params=["fp32", "tf32", "bf16"])
def precision(request, device):
    if request.param == "tf32" and device == "cpu":
        pytest.skip("a CPU has no TF32")
    allow_tf32(request.param)
    return request.param


@pytest.mark.parametrize("settings", [{}, {"guidance": 1.0}, {"lora_rank": 0}, {"activation_checkpointing": True}])
def test_what_was_sampled_is_recomputed_and_the_first_ratio_is_one(mdm_folder, device, precision, settings):
    """The bound of the gap is the learner's own: none on a CPU."""
    settings = {**settings, "precision": precision}
    run = Run(mdm_folder, Objective(ratio="raw", clip_epsilon=1e-3), noise=0.02, device=device, **settings)
    metrics = run.learner.update(run.rollout()).metrics
    assert run.policy.device.type == device and metrics["grad_norm"] > 0
    assert metrics["log_prob_gap"] <= run.policy.tolerance == (RECOMPUTE_GAP[precision] if device == "cuda" else 0)
    assert abs(metrics["mean_ratio"] - 1) <= 1.1 * run.policy.tolerance and metrics["clip_fraction"] == 0


@pytest.mark.parametrize("settings", [{}, {"lora_rank": 0}, {"activation_checkpointing": True}])
def test_sampling_and_updating_again_gives_the_same_bits(decoder_mdm_folder, device, precision, settings):
    """Two learners and samplers, three iterations each."""

    def trained():
        run, seen = Run(decoder_mdm_folder, Objective(updates_per_rollout=2), noise=0.02, device=device, precision=precision, **settings), []
        for _ in range(3):
            rollout = run.rollout()
            update = run.learner.update(rollout)
            seen += [*(entry.group.digest for entry in rollout), update.adapter.sha256, update.metrics]
        return seen

    assert trained() == trained()


def test_attention_is_one_computation_with_a_gradient_and_without(device):
    """197 tokens of 4 heads, some of them masked: the shape for which a GPU has most kernels to choose from."""
    torch.manual_seed(0)
    q, k, v = torch.randn(3, 16, 4, 197, 128, device=device)
    mask = (torch.arange(197, device=device) < 150)[None]
    with torch.no_grad():
        without = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    with_gradient = F.scaled_dot_product_attention(q.requires_grad_(), k.requires_grad_(), v.requires_grad_(), attn_mask=mask)
    assert torch.equal(with_gradient.detach(), without)


def test_a_pass_is_in_the_precision_that_was_asked_for(mdm_folder, device, precision):
    """Of official widths, by its distance from float64; what comes out is fp32."""
    policy = make_policy(mdm_folder, device=device, precision=precision)
    policy.network = randomise(MDM(MDMShape(263, 512, 1024, 8, 512)), 0).eval().to(device)
    x, t, text = torch.randn(4, 196, 263, generator=torch.manual_seed(0)), torch.tensor([0, 9, 20, 49]), torch.randn(4, 1, 512)
    batch = DenoiserInputs(text.to(device), None, None, None, 196)
    with torch.no_grad():
        found = policy._prediction(x.to(device), t.to(device), batch.text, batch)
        exact = policy.network.double().cpu()(x.double(), t, text.double())
    off = (found.cpu().double() - exact).std() / exact.std()
    least, most = {"fp32": (0, 1e-5), "tf32": (1e-5, 2e-3), "bf16": (2e-3, 3e-2)}[precision]
    assert found.dtype == torch.float32 and least < off < most


@pytest.fixture
def motions(mdm_folder):
    group = sample_group(make_policy(mdm_folder, lora_rank=0), size=6, trained_steps=0)
    return Motions(group.outputs, group.lengths, TRAINING[:3] * 2)


@pytest.mark.parametrize("kind", [TMRReward, T2MReward])
def test_a_score_is_that_of_a_cpu(motions, tmr_folder, t2m_folder, device, kind):
    folder = tmr_folder if kind is TMRReward else t2m_folder
    there, here = kind.load(folder, device), kind.load(folder)
    scores = there(motions)
    np.testing.assert_allclose(scores, here(motions), rtol=SCORES, atol=SCORES)
    np.testing.assert_array_equal(scores, kind.load(folder, device)(motions))
    assert np.ptp(scores) > 10 * SCORES


def test_convolutions_and_matrix_products_are_fp32(device):
    """T2M's, in official widths, beside float64: TF32 would be 1e-3 away."""
    network = randomise(MovementEncoder(259, 512, 512), 0).eval()
    x_btf = torch.from_numpy(np.random.default_rng(1).normal(size=(8, 64, 259)))
    with torch.no_grad():
        exact = network.double()(x_btf)
        found = network.float().to(device)(x_btf.float().to(device))
    assert (found.cpu().double() - exact).abs().max() < 1e-5 * exact.abs().max()
