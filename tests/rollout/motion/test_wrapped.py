"""Checkpoints as people have them: repackaged, wrapped, prefixed; of a moving average and plain weights the official choice is taken."""

import argparse

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from learner.config.parse import parse_config
from rollout.io.errors import InputError
from rollout.motion.checkpoint import load_checkpoint, open_checkpoint, weights_file
from rollout.motion.family import MOTION
from tests.rollout.checkpoint_files import WEIGHTS, edit, edit_args
from tests.tiny import make_policy, write_mdm


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return write_mdm(tmp_path_factory.mktemp("made"))


@pytest.fixture
def folder(tmp_path):
    return write_mdm(tmp_path / "mdm")


def prefixed(state, prefix):
    return {prefix + key: value.clone() for key, value in state.items()}


def other(state):
    return {key: value + 1 for key, value in state.items()}


def loads_as(path, expected) -> bool:
    one, two = (load_checkpoint(each).denoiser.state_dict() for each in (path, expected))
    return one.keys() == two.keys() and all(torch.equal(one[key], two[key]) for key in one)


WRAPPERS = {
    "state_dict": lambda state: {"state_dict": state, "epoch": 3},
    "model": lambda state: {"model": state, "optimizer": {"lr": 0.1}, "ema": 0.999},
    "model.state_dict": lambda state: {"model": {"state_dict": state}},
    "ema": lambda state: {"ema": state},
    "DataParallel": lambda state: prefixed(state, "module."),
    "compiled": lambda state: prefixed(state, "_orig_mod."),
    "compiled and parallel, CLIP inside": lambda state: prefixed({**state, "clip_model.proj": torch.ones(2)}, "module._orig_mod."),
    "a part of it compiled": lambda state: {key.replace("layers.", "_orig_mod.layers."): value for key, value in state.items()},
    "of a trainer": lambda state: {"state_dict": prefixed(state, "model.")},
    "a name of one's own": lambda state: {"net": state, "optimizer": {"state": {0: {"step": torch.ones(1)}}, "groups": [{"lr": 0.1}]}},
    "model_state_dict": lambda state: {"model_state_dict": state, "epoch": 3},
    "an average alone": lambda state: {"params_ema": state},
    "a part of a larger module": lambda state: {"state_dict": {**prefixed(state, "denoiser."), "loss.weight": torch.ones(2)}},
    "parallel in a trainer": lambda state: prefixed(state, "module.model."),
    "of Lightning's Fabric": lambda state: prefixed(state, "_forward_module."),
    "sharded": lambda state: {key.replace("layers.0.", "layers.0._fsdp_wrapped_module."): value for key, value in state.items()},
    "an average of torch's": lambda state: {"model": {**prefixed(state, "module."), "n_averaged": torch.tensor(7)}},
}


@pytest.mark.parametrize("kind", WRAPPERS)
def test_what_is_put_around_the_tensors_changes_nothing(folder, made, kind):
    edit(folder, WRAPPERS[kind])
    assert loads_as(folder, made) and loads_as(folder / WEIGHTS, made)


@pytest.mark.parametrize("prefix", ["", "module.", "model.", "model_avg.", "state_dict.module."])
def test_safetensors_load_as_the_official_file_does(folder, made, prefix):
    """From their folder and by their name."""
    save_file(prefixed(torch.load(folder / WEIGHTS, weights_only=True), prefix), folder / "model.safetensors")
    (folder / WEIGHTS).unlink()
    assert loads_as(folder, made) and loads_as(folder / "model.safetensors", made)


def test_a_file_of_another_name_is_read_and_beside_an_official_one_a_copy_is_not(folder, made):
    (folder / WEIGHTS).rename(folder / "mdm.ckpt")
    assert loads_as(folder / "mdm.ckpt", made)
    save_file(other(torch.load(folder / "mdm.ckpt", weights_only=True)), folder / "model.safetensors")
    assert not loads_as(folder, made)
    (folder / "mdm.ckpt").rename(folder / WEIGHTS)
    assert loads_as(folder, made)


@pytest.mark.parametrize(
    "average, plain",
    [("model_avg", "model"), ("ema", "state_dict"), ("ema", "model"), ("ema_model", "model"), ("params_ema", "params")],
)
@pytest.mark.parametrize("use_ema", [True, False])
@pytest.mark.parametrize("flat", [True, False])
def test_of_a_moving_average_and_plain_weights_the_official_choice_is_taken_and_named(folder, made, average, plain, use_ema, flat):
    state = torch.load(folder / WEIGHTS, weights_only=True)
    both = {average: state, plain: other(state)} if use_ema else {average: other(state), plain: state}
    if flat:
        parts = [prefixed(part, f"{name}.") for name, part in both.items()]
        save_file(parts[0] | parts[1], folder / "model.safetensors")
        (folder / WEIGHTS).unlink()
    else:
        torch.save(both, folder / WEIGHTS)
    edit_args(folder, use_ema=use_ema)
    assert loads_as(folder, made)
    taken = average if use_ema else plain
    assert open_checkpoint(folder).taken == taken
    assert f"{folder} ({taken}), " in MOTION.describe(parse_config(["--model.path", str(folder)]), make_policy(folder))


def test_a_tensor_that_is_there_twice_is_refused(folder):
    edit(folder, lambda state: {**state, "_orig_mod.embed_text.bias": state["embed_text.bias"]})
    with pytest.raises(InputError) as caught:
        load_checkpoint(folder)
    words = "_orig_mod.embed_text.bias is there with and without the prefix of a wrapper, expected one of them"
    assert str(caught.value) == f"{folder / WEIGHTS}: {words}"


@pytest.mark.parametrize(
    "sets, named",
    [
        (lambda state: {"student": state, "teacher": other(state)}, "student, teacher"),
        (lambda state: {"ema_fast": state, "ema_slow": other(state)}, "ema_fast, ema_slow"),
        (lambda state: {**state, **prefixed(other(state), "module.")}, "tensors without a name around them, module"),
    ],
)
def test_several_models_in_one_file_are_refused_by_name(folder, sets, named):
    edit(folder, sets)
    with pytest.raises(InputError) as caught:
        load_checkpoint(folder)
    words = f"found weights of several models ({named}), expected one, or a moving average beside it"
    assert str(caught.value) == f"{folder / WEIGHTS}: {words}"


@pytest.mark.parametrize("suffix", ["pt", "safetensors"])
def test_the_newest_of_a_folder_is_that_of_the_most_steps(folder, made, suffix):
    state = torch.load(folder / WEIGHTS, weights_only=True)
    (folder / WEIGHTS).unlink()
    for name, held in (("model9", other(state)), ("model10", state), ("model000000002", other(state))):
        (save_file if suffix == "safetensors" else torch.save)(prefixed(held, ""), folder / f"{name}.{suffix}")
    assert weights_file(folder).name == f"model10.{suffix}" and loads_as(folder, made)


@pytest.mark.parametrize("others", [["model_ema.pt"], ["model.pt"], ["model123.pt"], ["model000000200.pt", "model_best.pt"]])
def test_a_folder_of_files_that_no_number_tells_apart_is_refused_by_name(folder, others):
    for name in others:
        (folder / name).write_bytes((folder / WEIGHTS).read_bytes())
    with pytest.raises(InputError) as caught:
        load_checkpoint(folder)
    names = ", ".join(sorted([WEIGHTS, *others]))
    assert str(caught.value).startswith(f"{folder}: found {names}, expected one file, ")
    assert weights_file(folder / others[0]) == folder / others[0]


def test_one_file_of_any_name_is_taken(folder, made):
    (folder / WEIGHTS).rename(folder / "model_ema.pt")
    assert loads_as(folder, made)


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize(
    "beside, name",
    [(argparse.Namespace(lr=1), "argparse.Namespace"), (np.ones(3), "numpy[a-z._]+_reconstruct"), (np.float64(3), "numpy[a-z._]+scalar")],
)
def test_what_a_file_holds_beside_tensors_is_named_and_not_loaded(folder, beside, name, legacy):
    state = {"model": torch.load(folder / WEIGHTS, weights_only=True), "args": beside}
    torch.save(state, folder / WEIGHTS, _use_new_zipfile_serialization=not legacy)
    with pytest.raises(InputError, match=f"{WEIGHTS}: holds {name} beside tensors, which is never loaded") as caught:
        load_checkpoint(folder)
    assert "\n" not in str(caught.value) and "corrupt" not in str(caught.value)


@pytest.mark.parametrize("damage", ["empty", "truncated", "of something else"])
def test_damaged_safetensors_are_one_line(folder, damage):
    file = folder / "model.safetensors"
    save_file(prefixed(torch.load(folder / WEIGHTS, weights_only=True), ""), file)
    content = {"empty": b"", "truncated": file.read_bytes()[:-9], "of something else": (folder / WEIGHTS).read_bytes()}[damage]
    file.write_bytes(content)
    with pytest.raises(InputError, match="model.safetensors: not a readable safetensors file") as caught:
        load_checkpoint(file)
    assert "\n" not in str(caught.value)


def test_safetensors_without_their_args_name_what_is_missing(folder):
    save_file(prefixed(torch.load(folder / WEIGHTS, weights_only=True), ""), folder / "model.safetensors")
    (folder / "args.json").unlink()
    with pytest.raises(InputError, match="args.json: "):
        load_checkpoint(folder / "model.safetensors")
