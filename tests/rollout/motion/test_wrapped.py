"""Checkpoints as people have them: repackaged, wrapped, prefixed; of a moving average and plain weights the official choice is taken."""

import pytest
import torch
from safetensors.torch import save_file

from learner.config.parse import parse_config
from rollout.io.errors import InputError
from rollout.motion.checkpoint import load_checkpoint, open_checkpoint
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


@pytest.mark.parametrize("average, plain", [("model_avg", "model"), ("ema", "state_dict"), ("ema", "model")])
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
    edit(folder, lambda state: {**state, "module.embed_text.bias": state["embed_text.bias"]})
    with pytest.raises(InputError) as caught:
        load_checkpoint(folder)
    words = "module.embed_text.bias is there with and without the prefix of a wrapper, expected one of them"
    assert str(caught.value) == f"{folder / WEIGHTS}: {words}"


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
