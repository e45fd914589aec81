"""Every defect of a checkpoint folder ends in one line that names the file and what is wrong with it."""

import dataclasses
import json
import os
import zipfile

import numpy as np
import pytest
import torch

from rollout.io.errors import InputError
from rollout.motion.checkpoint import MotionCheckpoint, load_checkpoint, save_checkpoint
from rollout.motion.mdm import MDM
from tests.rollout.checkpoint_files import FILES, WEIGHTS, edit, edit_args
from tests.tiny import ARGS, SHAPE, WORDS, write_mdm

IN_PROJ = "seqTransEncoder.layers.0.self_attn.in_proj_weight"


@pytest.fixture
def folder(tmp_path):
    return write_mdm(tmp_path / "mdm")


def error_of(path) -> str:
    with pytest.raises(InputError) as caught:
        load_checkpoint(path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_folder_that_is_not_there_is_named(tmp_path):
    assert str(tmp_path / "nowhere") in error_of(tmp_path / "nowhere")
    assert str(tmp_path / "nowhere") in error_of(tmp_path / "nowhere" / "model1.pt")


@pytest.mark.parametrize("name", [name for name in FILES if name != "text_encoder.pt"])
def test_a_missing_file_is_named(folder, name):
    (folder / name).unlink()
    message = error_of(folder)
    assert (
        (str(folder) in message and "modelNNNNNNNNN.pt" in message)
        if name == WEIGHTS
        else f"{folder / name}: " in message
    )
    assert "not found" in message or name == WEIGHTS


def test_args_that_name_another_data_set_than_the_weights_were_made_for_are_told(folder):
    edit_args(folder, dataset="kit")
    assert "model000000123.pt: dataset is 'kit' in args.json, but the weights make HumanML3D's 263 features" in error_of(folder)
    for dataset in ("cmu", "my own", ["kit"], None):
        edit_args(folder, dataset=dataset)
        assert load_checkpoint(folder).mean.shape == (263,)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("damage", ["truncated", "empty", "garbage"])
def test_a_damaged_file_is_named(folder, name, damage):
    path = folder / name
    whole = path.read_bytes()
    path.write_bytes(
        {"truncated": whole[: len(whole) // 2], "empty": b"", "garbage": b"\x93\xff\x00garbage" * 40}[damage]
    )
    assert str(path) in error_of(folder)


def test_an_unexpected_tensor_is_named(folder):
    edit(folder, lambda state: {**state, "seqTransEncoder.layers.0.lora_A": torch.zeros(2)})
    message = error_of(folder)
    assert WEIGHTS in message and "unexpected" in message and "layers.0.lora_A" in message


def official(key: str) -> str:
    return key.replace("seqTransEncoder.", "").split(".self_attn")[0]


@pytest.mark.parametrize(
    "key", [IN_PROJ, "input_process.poseEmbedding.weight", "embed_text.bias", "seqTransEncoder.layers.1.norm2.bias"]
)
def test_a_missing_tensor_is_named(folder, key):
    edit(folder, lambda state: {k: v for k, v in state.items() if k != key})
    message = error_of(folder)
    ours = {"input_process.poseEmbedding.weight": "pose_in.weight", "embed_text.bias": "text_in.bias"}.get(
        key, official(key)
    )
    assert WEIGHTS in message and "missing" in message and ours in message


@pytest.mark.parametrize(
    "key", ["output_process.poseFinal.bias", IN_PROJ, "seqTransEncoder.layers.1.linear2.weight", "embed_text.weight"]
)
@pytest.mark.parametrize("wrong", ["longer", "a row", "a number"])
def test_a_tensor_of_the_wrong_width_is_named(folder, key, wrong):
    def change(state):
        state[key] = {"longer": torch.cat([state[key]] * 2), "a row": torch.ones(7), "a number": torch.tensor(1.0)}[
            wrong
        ]

    edit(folder, change)
    message = error_of(folder)
    assert WEIGHTS in message and "shape" in message


def test_a_model_of_other_features_is_refused(folder):
    def change(state):
        for key in (
            "input_process.poseEmbedding.weight",
            "output_process.poseFinal.weight",
            "output_process.poseFinal.bias",
        ):
            axis = 1 if "Embedding" in key else 0
            state[key] = state[key].narrow(axis, 0, 250).clone()

    edit(folder, change)
    message = error_of(folder)
    assert WEIGHTS in message and "250" in message and "263" in message and "251" in message


def test_a_latent_width_that_the_heads_cannot_share_is_refused(tmp_path):
    shape = dataclasses.replace(SHAPE, latent=30)
    save_checkpoint(tmp_path, 1, MotionCheckpoint(MDM(shape), {**ARGS, "latent_dim": 30}, None, np.zeros(263), np.ones(263)))
    message = error_of(tmp_path)
    assert "model000000001.pt" in message and "30" in message and "4 heads" in message


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
@pytest.mark.parametrize(
    "name, key, ours",
    [(WEIGHTS, "embed_text.weight", "text_in.weight"), ("text_encoder.pt", "gru.bias_hh_l0", "gru.bias_hh_l0")],
)
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
        "251 features": np.ones(251), "two rows": np.ones((2, 263)), "NaN": np.full(263, np.nan),
        "text": np.array(["a"] * 263), "objects": np.array([None] * 263),
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
    "name, value",
    [
        ("arch", "gru"), ("layers", 3), ("layers", "two"), ("pos_embed_max_len", "long"), ("pos_embed_max_len", -1),
        ("pos_embed_max_len", 49), ("sigma_small", False),
    ],  # fmt: skip
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
