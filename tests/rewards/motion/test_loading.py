"""Every defect of an evaluator's folder ends in one line that names it."""

import json
import re

import numpy as np
import pytest
import torch

from rewards.motion.t2m import T2MReward
from rewards.motion.tmr import TMRReward
from rollout.io.errors import InputError

TMR_FILES = [
    "config.json",
    "last_weights/text_encoder.pt",
    "last_weights/motion_encoder.pt",
    "stats/mean.pt",
    "stats/std.pt",
    "vocabulary.json",
    "word_embeddings.pt",
]
T2M_FILES = ["finest.tar", "mean.npy", "std.npy", "vocabulary.json", "word_vectors.npy"]


def error_of(load, folder) -> str:
    with pytest.raises(InputError) as caught:
        load(folder)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def edit(path, change) -> None:
    state = torch.load(path, weights_only=True)
    change(state)
    torch.save(state, path)


@pytest.mark.parametrize("name", TMR_FILES)
def test_tmr_names_a_missing_file(tmr_folder, name):
    (tmr_folder / name).unlink()
    assert re.search(f"{re.escape(str(tmr_folder / name))}: .*not found", error_of(TMRReward.load, tmr_folder))


@pytest.mark.parametrize("name", T2M_FILES)
def test_t2m_names_a_missing_file(t2m_folder, name):
    (t2m_folder / name).unlink()
    assert re.search(f"{re.escape(str(t2m_folder / name))}: .*not found", error_of(T2MReward.load, t2m_folder))


@pytest.mark.parametrize("name", TMR_FILES)
@pytest.mark.parametrize("damage", ["truncated", "empty", "garbage"])
def test_tmr_names_a_damaged_file(tmr_folder, name, damage):
    spoil(tmr_folder / name, damage)
    assert str(tmr_folder / name) in error_of(TMRReward.load, tmr_folder)


@pytest.mark.parametrize("name", T2M_FILES)
@pytest.mark.parametrize("damage", ["truncated", "empty", "garbage"])
def test_t2m_names_a_damaged_file(t2m_folder, name, damage):
    spoil(t2m_folder / name, damage)
    assert str(t2m_folder / name) in error_of(T2MReward.load, t2m_folder)


def spoil(path, damage) -> None:
    whole = path.read_bytes()
    path.write_bytes({"truncated": whole[: len(whole) * 2 // 3], "empty": b"", "garbage": b"\x93\xff" * 400}[damage])


def test_tmr_names_all_missing_and_unexpected_keys(tmr_folder):
    path = tmr_folder / "last_weights" / "motion_encoder.pt"

    def change(state):
        del state["tokens"], state["seqTransEncoder.layers.1.norm2.bias"]
        state["lora_A"] = torch.zeros(2)

    edit(path, change)
    # Without tokens the latent width is unknown: the config must not hide the names behind its own complaint.
    (tmr_folder / "config.json").write_text("{}")
    message = error_of(TMRReward.load, tmr_folder)
    for part in (str(path), "tokens", "seqTransEncoder.layers.1.norm2.bias", "lora_A"):
        assert part in message


def test_t2m_names_all_missing_and_unexpected_keys(t2m_folder):
    def change(checkpoint):
        del checkpoint["motion_encoder"]["hidden"], checkpoint["motion_encoder"]["gru.weight_hh_l0_reverse"]
        checkpoint["motion_encoder"]["extra"] = torch.zeros(2)

    edit(t2m_folder / "finest.tar", change)
    message = error_of(T2MReward.load, t2m_folder)
    for part in ("motion_encoder", "hidden", "gru.weight_hh_l0_reverse", "extra"):
        assert part in message


def test_a_key_too_few_or_too_many_is_enough(tmr_folder):
    path = tmr_folder / "last_weights" / "motion_encoder.pt"
    edit(path, lambda state: state.update(lora_A=torch.zeros(2)))
    assert "missing keys [], unexpected keys ['lora_A']" in error_of(TMRReward.load, tmr_folder)
    edit(path, lambda state: (state.pop("lora_A"), state.pop("tokens")))
    (tmr_folder / "config.json").write_text("{}")
    assert "missing keys ['tokens'], unexpected keys []" in error_of(TMRReward.load, tmr_folder)


def test_t2m_names_a_missing_network(t2m_folder):
    edit(t2m_folder / "finest.tar", lambda checkpoint: checkpoint.pop("movement_encoder"))
    assert "without movement_encoder" in error_of(T2MReward.load, t2m_folder)


def test_t2m_ignores_optimizer_states(t2m_folder):
    motion, lengths = np.random.default_rng(0).normal(size=(2, 12, 263)).astype(np.float32), np.array([12, 8])
    plain = T2MReward.load(t2m_folder)
    edit(t2m_folder / "finest.tar", lambda checkpoint: checkpoint.update(opt_text_encoder={"state": {}}, epoch=3))
    loaded = T2MReward.load(t2m_folder)
    for embed in (lambda reward: reward.embed_motion(motion, lengths), lambda reward: reward.embed_text(["a person walks"])):
        np.testing.assert_array_equal(embed(loaded), embed(plain))
    assert np.ptp(loaded.embed_motion(motion, lengths), axis=0).max() > 1e-3  # of two motions, so that equal is not empty
    edit(t2m_folder / "finest.tar", lambda checkpoint: checkpoint["motion_encoder"]["output_net.0.bias"].add_(1))
    assert (T2MReward.load(t2m_folder).embed_motion(motion, lengths) != plain.embed_motion(motion, lengths)).any()


def test_tmr_names_wrong_widths(tmr_folder):
    path = tmr_folder / "last_weights" / "text_encoder.pt"
    edit(path, lambda state: state.update({"projection.bias": torch.zeros(17)}))
    message = error_of(TMRReward.load, tmr_folder)
    assert str(path) in message and "projection.bias [17] (expected [16])" in message


def test_t2m_names_wrong_widths(t2m_folder):
    edit(t2m_folder / "finest.tar", lambda c: c["text_encoder"].update({"output_net.0.bias": torch.zeros(5)}))
    assert "output_net.0.bias [5] (expected [12])" in error_of(T2MReward.load, t2m_folder)


def test_tmr_names_what_the_config_gets_wrong(tmr_folder):
    path = tmr_folder / "config.json"
    config = json.loads(path.read_text())
    config["model"]["motion_encoder"]["num_layers"] = 6
    path.write_text(json.dumps(config))
    assert "num_layers 6 (weights: 2)" in error_of(TMRReward.load, tmr_folder)


def test_tmr_refuses_heads_that_do_not_divide_the_width(tmr_folder):
    path = tmr_folder / "config.json"
    config = json.loads(path.read_text())
    config["model"]["text_encoder"]["num_heads"] = 3
    path.write_text(json.dumps(config))
    assert "3 heads" in error_of(TMRReward.load, tmr_folder)


def test_tmr_names_nan_weights(tmr_folder):
    path = tmr_folder / "last_weights" / "motion_encoder.pt"
    edit(path, lambda state: state["seqTransEncoder.layers.0.linear1.weight"][0].fill_(torch.nan))
    message = error_of(TMRReward.load, tmr_folder)
    assert str(path) in message and "seqTransEncoder.layers.0.linear1.weight" in message


def test_t2m_names_nan_weights(t2m_folder):
    edit(t2m_folder / "finest.tar", lambda c: c["movement_encoder"]["main.3.bias"].fill_(torch.inf))
    message = error_of(T2MReward.load, t2m_folder)
    assert "movement_encoder" in message and "main.3.bias" in message


def test_statistics_of_the_wrong_width_are_named(tmr_folder, t2m_folder):
    torch.save(torch.ones(251), tmr_folder / "stats" / "std.pt")
    assert "std.pt: found shape [251], expected shape [263]" in error_of(TMRReward.load, tmr_folder)
    np.save(t2m_folder / "mean.npy", np.ones(251))
    assert "mean.npy: found shape [251], expected shape [263]" in error_of(T2MReward.load, t2m_folder)


def test_a_vocabulary_of_another_size_is_refused(tmr_folder, t2m_folder):
    (tmr_folder / "vocabulary.json").write_text('["a"]')
    assert "word_embeddings.pt" in error_of(TMRReward.load, tmr_folder)
    (t2m_folder / "vocabulary.json").write_text('["a"]')
    assert "sos, eos" in error_of(T2MReward.load, t2m_folder)


def test_pickled_code_is_not_run(tmr_folder, tmp_path):
    class Trap:
        def __reduce__(self):
            return (open, (str(tmp_path / "sprung"), "w"))

    torch.save({"tokens": Trap()}, tmr_folder / "last_weights" / "motion_encoder.pt")
    assert "motion_encoder.pt" in error_of(TMRReward.load, tmr_folder)
    assert not (tmp_path / "sprung").exists()
