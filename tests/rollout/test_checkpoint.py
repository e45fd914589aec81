"""Official checkpoint folders: read and written back key by key, and every defect ends in one line that names it."""

import dataclasses
import json
import os
import zipfile

import numpy as np
import pytest
import torch

from rollout.errors import InputError
from rollout.motion.checkpoint import Checkpoint, load_checkpoint, save_checkpoint, to_official
from rollout.motion.mdm import MDM
from tests.tiny import ARGS, HELDOUT, SHAPE, WORDS, write_mdm

WEIGHTS = "model000000123.pt"
FILES = [WEIGHTS, "args.json", "Mean.npy", "Std.npy", "text_encoder.pt", "vocabulary.json"]
IN_PROJ = "seqTransEncoder.layers.0.self_attn.in_proj_weight"


@pytest.fixture
def folder(tmp_path):
    return write_mdm(tmp_path / "mdm")


def error_of(path) -> str:
    with pytest.raises(InputError) as caught:
        load_checkpoint(path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def edit(folder, change, name=WEIGHTS) -> None:
    state = torch.load(folder / name, weights_only=True)
    torch.save(change(state) or state, folder / name)


def edit_args(folder, **changes) -> None:
    args = json.loads((folder / "args.json").read_text())
    (folder / "args.json").write_text(json.dumps({k: v for k, v in {**args, **changes}.items() if v is not None}))


def test_what_is_saved_is_what_loads(folder, tmp_path):
    checkpoint = dataclasses.replace(load_checkpoint(folder), mean=np.full(263, 2, np.float32), std=np.full(263, 3, np.float32))
    save_checkpoint(folder, 123, checkpoint)
    checkpoint = load_checkpoint(folder)
    assert (checkpoint.mean == 2).all() and (checkpoint.std == 3).all()
    assert checkpoint.denoiser.shape == SHAPE and checkpoint.args == {**ARGS} and checkpoint.text_encoder.vocabulary.words == WORDS
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


@pytest.mark.parametrize("kind", ["parameters", "clip weights inside", "both averages", "no position tables", "half precision"])
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
    for name in ("mask_frames", "use_ema", "text_encoder_type", "cond_mask_prob", "pos_embed_max_len", "noise_schedule", "sigma_small"):
        edit_args(folder, **{name: None})
    args = load_checkpoint(folder).args
    assert (args["mask_frames"], args["cond_mask_prob"], args["pos_embed_max_len"], args["noise_schedule"]) == (False, 0.1, 5000, "cosine")


def test_the_newest_weights_of_a_folder_are_taken_unless_a_file_is_named(folder):
    newer = load_checkpoint(folder)
    with torch.no_grad():
        newer.denoiser.pose_out.bias.fill_(3)
    save_checkpoint(folder, 1000, newer)
    assert (load_checkpoint(folder).denoiser.pose_out.bias == 3).all()
    assert not (load_checkpoint(folder / WEIGHTS).denoiser.pose_out.bias == 3).any()


def test_a_folder_that_is_not_there_is_named(tmp_path):
    assert str(tmp_path / "nowhere") in error_of(tmp_path / "nowhere")
    assert str(tmp_path / "nowhere") in error_of(tmp_path / "nowhere" / "model1.pt")


@pytest.mark.parametrize("name", [name for name in FILES if name != "text_encoder.pt"])
def test_a_missing_file_is_named(folder, name):
    (folder / name).unlink()
    message = error_of(folder)
    assert (str(folder) in message and "modelNNNNNNNNN.pt" in message) if name == WEIGHTS else f"{folder / name}: " in message
    assert "not found" in message or name == WEIGHTS


def test_without_a_text_encoder_the_rest_loads(folder):
    (folder / "text_encoder.pt").unlink()
    assert load_checkpoint(folder).text_encoder is None


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("damage", ["truncated", "empty", "garbage"])
def test_a_damaged_file_is_named(folder, name, damage):
    path = folder / name
    whole = path.read_bytes()
    path.write_bytes({"truncated": whole[: len(whole) // 2], "empty": b"", "garbage": b"\x93\xff\x00garbage" * 40}[damage])
    assert str(path) in error_of(folder)


def test_an_unexpected_tensor_is_named(folder):
    edit(folder, lambda state: {**state, "seqTransEncoder.layers.0.lora_A": torch.zeros(2)})
    message = error_of(folder)
    assert WEIGHTS in message and "unexpected" in message and "layers.0.lora_A" in message


def official(key: str) -> str:
    return key.replace("seqTransEncoder.", "").split(".self_attn")[0]


@pytest.mark.parametrize("key", [IN_PROJ, "input_process.poseEmbedding.weight", "embed_text.bias", "seqTransEncoder.layers.1.norm2.bias"])
def test_a_missing_tensor_is_named(folder, key):
    edit(folder, lambda state: {k: v for k, v in state.items() if k != key})
    message = error_of(folder)
    ours = {"input_process.poseEmbedding.weight": "pose_in.weight", "embed_text.bias": "text_in.bias"}.get(key, official(key))
    assert WEIGHTS in message and "missing" in message and ours in message


@pytest.mark.parametrize("key", ["output_process.poseFinal.bias", IN_PROJ, "seqTransEncoder.layers.1.linear2.weight", "embed_text.weight"])
@pytest.mark.parametrize("wrong", ["longer", "a row", "a number"])
def test_a_tensor_of_the_wrong_width_is_named(folder, key, wrong):
    def change(state):
        state[key] = {"longer": torch.cat([state[key]] * 2), "a row": torch.ones(7), "a number": torch.tensor(1.0)}[wrong]

    edit(folder, change)
    message = error_of(folder)
    assert WEIGHTS in message and "shape" in message


def test_a_model_of_other_features_is_refused(folder):
    def change(state):
        for key in ("input_process.poseEmbedding.weight", "output_process.poseFinal.weight", "output_process.poseFinal.bias"):
            axis = 1 if "Embedding" in key else 0
            state[key] = state[key].narrow(axis, 0, 251).clone()

    edit(folder, change)
    message = error_of(folder)
    assert WEIGHTS in message and "251" in message and "263" in message


def test_a_latent_width_that_the_heads_cannot_share_is_refused(tmp_path):
    shape = dataclasses.replace(SHAPE, latent=30)
    save_checkpoint(tmp_path, 1, Checkpoint(MDM(shape), {**ARGS, "latent_dim": 30}, None, np.zeros(263), np.ones(263)))
    message = error_of(tmp_path)
    assert "model000000001.pt" in message and "30" in message and "4 heads" in message


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
@pytest.mark.parametrize("name, key, ours", [(WEIGHTS, "embed_text.weight", "text_in.weight"), ("text_encoder.pt", "gru.bias_hh_l0", "gru.bias_hh_l0")])
def test_weights_that_are_not_finite_are_named(folder, name, key, ours, value):
    edit(folder, lambda state: state[key].view(-1)[3].fill_(value) and None, name)
    message = error_of(folder)
    assert str(folder / name) in message and ours in message and "NaN" in message


@pytest.mark.parametrize("content", [[1, 2], {"epoch": 3}, {"model": [1]}, {IN_PROJ: "text"}, {}, torch.zeros(3)])
@pytest.mark.parametrize("name", [WEIGHTS, "text_encoder.pt"])
def test_a_file_that_holds_something_else_is_named(folder, name, content):
    torch.save(content, folder / name)
    assert str(folder / name) in error_of(folder)


@pytest.mark.parametrize("name", ["Mean.npy", "Std.npy"])
@pytest.mark.parametrize("kind", ["251 features", "two rows", "NaN", "text", "objects", "an archive"])
def test_a_wrong_normalisation_is_named(folder, name, kind):
    arrays = {
        "251 features": np.ones(251), "two rows": np.ones((2, 263)), "NaN": np.full(263, np.nan), "text": np.array(["a"] * 263),
        "objects": np.array([None] * 263),
    }  # fmt: skip
    if kind == "an archive":
        with open(folder / name, "wb") as file:
            np.savez(file, mean=np.ones(263))
    else:
        np.save(folder / name, arrays[kind], allow_pickle=True)
    assert str(folder / name) in error_of(folder)


@pytest.mark.parametrize("value", [0.0, -1.0])
def test_a_spread_that_is_not_positive_is_refused(folder, value):
    std = np.load(folder / "Std.npy")
    std[7] = value
    np.save(folder / "Std.npy", std)
    assert str(folder / "Std.npy") in error_of(folder)


@pytest.mark.parametrize("text", ["{", "[]", "3", "null", '"arch"', "\x00"])
def test_options_that_are_not_a_json_object_are_named(folder, text):
    (folder / "args.json").write_text(text)
    assert str(folder / "args.json") in error_of(folder)


@pytest.mark.parametrize(
    "name, value", [("arch", "gru"), ("layers", 3), ("layers", "two"), ("pos_embed_max_len", "long"), ("pos_embed_max_len", -1)]
)
def test_an_option_that_does_not_fit_is_named(folder, name, value):
    edit_args(folder, **{name: value})
    message = error_of(folder)
    assert str(folder) in message and (str(value) in message or name in message)


def test_a_vocabulary_of_another_size_is_refused(folder):
    (folder / "vocabulary.json").write_text(json.dumps([*WORDS, "one", "more"]))
    assert str(folder / "text_encoder.pt") in error_of(folder) and "vocabulary.json" in error_of(folder)


def test_a_text_encoder_of_another_width_is_refused(folder, tmp_path):
    other = write_mdm(tmp_path / "other", text_width=32)
    (other / "text_encoder.pt").replace(folder / "text_encoder.pt")
    message = error_of(folder)
    assert str(folder / "text_encoder.pt") in message and "32" in message and "16" in message


class Trap:
    """Unpickling this would create a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (os.mkdir, (str(self.path),))


@pytest.mark.parametrize("name", [WEIGHTS, "text_encoder.pt", "Mean.npy"])
@pytest.mark.parametrize("legacy", [False, True])
def test_code_in_a_file_is_never_run(folder, tmp_path, name, legacy):
    trap = Trap(tmp_path / "sprung")
    if name.endswith(".npy"):
        np.save(folder / name, np.array([trap] * 263, dtype=object), allow_pickle=True)
    else:
        torch.save({"embed_text.weight": trap}, folder / name, _use_new_zipfile_serialization=not legacy)
    assert str(folder / name) in error_of(folder)
    assert not (tmp_path / "sprung").exists()
    if not legacy:  # the trap would have worked
        if name.endswith(".npy"):
            np.load(folder / name, allow_pickle=True)
        else:
            torch.load(folder / name, weights_only=False)
        assert (tmp_path / "sprung").exists()


def test_a_flipped_byte_in_the_archive_is_not_trained_on(folder):
    with zipfile.ZipFile(folder / WEIGHTS) as archive:
        entry = max(archive.infolist(), key=lambda info: info.file_size)
    content = bytearray((folder / WEIGHTS).read_bytes())
    content[entry.header_offset + 200 : entry.header_offset + 204] = b"\xff\xff\xff\xff"
    (folder / WEIGHTS).write_bytes(bytes(content))
    assert WEIGHTS in error_of(folder)


@torch.no_grad()
def test_the_text_encoder_reads_words_in_their_order(folder):
    encoder = load_checkpoint(folder).text_encoder
    first, second = encoder.encode(HELDOUT[0]), encoder.encode("left jumps person a")
    assert first.shape == (16,) and (first - second).abs().max() > 0.01
    batch = encoder(encoder.training_batch([HELDOUT[0], "walks"], 0.0, torch.Generator().manual_seed(0)))
    torch.testing.assert_close(batch[0], first, atol=1e-6, rtol=0)


def test_every_tensor_of_the_export_is_used_on_the_way_back(folder):
    denoiser = load_checkpoint(folder).denoiser
    exported = to_official(denoiser.state_dict(), denoiser.positions)
    assert sum(v.numel() for k, v in exported.items() if not k.endswith(".pe")) == sum(p.numel() for p in denoiser.parameters())
