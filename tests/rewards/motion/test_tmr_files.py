"""TMR's weights in every layout people have them in, its statistics where they may lie, and what is refused."""

import json
import shutil

import numpy as np
import pytest
import torch

from rewards.motion.evaluators import load_evaluator
from rewards.motion.motions import Motions
from rewards.motion.settings import Evaluators
from rewards.motion.t2m import MovementEncoder
from rewards.motion.tmr import ActorDecoder, ActorEncoder, TMRReward
from rollout.io.errors import InputError
from rollout.motion.huggingface import text_encoder
from tests.parity import parameters

TEXT, MOTION, MOVEMENT = (f"tmr_{part}_encoder_path" for part in ("text", "motion", "movement"))


@pytest.fixture
def files(tmr_folder):
    return {part: tmr_folder / "last_weights" / f"{part}_encoder.pt" for part in ("text", "motion")}


@pytest.fixture
def states(files):
    return {f"{part}_encoder": torch.load(path, weights_only=True) for part, path in files.items()}


def load(**paths):
    return load_evaluator("tmr", Evaluators(**{key: str(path) for key, path in paths.items()}))


def score(reward):
    motion = np.random.default_rng(1).normal(size=(1, 40, 263)).astype(np.float32)
    return reward(Motions(motion, np.array([40]), ["a person walks"]))


def error_of(**paths) -> str:
    with pytest.raises(InputError) as caught:
        load(**paths)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def prefixed(states, before=""):
    return {f"{before}{name}.{key}": value for name, state in states.items() for key, value in state.items()}


LAYOUTS = {
    "components": lambda s: s,
    "components and more": lambda s: {**s, "epoch": 3, "motion_decoder": {}},
    "state dicts": lambda s: {f"{name}_state_dict": state for name, state in s.items()},
    "under model": lambda s: {"model": prefixed(s), "epoch": 3},
    "under state_dict": lambda s: {"state_dict": prefixed(s, "model.")},
    "under model_state_dict": lambda s: {"model_state_dict": prefixed(s, "module.")},
    "flat": prefixed,
    "flat model": lambda s: prefixed(s, "model."),
    "flat module": lambda s: prefixed(s, "module.model."),
    "components under model": lambda s: {"model": s},
}


def test_two_plain_files_are_the_run_folder(tmr_folder, files):
    np.testing.assert_array_equal(score(load(**{TEXT: files["text"], MOTION: files["motion"]})), score(load(tmr_path=tmr_folder)))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_one_file_of_both_encoders_in_every_layout(tmr_folder, states, layout):
    both = tmr_folder / "last_weights" / "tmr.pt"
    torch.save(LAYOUTS[layout](states), both)
    expected = score(load(tmr_path=tmr_folder))
    for paths in ({TEXT: both, MOTION: both}, {TEXT: both}, {MOTION: both}):
        np.testing.assert_array_equal(score(load(**paths)), expected)


@pytest.mark.parametrize("wrap", [lambda s: {"state_dict": s}, lambda s: {f"module.{k}": v for k, v in s.items()}])
def test_wrapped_files_of_one_encoder_each(tmr_folder, files, states, wrap):
    expected = score(load(tmr_path=tmr_folder))
    for part, path in files.items():
        torch.save(wrap(states[f"{part}_encoder"]), path)
    np.testing.assert_array_equal(score(load(**{TEXT: files["text"], MOTION: files["motion"]})), expected)


def test_config_and_statistics_lie_beside_the_file_or_one_folder_above(tmr_folder, files, tmp_path):
    expected = score(load(tmr_path=tmr_folder))
    flat = tmp_path / "flat"
    shutil.copytree(tmr_folder, flat)
    for path in (flat / "last_weights").iterdir():
        shutil.move(path, flat / path.name)
    paths = {TEXT: flat / "text_encoder.pt", MOTION: flat / "motion_encoder.pt"}
    np.testing.assert_array_equal(score(load(**paths)), expected)
    (flat / "config.json").unlink()  # four heads, as TMR has
    np.testing.assert_array_equal(score(load(**paths)), expected)
    shutil.move(flat / "stats", tmp_path / "elsewhere")
    assert f"looked in {flat / 'stats'}" in error_of(**paths)
    np.testing.assert_array_equal(score(load(**paths, tmr_stats=tmp_path / "elsewhere")), expected)


@pytest.mark.parametrize("above", [".", "..", "../.."])
def test_statistics_where_the_config_says(tmr_folder, tmp_path, above):
    expected = score(load(tmr_path=tmr_folder))
    run = tmp_path / "a" / "b" / "run"
    shutil.copytree(tmr_folder, run)
    config = json.loads((run / "config.json").read_text())
    config["data"] = {"motion_loader": {"normalizer": {"base_dir": "stats/humanml3d/guoh3dfeats"}}}
    (run / "config.json").write_text(json.dumps(config))
    shutil.move(run / "stats", run / "moved")
    message = error_of(tmr_path=run)
    assert "mean.pt and std.pt not found" in message and "stats/humanml3d/guoh3dfeats" in message and "tmr_stats" in message
    shutil.copytree(run / "moved", run / above / "stats" / "humanml3d" / "guoh3dfeats")
    np.testing.assert_array_equal(score(load(tmr_path=run)), expected)


def test_a_missing_encoder_names_its_flag(files):
    assert "--tmr_motion_encoder_path: not given" in error_of(**{TEXT: files["text"]})
    assert "--tmr_text_encoder_path: not given" in error_of(**{MOTION: files["motion"]})
    assert "--tmr_text_encoder_path: not given" in error_of(**{MOVEMENT: files["motion"]})
    message = error_of(**{TEXT: files["text"], MOTION: files["text"]})
    assert "is given for both encoders and holds one network" in message


def test_a_run_folder_beside_single_files_is_refused(tmr_folder, files):
    message = error_of(tmr_path=tmr_folder, **{TEXT: files["text"]})
    assert "reward.tmr_path: given together with --tmr_text_encoder_path" in message


def test_a_file_of_other_networks_is_named(tmr_folder, files, states):
    torch.save({"motion_encoder": states["motion_encoder"]}, files["text"])
    assert "text_encoder.pt: holds motion_encoder, expected text_encoder" in error_of(tmr_path=tmr_folder)
    torch.save([1, 2], files["text"])
    assert "text_encoder.pt: found list, expected a dict of tensors" in error_of(tmr_path=tmr_folder)
    torch.save({**prefixed(states), "optimizer.step": torch.zeros(1)}, files["text"])
    assert "text_encoder.pt: unexpected keys ['optimizer.step']" in error_of(tmr_path=tmr_folder)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("defect", ["extra", "missing", "width", "nan"])
def test_defects_are_named_in_every_layout(tmr_folder, states, layout, defect):
    state = states["motion_encoder"]
    change = {
        "extra": lambda: state.update(lora_A=torch.zeros(2)),
        "missing": lambda: state.pop("projection.bias"),
        "width": lambda: state.update({"projection.bias": torch.zeros(17)}),
        "nan": lambda: state["projection.bias"].fill_(torch.nan),
    }
    change[defect]()
    both = tmr_folder / "last_weights" / "tmr.pt"
    torch.save(LAYOUTS[layout](states), both)
    message = error_of(**{TEXT: both, MOTION: both})
    assert str(both) in message and ("lora_A" if defect == "extra" else "projection.bias") in message


def test_statistics_and_damaged_files_are_named(tmr_folder, files, tmp_path):
    paths = {TEXT: files["text"], MOTION: files["motion"]}
    torch.save(torch.full((263,), torch.nan), tmr_folder / "stats" / "std.pt")
    assert "std.pt: holds NaN" in error_of(**paths)
    torch.save(torch.ones(251), tmr_folder / "stats" / "std.pt")
    assert "std.pt: found shape [251], expected shape [263]" in error_of(**paths)
    assert "mean.pt and std.pt not found, looked in" in error_of(**paths, tmr_stats=tmp_path / "none")
    files["motion"].write_bytes(files["motion"].read_bytes()[:2000])
    assert "motion_encoder.pt: not a readable weights file" in error_of(**paths)


def test_the_movement_file_is_checked_though_the_score_does_not_use_it(tmr_folder, files, tmp_path):
    paths = {TEXT: files["text"], MOTION: files["motion"]}
    expected, path = score(load(**paths)), tmp_path / "movement.pt"
    decoder = ActorDecoder(263, 16, 24, 2, 4).state_dict()
    for held in (decoder, {"motion_decoder": decoder}, MovementEncoder(259, 6, 5).state_dict()):
        torch.save(held, path)
        np.testing.assert_array_equal(score(load(**paths, **{MOVEMENT: path})), expected)
    torch.save({**decoder, "lora_A": torch.zeros(2)}, path)
    assert f"{path}: missing keys [], unexpected keys ['lora_A']" in error_of(**paths, **{MOVEMENT: path})
    decoder["final_layer.bias"][0] = torch.nan
    torch.save(decoder, path)
    assert f"{path}: NaN or infinite values in final_layer.bias" in error_of(**paths, **{MOVEMENT: path})
    assert "none.pt: weights file not found" in error_of(**paths, **{MOVEMENT: tmp_path / "none.pt"})


def test_a_text_model_beside_a_vocabulary_is_refused(tmr_folder):
    assert "reward.text_encoder: found 'some/bert'" in error_of(tmr_path=tmr_folder, text_encoder="some/bert")


def test_motions_of_another_width_are_refused(tmr_folder):
    with pytest.raises(InputError, match="motions of 251 features, the evaluator reads 263"):
        TMRReward.load(tmr_folder).embed_motion(np.zeros((1, 9, 251), np.float32), np.array([9]))


@pytest.fixture
def official_folder(tmr_folder, cache_home):
    """Without a vocabulary, as TMR's own run folders are: text is read by DistilBERT."""
    for name in ("vocabulary.json", "word_embeddings.pt"):
        (tmr_folder / name).unlink()
    return tmr_folder


def reads_distilbert(folder, width, heads=4):
    """The text encoder of a run folder, made anew for token features of `width` numbers."""
    torch.manual_seed(0)
    encoder = ActorEncoder(width, 16, 24, 2, heads).eval()
    torch.save(encoder.state_dict(), folder / "last_weights" / "text_encoder.pt")
    config = json.loads((folder / "config.json").read_text())
    config["model"]["text_encoder"] |= {"nfeats": width, "num_heads": heads}
    (folder / "config.json").write_text(json.dumps(config))
    return encoder


@pytest.mark.parametrize("bert", parameters("model.safetensors"))
def test_parity_text_is_read_by_distilbert_token_by_token(official_folder, bert):
    recorded = np.load(bert / "fixtures.npz")
    prompts, width = [str(prompt) for prompt in recorded["prompts"]], recorded["last_hidden_state"].shape[2]
    encoder = reads_distilbert(official_folder, width)
    embedded = load(tmr_path=official_folder, text_encoder=bert).embed_text(prompts)
    hidden, mask = (torch.from_numpy(recorded[key]) for key in ("last_hidden_state", "attention_mask"))
    with torch.no_grad():
        expected = encoder(hidden, mask.bool())[0].numpy()
    np.testing.assert_allclose(embedded, expected, atol=5e-6)
    assert np.abs(embedded[0] - embedded[1]).max() > 1e-2


@pytest.mark.parametrize("bert", parameters("model.safetensors"))
def test_parity_a_caption_that_an_earlier_run_embedded_needs_no_distilbert(official_folder, bert, tmp_path):
    width, prompts = np.load(bert / "fixtures.npz")["last_hidden_state"].shape[2], ["a person walks", "a person jumps"]

    def embedded(name):
        """By a process that has seen neither; and whether that loaded DistilBERT."""
        shutil.copytree(bert, tmp_path / name)
        found = load(tmr_path=official_folder, text_encoder=tmp_path / name).embed_text(prompts)
        return found, "_loaded" in vars(text_encoder("bert", str(tmp_path / name)))

    reads_distilbert(official_folder, width)
    (first, loaded), (again, loaded_again) = embedded("first"), embedded("again")
    np.testing.assert_array_equal(first, again)
    assert (loaded, loaded_again) == (True, False)
    reads_distilbert(official_folder, width, heads=2)  # the same weights
    other, loaded = embedded("other")
    assert loaded and np.abs(other - first).max() > 1e-4


@pytest.mark.parametrize("bert", parameters("model.safetensors"))
def test_parity_a_text_model_of_another_width_is_refused(official_folder, bert):
    reward = load(tmr_path=official_folder, text_encoder=bert)
    with pytest.raises(InputError, match="reward.text_encoder: gives token features of .* numbers, TMR's text encoder reads 12"):
        reward.embed_text(["a person walks"])
