"""Sampling and recompute of answers: the same numbers, from the same inputs, with a gradient where there must be one."""

import dataclasses

import numpy as np
import pytest
import torch

from learner.config.settings import Objective, Optimizer
from learner.learner import Learner
from learner.objective import action_loss, shares
from learner.tally import ScoredGroup
from rollout.adapter import Adapter
from rollout.io.errors import InputError, RunFailed
from rollout.language import chat_policy
from rollout.language.prompted import Batch, hidden
from rollout.policy import Conditioning, arrays_digest
from tests.tiny_language import ARCHITECTURES, MEDIA, TOKEN, make_policy, noisy_adapter, prepared, sample_group, write_checkpoint

ON_POLICY = {"plain": {}, "cooler": {"temperature": 0.7}, "top-k": {"top_k": 120}, "parts": {"micro_batch": 3}, "bf16": {"precision": "bf16"},
             "full": {"lora_rank": 0}, "full bf16": {"lora_rank": 0, "precision": "bf16"}, "checkpointing": {"activation_checkpointing": True}}  # fmt: skip


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    return {name: write_checkpoint(tmp_path_factory.mktemp(name), name) for name in ARCHITECTURES}


@pytest.fixture(scope="module")
def folder(folders):
    return folders["qwen2_5_vl"]


@pytest.fixture(scope="module")
def policy(folder):
    policy = make_policy(folder)
    policy.load_adapter(noisy_adapter(policy))
    return policy


def ending(policy, conditioning, size=8):
    """A group of which some answers end before others."""
    for seed in range(50):
        group = sample_group(policy, conditioning, size, (0, 0, seed, 0))
        if len(set(group.lengths)) > 2 and group.lengths.max() > group.lengths.min() + 2:
            return group
    raise AssertionError("no answer ended early")


def gap(policy, group):
    scores = list(policy.score(group, frozenset(range(group.log_probs.shape[1]))))
    assert all((score.kl >= 0).all() for score in scores)
    return max(score.log_ratio.abs().max().item() for score in scores)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_t1_the_recompute_is_what_was_sampled_to_the_bit_for_every_medium(folders, name):
    policy = make_policy(folders[name])
    policy.load_adapter(noisy_adapter(policy))
    for kinds in [(), *((kind,) for kind in MEDIA[name]), MEDIA[name]]:
        group = sample_group(policy, prepared(folders[name], kinds))
        assert gap(policy, group) == 0 and 0 < group.measured["max_decode_gap"] < 1e-4
        (score,) = policy.score(group)
        assert score.log_prob.requires_grad


@pytest.mark.parametrize("settings", ON_POLICY.values(), ids=ON_POLICY)
def test_t1_whatever_the_settings_and_where_answers_end_early(folder, settings):
    sampler, learner = make_policy(folder, **settings), make_policy(folder, **settings)
    adapter = noisy_adapter(sampler, scale=0.02)
    assert sampler.load_adapter(adapter) == learner.load_adapter(adapter) == adapter.sha256
    group = ending(sampler, prepared(folder))
    assert gap(learner, group) == 0 and set(group.outputs[~group.mask]) == {TOKEN["<|endoftext|>"]}
    assert (group.mask.sum(1) == group.lengths).all() and (group.log_probs[group.mask] < 0).all() and (group.log_probs[~group.mask] == 0).all()


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_the_network_is_read_as_transformers_reads_it(folders, name):
    policy = make_policy(folders[name])
    conditioning = prepared(folders[name], MEDIA[name])
    model, given = policy.network, {key: torch.tensor(value) for key, value in conditioning.arrays.items()}
    given |= {key: policy.reader._pixels(given[key]) for key in ("pixel_values", "pixel_values_videos")}
    given |= {key: given[key][None] for key in ("input_ids", "mm_token_type_ids") if key in given}
    with torch.no_grad():
        expected = model(**given, attention_mask=torch.ones_like(given["input_ids"])).logits
        batch = Batch.of([policy.reader(model.model, conditioning)], model.model.language_model.embed_tokens)
        found = model.lm_head(hidden(model.model.language_model, batch))
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def test_t1_a_prompt_padded_on_the_left_is_answered_as_alone(folder, policy):
    prompts = [prepared(folder, ("image",)), prepared(folder, ("video",), 3, "a much longer question than the other one is")]
    seeds = [(5, 0), (5, 1)]
    together = policy.generate(prompts, seeds).tolist()
    assert together == [policy.generate([prompt], [seed])[0].tolist() for prompt, seed in zip(prompts, seeds)]
    model = policy.network
    rows = [policy.reader(model.model, prompt) for prompt in prompts]
    embed = model.model.language_model.embed_tokens
    with torch.no_grad():
        padded, alone = hidden(model.model.language_model, Batch.of(rows, embed)), hidden(model.model.language_model, Batch.of(rows[:1], embed))
    torch.testing.assert_close(padded[:1, -alone.shape[1] :], alone, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_t2_another_picture_or_recording_is_another_distribution(folders, name):
    policy = make_policy(folders[name])
    for kind in MEDIA[name]:
        group = sample_group(policy, prepared(folders[name], (kind,)))
        other = prepared(folders[name], (kind,), seed=7)
        (score,) = policy.score(dataclasses.replace(group, conditioning=Conditioning(group.prompt, other.arrays)))
        assert score.log_ratio.abs().max() > 1e-3, kind


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_t2_every_key_that_is_dropped_is_an_error(folders, name):
    policy = make_policy(folders[name])
    whole = prepared(folders[name], MEDIA[name])
    assert {key for medium in policy.checkpoint.architecture.media.values() for key in medium.keys} < set(whole.arrays)
    for key in whole.arrays:
        left = Conditioning(whole.prompt, {name: value for name, value in whole.arrays.items() if name != key})
        with pytest.raises(InputError, match=f"{key} is missing"):
            sample_group(policy, left)
    with pytest.raises(InputError, match="pixel_vaules is nothing that"):
        sample_group(policy, Conditioning(whole.prompt, whole.arrays | {"pixel_vaules": np.zeros(3)}))
    blind = Conditioning(whole.prompt, prepared(folders[name], ()).arrays)
    with pytest.raises(InputError, match="is missing"):
        sample_group(policy, blind)


def update(policy, groups, rewards, **objective):
    learner = Learner(policy, Objective(clip_epsilon=0.2, clip_epsilon_high=0.28, **objective), Optimizer(learning_rate=1e-3))
    scored = [ScoredGroup(group, np.asarray(reward, np.float32)) for group, reward in zip(groups, rewards)]
    return learner.update(scored)


def on_policy(policy, *conditionings, size=4):
    policy.load_adapter(Learner(policy, Objective(), Optimizer()).adapter)
    return [sample_group(policy, conditioning, size, (0, 0, 0, i)) for i, conditioning in enumerate(conditionings)]


def test_t3_only_the_adapter_has_gradients_and_the_base_stays_as_it_is(folder):
    policy = make_policy(folder)
    digest = policy.base_digest()
    groups = on_policy(policy, prepared(folder))
    before = policy.adapter_state()
    metrics = update(policy, groups, [[1, 0, 0, 1]]).metrics
    assert metrics["mean_ratio"] == 1 and metrics["log_prob_gap"] == 0 and metrics["grad_norm"] > 0
    gradients = {name: parameter.grad for name, parameter in policy.network.named_parameters() if parameter.grad is not None}
    assert gradients and all(".language_model.layers." in name and "lora_" in name for name in gradients)
    assert all(gradient.any() == ("lora_B" in name) for name, gradient in gradients.items())
    assert policy.base_digest() == digest
    assert all((value != before[name]).any() == ("lora_B" in name) for name, value in policy.adapter_state().items())


def test_t3_full_fine_tuning_trains_the_language_model_alone(folder):
    policy = make_policy(folder, lora_rank=0)
    names = set(policy.adapter_state())
    assert names and all(name.startswith(("model.language_model.", "lm_head.")) for name in names)
    groups = on_policy(policy, prepared(folder))
    assert update(policy, groups, [[1, 0, 0, 1]]).metrics["grad_norm"] > 0
    moved = sample_group(policy, prepared(folder))
    (score,) = policy.score(moved, frozenset(range(moved.log_probs.shape[1])))
    assert score.kl.max() > 0


def test_t3_a_checkpoint_of_full_fine_tuning_is_one_to_begin_from(folder, tmp_path):
    policy = make_policy(folder, lora_rank=0)
    policy.load_adapter(noisy_adapter(policy, scale=0.01))
    policy.save_adapter(tmp_path / "tuned")
    again = make_policy(tmp_path / "tuned", lora_rank=0)
    assert all((value == again.adapter_state()[name]).all() for name, value in policy.adapter_state().items())


def test_t4_a_group_of_equal_rewards_teaches_nothing(folder):
    policy = make_policy(folder)
    before, (group,) = arrays_digest(policy.adapter_state()), on_policy(policy, prepared(folder))
    metrics = update(policy, [group], [[0.5] * 4]).metrics
    assert metrics["zero_std_fraction"] == 1 and metrics["grad_norm"] == 0 and arrays_digest(policy.adapter_state()) == before


def test_t7_a_published_adapter_gives_the_same_logits(folder, tmp_path):
    from peft import PeftModel

    policy, other = make_policy(folder), make_policy(folder)
    adapter = noisy_adapter(policy)
    policy.load_adapter(adapter)
    group = sample_group(policy, prepared(folder))
    assert gap(other, group) > 1e-3
    other.load_adapter(adapter)
    assert gap(other, group) == 0 and all((value == adapter.tensors()[name]).all() for name, value in other.adapter_state().items())
    policy.save_adapter(tmp_path / "adapter")
    other.network = PeftModel.from_pretrained(other.checkpoint.network("fp32"), tmp_path / "adapter").merge_and_unload().eval()
    assert gap(other, group) == 0


@pytest.mark.parametrize("normalise", ["token_mean", "sequence_mean", "constant"])
def test_t8_the_gradient_does_not_depend_on_how_a_group_is_cut_up(folder, normalise):
    options, gradients = Objective(clip_epsilon=0.2, normalise=normalise, constant=10.0), {}
    group = None
    for parts in (None, 1, 3):
        policy = make_policy(folder, micro_batch=parts)
        policy.load_adapter(noisy_adapter(policy))
        group = group or ending(policy, prepared(folder), 5)
        for part in action_loss(policy, group, torch.tensor([1.0, -1.0, 0.5, 2.0, -0.3]), options, frozenset()):
            part.loss.backward()
        gradients[parts] = [parameter.grad for parameter in policy.parameters()]
    for parts in (1, 3):
        torch.testing.assert_close(gradients[parts], gradients[None], rtol=1e-3, atol=1e-6)


def test_t8_denominators_are_those_of_the_whole_step():
    short, long = np.arange(8) < np.array([[2], [8]]), np.ones((2, 8), bool)
    token, sequence, constant = (shares([short, long], Objective(normalise=kind, constant=16.0)) for kind in ("token_mean", "sequence_mean", "constant"))
    assert [share.of_group for share in token] == [13, 13]  # 26 tokens of 2 groups
    assert sequence[0].of_sample.tolist() == [2, 8] and sequence[0].of_group == 2
    assert [share.of_group for share in constant] == [32, 32]


def test_t9_forbidden_ids_are_never_sampled_however_likely(folder):
    policy = make_policy(folder, max_new_tokens=40, lora_rank=0)
    likely = {name: value.copy() for name, value in policy.adapter_state().items()}
    likely["lm_head.weight"][policy.checkpoint.forbidden, :] *= 30
    policy.load_adapter(Adapter.pack(1, likely))
    group = sample_group(policy, prepared(folder), 8)
    assert not np.isin(group.outputs[group.mask], policy.checkpoint.forbidden).any() and gap(policy, group) == 0
    assert {TOKEN["<|image_pad|>"], TOKEN["<|video_pad|>"], TOKEN["<|vision_start|>"]} < set(policy.checkpoint.forbidden)
    assert TOKEN["<|im_end|>"] not in policy.checkpoint.forbidden


def test_an_answer_depends_on_its_seed_and_place_alone(folder, policy):
    conditioning = prepared(folder)
    group, more = sample_group(policy, conditioning, 3), sample_group(policy, conditioning, 5)
    assert list(group.columns["text"]) == list(more.columns["text"][:3])
    assert list(group.columns["text"]) != list(sample_group(policy, conditioning, 3, (1, 0, 0, 0)).columns["text"])


def test_truncated_answers_are_counted_and_can_be_masked(folder):
    for masked in (False, True):
        policy = make_policy(folder, mask_truncated=masked)
        policy.load_adapter(noisy_adapter(policy))
        group = ending(policy, prepared(folder))
        cut = group.columns["truncated"]
        assert 0 < cut.mean() < 1 and group.measured["truncated_fraction"] == cut.mean()
        assert group.mask[cut].any() != masked and group.mask[~cut].any(axis=1).all()
        assert (group.lengths[cut] == 12).all()


def test_decoding_that_is_not_what_is_trained_ends_in_one_line(folder, policy, monkeypatch):
    monkeypatch.setitem(chat_policy.DECODE_GAP, "fp32", 1e-9)
    with pytest.raises(RunFailed, match="decoding with the cache gives log-probs that differ from a whole pass by .* nats .allowed 1e-09 in fp32.: prompt 'what is it'"):
        sample_group(policy, prepared(folder))


def test_one_token_that_rounds_far_is_told_and_many_end_the_run(folder):
    policy, conditioning = make_policy(folder, precision="bf16"), prepared(folder)
    differences = torch.full((8, 16), 0.005)
    differences[3, 4] = -0.2
    assert policy._require_same(differences, conditioning) == pytest.approx(0.2)
    for wrong in (torch.full((8, 16), 0.06), torch.full((8, 16), torch.nan)):
        with pytest.raises(RunFailed, match="allowed 0.05 in bf16"):
            policy._require_same(wrong, conditioning)


def test_a_weight_that_is_missing_or_renamed_is_an_error(folder, tmp_path):
    import shutil

    from safetensors.torch import load_file, save_file

    for change in ("missing", "renamed"):
        copy = shutil.copytree(folder, tmp_path / change)
        weights = load_file(copy / "model.safetensors")
        value = weights.pop("lm_head.weight")
        save_file(weights | ({"head.weight": value} if change == "renamed" else {}), copy / "model.safetensors", {"format": "pt"})
        with pytest.raises(InputError, match="1 weights are missing, such as lm_head.weight"):
            make_policy(copy)


def test_what_is_no_checkpoint_is_one_line(folder, tmp_path):
    with pytest.raises(InputError, match="has no config.json"):
        make_policy(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "gpt2", "auto_map": {"AutoModel": "code.Model"}}')
    with pytest.raises(InputError, match="model_type: found 'gpt2', expected one of qwen2_5_vl, qwen3_vl, qwen2_5_omni_thinker"):
        make_policy(tmp_path)


def test_pixels_are_what_the_image_processor_makes_of_them(folder):
    from tests.tiny_language import contents

    policy, image = make_policy(folder), contents("image")
    expected = policy.checkpoint.images(images=[image], return_tensors="pt")["pixel_values"]
    assert torch.equal(policy.reader._pixels(torch.tensor(prepared(folder).arrays["pixel_values"])), expected)
