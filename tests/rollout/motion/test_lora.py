"""The adapter inside the denoiser: every tensor of it lives, and without it the model is the base, bit for bit."""

import json
import resource

import numpy as np
import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors import SafetensorError

from rollout.adapter import Adapter
from rollout.io.errors import InputError
from rollout.lora import FoldedLinear
from rollout.motion.adapter_folder import load_policy
from rollout.motion.checkpoint import load_checkpoint
from rollout.policy import arrays_digest
from tests.tiny import make_policy, noisy_adapter, sample_group

TENSORS = 2 * 6 * 2  # layers, linears of each, A and B


@pytest.fixture
def policy(mdm_folder):
    policy = make_policy(mdm_folder)
    policy.load_adapter(noisy_adapter(policy))
    return policy


def log_prob(policy, group) -> torch.Tensor:
    return torch.stack([policy.score_step(group, k, False).log_prob for k in range(group.log_probs.shape[1])])


def test_every_lora_tensor_is_live(policy):
    group = sample_group(policy)
    assert len(policy.parameters()) == TENSORS
    gradients = torch.autograd.grad(log_prob(policy, group).sum(), policy.parameters())
    assert all(gradient.abs().max() > 1e-6 for gradient in gradients)
    state = policy.adapter_state()
    assert not policy.network.training
    for name, value in state.items():
        policy.load_adapter(Adapter.pack(2, {**state, name: 1.5 * value}))
        changed = sample_group(policy)
        assert np.abs(changed.outputs - group.outputs).max() > 1e-4, f"{name} is ignored in sampling"
        with torch.no_grad():
            assert (log_prob(policy, group) - torch.tensor(group.log_probs).T).abs().max() > 1e-6, (
                f"{name} is ignored in recompute"
            )


def test_every_lora_b_learns_from_a_zero_adapter(mdm_folder):
    policy = make_policy(mdm_folder)
    group = sample_group(policy)
    gradients = torch.autograd.grad(log_prob(policy, group).sum(), policy.parameters())
    for name, gradient in zip(policy.adapter_state(), gradients):
        assert (gradient.abs().max() > 1e-6) == ("lora_B" in name), name


@pytest.mark.parametrize("needs_input", [True, False])
def test_the_gradients_are_those_of_the_folded_weight(needs_input):
    torch.manual_seed(3)
    linear = FoldedLinear(torch.nn.Linear(7, 5), 2, 1.5, torch.Generator().manual_seed(0)).requires_grad_(False)
    for parameter in (linear.lora_A, linear.lora_B):
        torch.nn.init.normal_(parameter.requires_grad_(True))
    x, seen = torch.randn(3, 4, 7, requires_grad=needs_input), torch.randn(3, 4, 5)
    wanted = [linear.lora_A, linear.lora_B] + [x] * needs_input
    plain = torch.nn.functional.linear(x, linear.weight + 1.5 * linear.lora_B @ linear.lora_A, linear.bias)
    torch.testing.assert_close(linear(x), plain)
    for found, expected in zip(torch.autograd.grad(linear(x), wanted, seen), torch.autograd.grad(plain, wanted, seen), strict=True):
        torch.testing.assert_close(found, expected)


def test_every_change_of_the_adapter_is_sampled_with(policy):
    x, t, text = torch.randn(3, 9, 263), torch.tensor([0, 20, 49]), torch.randn(3, 16)
    for change in (lambda p: p.add_(0.01), lambda p: p.copy_(p * 1.1)):
        for parameter in policy.parameters():  # one alone
            with torch.no_grad():
                before = policy.network(x, t, text)
                change(parameter)
                after = policy.network(x, t, text)
            assert torch.equal(policy.network(x, t, text), after) and not torch.equal(after, before)


def test_only_the_chosen_linears_are_adapted(mdm_folder):
    policy = make_policy(mdm_folder, lora_targets=("q", "linear2"))
    names = policy.adapter_state().keys()
    assert len(names) == 8 and all(".q." in name or ".linear2." in name for name in names)


def test_the_adapter_seed_decides_the_start(mdm_folder):
    torch.manual_seed(1)
    digests = [arrays_digest(make_policy(mdm_folder, adapter_seed=seed).adapter_state()) for seed in (0, 0, 1)]
    assert digests[0] == digests[1] != digests[2]


@torch.no_grad()
def test_invariant_10_disabled_or_zero_adapter_is_the_base_checkpoint(mdm_folder, policy):
    x, t, text = torch.randn(3, 9, 263), torch.tensor([0, 20, 49]), torch.randn(3, 16)
    base = load_checkpoint(mdm_folder).denoiser(x, t, text)
    assert (policy.network(x, t, text) - base).abs().max() > 1e-2
    with policy.reference():
        assert torch.equal(policy.network(x, t, text), base)
    assert (policy.network(x, t, text) - base).abs().max() > 1e-2
    assert torch.equal(make_policy(mdm_folder).network(x, t, text), base)


def test_invariant_10_the_reference_is_the_base_policy(mdm_folder, policy):
    base = make_policy(mdm_folder)
    group = sample_group(policy)
    for k in range(3):
        reference = policy.score_step(group, k, reference=True)
        assert torch.equal(reference.log_prob_ref, base.score_step(group, k, reference=False).log_prob.detach())
        assert (reference.kl > 1e-3).all()


def test_invariant_10_a_zero_adapter_samples_what_the_base_samples(mdm_folder, policy):
    zero, full = make_policy(mdm_folder), make_policy(mdm_folder, lora_rank=0)
    outputs = sample_group(full).outputs
    np.testing.assert_array_equal(sample_group(zero).outputs, outputs)
    assert np.abs(sample_group(policy).outputs - outputs).max() > 0.01


def test_full_fine_tuning_has_the_frozen_base_as_reference(mdm_folder, policy):
    full, base = make_policy(mdm_folder, lora_rank=0), make_policy(mdm_folder)
    assert len(full.parameters()) == len(list(load_checkpoint(mdm_folder).denoiser.parameters()))
    digest = full.base_digest()
    full.load_adapter(noisy_adapter(full, scale=0.02))
    assert full.base_digest() == digest
    group = sample_group(full)
    score = full.score_step(group, 0, reference=True)
    assert torch.equal(score.log_prob_ref, base.score_step(group, 0, reference=False).log_prob.detach())
    assert (score.kl > 1e-3).all() and not score.log_prob_ref.requires_grad
    gradients = torch.autograd.grad(score.kl.sum() + score.log_prob.sum(), full.parameters(), allow_unused=True)
    assert all(gradient is not None for gradient in gradients)
    assert all(p.grad is None and not p.requires_grad for p in full._frozen.parameters())


def test_invariant_11_the_base_digest_sees_every_frozen_weight(policy):
    digest = policy.base_digest()
    policy.load_adapter(noisy_adapter(policy, seed=4))
    assert policy.base_digest() == digest
    frozen = [p for p in policy.network.parameters() if not p.requires_grad]
    assert len(frozen) == len(list(policy.network.parameters())) - TENSORS
    for parameter in frozen:
        kept = parameter.data.clone()
        parameter.data.view(-1)[0] += 1e-3
        assert policy.base_digest() != digest
        parameter.data.copy_(kept)
    assert policy.base_digest() == digest


def test_a_saved_adapter_loads_with_peft_alone(mdm_folder, policy, tmp_path):
    policy.save_adapter(tmp_path / "adapter")
    loaded = PeftModel.from_pretrained(load_checkpoint(mdm_folder).denoiser, str(tmp_path / "adapter")).eval()
    x, t, text = torch.randn(3, 9, 263), torch.tensor([0, 20, 49]), torch.randn(3, 16)
    with torch.no_grad():
        torch.testing.assert_close(loaded(x, t, text), policy.network(x, t, text), atol=1e-5, rtol=0)
        assert torch.equal(loaded.merge_and_unload()(x, t, text), policy.network(x, t, text))


def test_every_process_writes_the_same_config(policy, tmp_path):
    policy.save_adapter(tmp_path / "adapter")
    targets = json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())["target_modules"]
    assert targets == sorted(policy.settings.lora_targets)


@pytest.mark.parametrize(
    "settings", [{}, {"lora_rank": 2, "lora_alpha": 3, "lora_targets": ("v", "linear1")}, {"lora_rank": 0}]
)
def test_a_saved_adapter_samples_the_same_motions_again(mdm_folder, tmp_path, settings):
    policy = make_policy(mdm_folder, **settings)
    policy.load_adapter(noisy_adapter(policy, scale=0.02))
    policy.save_adapter(tmp_path / "adapter")
    again = load_policy(make_policy(mdm_folder).settings, tmp_path / "adapter")
    assert sample_group(again).digest == sample_group(policy).digest


@pytest.mark.parametrize("settings", [{}, {"lora_rank": 0}])
def test_a_save_that_fails_leaves_the_earlier_adapter(mdm_folder, tmp_path, settings):
    policy = make_policy(mdm_folder, **settings)
    policy.save_adapter(tmp_path / "adapter")
    before = {path.name: path.read_bytes() for path in (tmp_path / "adapter").iterdir()}
    policy.load_adapter(noisy_adapter(policy, scale=0.02))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, limits[1]))  # as a full disk
    try:
        with pytest.raises((OSError, SafetensorError)):
            policy.save_adapter(tmp_path / "adapter")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert {path.name: path.read_bytes() for path in (tmp_path / "adapter").iterdir()} == before


def test_without_a_folder_the_base_model_samples(mdm_folder):
    settings = make_policy(mdm_folder).settings
    assert sample_group(load_policy(settings, None)).digest == sample_group(make_policy(mdm_folder)).digest


@pytest.mark.parametrize("name", ["adapter_config.json", "adapter_model.safetensors"])
@pytest.mark.parametrize("damage", ["missing", "empty", "truncated"])
def test_a_damaged_adapter_folder_is_named(mdm_folder, policy, tmp_path, name, damage):
    policy.save_adapter(tmp_path)
    whole = (tmp_path / name).read_bytes()
    (tmp_path / name).unlink()
    if damage != "missing":
        (tmp_path / name).write_bytes(whole[: len(whole) // 2] if damage == "truncated" else b"")
    with pytest.raises(InputError) as caught:
        load_policy(policy.settings, tmp_path)
    assert str(tmp_path / name) in str(caught.value) and "\n" not in str(caught.value)


def test_an_adapter_of_pickled_tensors_is_named_with_what_writes_another(mdm_folder, tmp_path):
    adapter_by_peft(mdm_folder, tmp_path, safe_serialization=False)
    with pytest.raises(InputError, match="adapter_model.bin: found a pickle, .*expected adapter_model.safetensors.*safe_serialization"):
        load_policy(make_policy(mdm_folder).settings, tmp_path)


def adapter_by_peft(mdm_folder, folder, safe_serialization=True, **options) -> None:
    """What PEFT itself saves of a LoRA with these options that has been trained a little."""
    config = LoraConfig(**{"r": 4, "lora_alpha": 8, "target_modules": ["q", "linear1"]} | options)
    model = get_peft_model(load_checkpoint(mdm_folder).denoiser, config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.copy_(0.2 * torch.randn_like(parameter))
    model.save_pretrained(folder, safe_serialization=safe_serialization)


@torch.no_grad()
@pytest.mark.parametrize(
    "options",
    [
        {}, {"use_rslora": True}, {"init_lora_weights": "gaussian"}, {"init_lora_weights": False}, {"lora_dropout": 0.3},
        {"target_modules": "all-linear"},
    ],
)  # fmt: skip
def test_an_adapter_that_peft_made_is_what_peft_makes_of_it(mdm_folder, policy, tmp_path, options):
    adapter_by_peft(mdm_folder, tmp_path, **options)
    theirs = PeftModel.from_pretrained(load_checkpoint(mdm_folder).denoiser, str(tmp_path)).eval()
    x, t, text = torch.randn(3, 9, 263), torch.tensor([0, 20, 49]), torch.randn(3, 16)
    ours = load_policy(policy.settings, tmp_path)
    torch.testing.assert_close(ours.network(x, t, text), theirs(x, t, text), atol=1e-5, rtol=0)
    ours.save_adapter(tmp_path / "again")
    assert torch.equal(load_policy(policy.settings, tmp_path / "again").network(x, t, text), ours.network(x, t, text))


@pytest.mark.parametrize(
    "option, value",
    [
        ("use_dora", True), ("alpha_pattern", {"linear1": 64}), ("rank_pattern", {"linear1": 2}), ("init_lora_weights", "pissa"),
        ("init_lora_weights", "olora"), ("bias", "all"), ("bias", "lora_only"), ("modules_to_save", ["k"]), ("exclude_modules", ["k"]),
        ("lora_bias", True), ("target_modules", ".*linear1"),
    ],
)  # fmt: skip
def test_an_option_that_would_be_ignored_is_refused_by_name(mdm_folder, policy, tmp_path, option, value):
    adapter_by_peft(mdm_folder, tmp_path, **{option: value})
    with pytest.raises(InputError, match=f"adapter_config.json: found .*{option} ") as caught:
        load_policy(policy.settings, tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "option, value",
    [("layers_to_transform", [0]), ("layers_to_transform", 0), ("fan_in_fan_out", True), ("peft_type", "ADALORA"), ("of_tomorrow", 1)],
)
def test_an_option_that_a_file_states_is_never_passed_over(policy, tmp_path, option, value):
    policy.save_adapter(tmp_path)
    config = json.loads((tmp_path / "adapter_config.json").read_text())
    (tmp_path / "adapter_config.json").write_text(json.dumps({**config, option: value}))
    with pytest.raises(InputError, match=f"found {option} "):
        load_policy(policy.settings, tmp_path)


def test_an_adapter_of_another_model_is_refused(mdm_folder, policy, tmp_path, tiny):
    policy.save_adapter(tmp_path / "adapter")
    shallow = tiny.write_mdm(tmp_path / "mdm")
    state = torch.load(shallow / "model000000123.pt", weights_only=True)
    state = {key: value for key, value in state.items() if ".layers.1." not in key}
    torch.save(state, shallow / "model000000123.pt")
    (shallow / "args.json").write_text((shallow / "args.json").read_text().replace('"layers": 2', '"layers": 1'))
    with pytest.raises(InputError, match="do not match the policy's 12"):
        load_policy(make_policy(shallow).settings, tmp_path / "adapter")
