"""Official checkpoint folders: read and written back key by key, and every defect ends in one line that names it."""

import dataclasses

import numpy as np
import pytest
import torch

from rollout.motion.checkpoint import load_checkpoint, save_checkpoint
from rollout.motion.official import to_official
from tests.rollout.checkpoint_files import FILES, WEIGHTS, edit, edit_args
from tests.tiny import ARGS, HELDOUT, SHAPE, WORDS, write_mdm


@pytest.fixture
def folder(tmp_path):
    return write_mdm(tmp_path / "mdm")


def test_what_is_saved_is_what_loads(folder, tmp_path):
    checkpoint = dataclasses.replace(
        load_checkpoint(folder), mean=np.full(263, 2, np.float32), std=np.full(263, 3, np.float32)
    )
    save_checkpoint(folder, 123, checkpoint)
    checkpoint = load_checkpoint(folder)
    assert (checkpoint.mean == 2).all() and (checkpoint.std == 3).all()
    assert (
        checkpoint.denoiser.shape == SHAPE
        and checkpoint.args == {**ARGS}
        and checkpoint.text_encoder.vocabulary.words == WORDS
    )
    assert not checkpoint.denoiser.training and not checkpoint.text_encoder.training
    save_checkpoint(tmp_path / "again", 123, checkpoint)
    for name in FILES:
        if name.endswith(".pt"):
            one, two = (torch.load(path / name, weights_only=True) for path in (folder, tmp_path / "again"))
            assert list(one) == list(two) and all(torch.equal(one[key], two[key]) for key in one)
        else:
            assert (folder / name).read_bytes() == (tmp_path / "again" / name).read_bytes()


def test_the_names_written_are_the_official_ones(folder):
    state = torch.load(folder / WEIGHTS, weights_only=True)
    layer = {
        "self_attn.in_proj_weight": [96, 32], "self_attn.in_proj_bias": [96], "self_attn.out_proj.weight": [32, 32],
        "self_attn.out_proj.bias": [32], "linear1.weight": [48, 32], "linear1.bias": [48], "linear2.weight": [32, 48],
        "linear2.bias": [32], "norm1.weight": [32], "norm1.bias": [32], "norm2.weight": [32], "norm2.bias": [32],
    }  # fmt: skip
    expected = {
        "sequence_pos_encoder.pe": [100, 1, 32], "embed_timestep.sequence_pos_encoder.pe": [100, 1, 32],
        "input_process.poseEmbedding.weight": [32, 263], "input_process.poseEmbedding.bias": [32],
        "embed_timestep.time_embed.0.weight": [32, 32], "embed_timestep.time_embed.0.bias": [32],
        "embed_timestep.time_embed.2.weight": [32, 32], "embed_timestep.time_embed.2.bias": [32],
        "embed_text.weight": [32, 16], "embed_text.bias": [32],
        "output_process.poseFinal.weight": [263, 32], "output_process.poseFinal.bias": [263],
        **{f"seqTransEncoder.layers.{i}.{name}": shape for i in range(2) for name, shape in layer.items()},
    }  # fmt: skip
    assert {key: list(value.shape) for key, value in state.items()} == expected


@pytest.mark.parametrize(
    "kind", ["parameters", "clip weights inside", "both averages", "no position tables", "half precision"]
)
def test_official_variants_load_the_same(folder, kind):
    before = load_checkpoint(folder).denoiser.state_dict()

    def change(state):
        if kind == "parameters":
            return {key: torch.nn.Parameter(value) for key, value in state.items()}
        if kind == "clip weights inside":
            return {**state, "clip_model.visual.proj": torch.zeros(3), "clip_model.logit_scale": torch.tensor(1.0)}
        if kind == "both averages":
            return {"model": {key: value + 1 for key, value in state.items()}, "model_avg": state}
        if kind == "no position tables":
            return {key: value for key, value in state.items() if not key.endswith(".pe")}
        return {key: value.half() for key, value in state.items()}

    edit(folder, change)
    edit_args(folder, use_ema=kind == "both averages")
    after = load_checkpoint(folder).denoiser.state_dict()
    tolerance = 2e-3 if kind == "half precision" else 0
    for key, value in before.items():
        assert not after[key].requires_grad and after[key].dtype == torch.float32
        torch.testing.assert_close(after[key], value, atol=tolerance, rtol=tolerance)


def test_without_use_ema_the_plain_weights_are_taken(folder):
    before = load_checkpoint(folder).denoiser.state_dict()
    edit(folder, lambda state: {"model": state, "model_avg": {key: value + 1 for key, value in state.items()}})
    after = load_checkpoint(folder).denoiser.state_dict()
    assert all(torch.equal(after[key], before[key]) for key in before)


def test_options_that_first_releases_lack_have_their_old_meaning(folder):
    for name in (
        "mask_frames",
        "use_ema",
        "text_encoder_type",
        "cond_mask_prob",
        "pos_embed_max_len",
        "noise_schedule",
        "sigma_small",
    ):
        edit_args(folder, **{name: None})
    args = load_checkpoint(folder).options
    assert (args["mask_frames"], args["cond_mask_prob"], args["pos_embed_max_len"], args["noise_schedule"]) == (
        False,
        0.1,
        5000,
        "cosine",
    )


def test_the_newest_weights_of_a_folder_are_taken_unless_a_file_is_named(folder):
    newer = load_checkpoint(folder)
    with torch.no_grad():
        newer.denoiser.pose_out.bias.fill_(3)
    save_checkpoint(folder, 1000, newer)
    assert (load_checkpoint(folder).denoiser.pose_out.bias == 3).all()
    assert not (load_checkpoint(folder / WEIGHTS).denoiser.pose_out.bias == 3).any()


def test_without_a_text_encoder_the_rest_loads(folder):
    (folder / "text_encoder.pt").unlink()
    assert load_checkpoint(folder).text_encoder is None


@torch.no_grad()
def test_the_text_encoder_reads_words_in_their_order(folder):
    encoder = load_checkpoint(folder).text_encoder
    first, second = encoder.encode(HELDOUT[0]), encoder.encode("left jumps person a")
    assert first.shape == (1, 16) and np.abs(first - second).max() > 0.01
    batch = encoder(encoder.training_batch([HELDOUT[0], "walks"], 0.0, torch.Generator().manual_seed(0)))
    np.testing.assert_allclose(batch[:1], first, atol=1e-6)


def test_every_tensor_of_the_export_is_used_on_the_way_back(folder):
    denoiser = load_checkpoint(folder).denoiser
    exported = to_official(denoiser)
    assert sum(v.numel() for k, v in exported.items() if not k.endswith(".pe")) == sum(
        p.numel() for p in denoiser.parameters()
    )
