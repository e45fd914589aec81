"""The official T2M evaluator as people have it: an MDM checkout, or a finest.tar with its files around it."""

import pickle
import shutil

import numpy as np
import pytest
import torch

from rewards.motion.motions import Motions
from rewards.motion.t2m import BiGRUEncoder, MovementEncoder, T2MReward, TextEncoder
from rollout.io.errors import InputError

WORDS = ["sos", "eos", "unk", "a", "person", "walk"]
CAPTION = ("a/DET", "person/NOUN", "walk/VERB")


def write_checkout(root, kind="t2m", nfeats=263, glove="glove", stats=""):
    """A tiny official evaluator: finest.tar, glove folder and statistics where MDM has them."""
    torch.manual_seed(0)
    model = root / kind / "text_mot_match" / "model"
    model.mkdir(parents=True)
    networks = {
        "text_encoder": TextEncoder(10, 15, 12, 8),
        "movement_encoder": MovementEncoder(nfeats - 4, 14, 9),
        "motion_encoder": BiGRUEncoder(9, 16, 8),
    }
    torch.save({name: network.state_dict() for name, network in networks.items()}, model / "finest.tar")
    draw = np.random.default_rng(0)
    (root / stats).mkdir(exist_ok=True, parents=True)
    np.save(root / stats / f"{kind}_mean.npy", draw.normal(size=nfeats))
    np.save(root / stats / f"{kind}_std.npy", draw.uniform(0.5, 1.5, nfeats))
    (root / glove).mkdir(exist_ok=True, parents=True)
    np.save(root / glove / "our_vab_data.npy", draw.normal(size=(6, 10)))
    (root / glove / "our_vab_words.pkl").write_bytes(pickle.dumps(WORDS, protocol=2))
    (root / glove / "our_vab_idx.pkl").write_bytes(pickle.dumps({w: i for i, w in enumerate(WORDS)}, protocol=2))
    return model / "finest.tar"


def score(path, features=263):
    motion = np.random.default_rng(1).normal(size=(1, 40, features)).astype(np.float32)
    return T2MReward.load(path)(Motions(motion, np.array([40]), ["a person walks"], [CAPTION]))


def error_of(path) -> str:
    with pytest.raises(InputError) as caught:
        T2MReward.load(path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("stats", ["", "dataset", "t2m/text_mot_match/model"])
def test_a_checkout_its_model_folder_and_the_file_are_one_evaluator(tmp_path, stats):
    finest = write_checkout(tmp_path, stats=stats)
    expected = score(tmp_path)
    for path in (finest, finest.parent):
        np.testing.assert_array_equal(score(path), expected)


def test_all_beside_the_file(tmp_path):
    finest = write_checkout(tmp_path / "whole")
    expected = score(finest)
    shutil.move(finest, tmp_path / "whole" / "finest.tar")
    np.testing.assert_array_equal(score(tmp_path / "whole" / "finest.tar"), expected)
    np.testing.assert_array_equal(score(tmp_path / "whole"), expected)


def test_a_relative_path_finds_what_lies_above(tmp_path, monkeypatch):
    finest = write_checkout(tmp_path)
    monkeypatch.chdir(finest.parent)
    assert np.isfinite(score("finest.tar")).all()


def test_an_evaluator_of_kit_reads_247_of_251_features(tmp_path):
    write_checkout(tmp_path)
    finest = write_checkout(tmp_path, kind="kit", nfeats=251)
    assert np.isfinite(score(finest, 251)).all()
    with pytest.raises(InputError, match="motions of 263 features, the evaluator reads 251"):
        score(finest, 263)


def test_what_is_missing_is_listed_with_where_it_was_looked_for(tmp_path):
    message = error_of(tmp_path / "nowhere")
    assert "nowhere: T2M evaluator not found" in message and "t2m/text_mot_match/model/finest.tar" in message
    finest = write_checkout(tmp_path)
    shutil.rmtree(tmp_path / "glove")
    message = error_of(finest)
    names = "our_vab_data.npy, our_vab_words.pkl, our_vab_idx.pkl not found"
    for part in (names, str(tmp_path / "glove"), str(finest.parent / "glove")):
        assert part in message
    write_checkout(tmp_path / "other")
    for name in ("mean", "std"):
        (tmp_path / "other" / f"t2m_{name}.npy").unlink()
    message = error_of(tmp_path / "other")
    for part in ("t2m_mean.npy, t2m_std.npy not found", str(tmp_path / "other" / "dataset")):
        assert part in message


@pytest.mark.parametrize("name", ["t2m_mean.npy", "t2m_std.npy", "glove/our_vab_idx.pkl"])
def test_one_missing_file_of_several_is_named(tmp_path, name):
    write_checkout(tmp_path)
    (tmp_path / name).unlink()
    assert f"{tmp_path / name}: file not found" in error_of(tmp_path)


def test_statistics_that_do_not_fit_are_named(tmp_path):
    write_checkout(tmp_path)
    np.save(tmp_path / "t2m_std.npy", np.zeros(263))
    assert "t2m_std.npy: holds values that are not positive" in error_of(tmp_path)
    np.save(tmp_path / "t2m_std.npy", np.ones(251))
    assert "t2m_std.npy: found shape [251], expected shape [263]" in error_of(tmp_path)


def test_the_tail_past_a_motion_counts_only_when_kept(tmp_path):
    reward = T2MReward.load(write_checkout(tmp_path))
    clean = np.random.default_rng(1).normal(size=(2, 60, 263)).astype(np.float32)
    clean[0, 40:] = reward.mean  # zero once normalised, as the official loader pads
    dirty = clean.copy()
    dirty[0, 40:] = 3
    lengths = np.array([40, 60])
    plain = reward.embed_motion(clean, lengths)
    np.testing.assert_array_equal(reward.embed_motion(dirty, lengths), plain)
    np.testing.assert_allclose(reward.embed_motion(clean, lengths, keep_tail=True), plain, atol=2e-6)
    kept = reward.embed_motion(dirty, lengths, keep_tail=True)
    assert np.abs(kept[0] - plain[0]).max() > 1e-3
    np.testing.assert_array_equal(kept[1], plain[1])


def test_statistics_keep_their_digits(tmp_path):
    """A root height of 0.9 m over a std of 0.001: in float32 the quotient would be off by 1e-4."""
    checkpoint = write_checkout(tmp_path)
    mean, std = np.full(263, 0.9 + 1e-9), np.full(263, 1e-3)
    np.save(tmp_path / "t2m_mean.npy", mean)
    np.save(tmp_path / "t2m_std.npy", std)
    reward, lengths = T2MReward.load(checkpoint), np.array([40])
    normalised = np.random.default_rng(1).normal(size=(1, 40, 263))
    raw = (normalised * std + mean).astype(np.float32)
    expected = reward.embed_normalised(torch.from_numpy((raw - mean) / std).float(), torch.from_numpy(lengths))
    np.testing.assert_array_equal(reward.embed_motion(raw, lengths), expected.detach().numpy())
