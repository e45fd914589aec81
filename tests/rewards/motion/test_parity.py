"""The networks reproduce recorded outputs of the official code on random weights."""

import json
import shutil

import numpy as np
import pytest
import torch

from rewards.motion.glove import GloveWords
from rewards.motion.motions import Motions
from rewards.motion.t2m import T2MReward
from rewards.motion.tmr import ActorDecoder, TMRReward, build_encoder, valid_frames
from rollout.io.weights import load_strict, read_torch
from tests.parity import parameters

FORWARD = 5e-6


@pytest.mark.parametrize("folder", parameters("last_weights"))
@torch.no_grad()
def test_parity_tmr(folder):
    recorded = {key: torch.from_numpy(value) for key, value in np.load(folder / "fixtures.npz").items()}
    model = json.loads((folder / "config.json").read_text())["model"]
    weights = folder / "last_weights"
    for part in ("text", "motion"):
        encoder = build_encoder(read_torch(weights / f"{part}_encoder.pt"), part, model[f"{part}_encoder"]).eval()
        mu, logvar = encoder(recorded[f"{part}_x"], recorded[f"{part}_mask"])
        mask = valid_frames(recorded[f"{part}_x"].shape[1], recorded[f"{part}_len"])
        assert torch.equal(mask, recorded[f"{part}_mask"])
        torch.testing.assert_close(mu, recorded[f"{part}_mu"], atol=FORWARD, rtol=0)
        torch.testing.assert_close(logvar, recorded[f"{part}_logvar"], atol=FORWARD, rtol=0)
    widths = ("nfeats", "latent_dim", "ff_size", "num_layers", "num_heads")
    shape = {key: model["motion_decoder"][key] for key in widths}
    decoder = load_strict(lambda: ActorDecoder(**shape), read_torch(weights / "motion_decoder.pt"), "motion_decoder").eval()
    for part in ("text", "motion"):
        decoded = decoder(recorded[f"{part}_mu"], recorded["motion_mask"])
        torch.testing.assert_close(decoded, recorded[f"decode_from_{part}"], atol=FORWARD, rtol=0)


@pytest.mark.parametrize("folder", parameters("last_weights"))
def test_parity_tmr_scores_of_raw_motions(folder, tmp_path):
    """A run folder as people have it: statistics where its config says, above the folder."""
    recorded = np.load(folder / "fixtures.npz")
    run = tmp_path / "models" / "run"
    shutil.copytree(folder / "last_weights", run / "last_weights")
    shutil.copy(folder / "config.json", run)
    config = json.loads((folder / "config.json").read_text())
    stats = tmp_path / config["data"]["motion_loader"]["normalizer"]["base_dir"]
    stats.mkdir(parents=True)
    torch.save(torch.from_numpy(recorded["norm_mean"]), stats / "mean.pt")
    torch.save(torch.from_numpy(recorded["norm_std"]), stats / "std.pt")
    reward = TMRReward.load(run)
    count, lengths = len(recorded["motion_len"]), recorded["motion_len"]
    features = np.zeros((count, lengths.max(), recorded["raw_feats_0"].shape[1]), np.float32)
    for i, length in enumerate(lengths):
        features[i, :length] = recorded[f"raw_feats_{i}"]
    np.testing.assert_allclose(reward.embed_motion(features, lengths), recorded["motion_mu"], atol=FORWARD)
    # The recorded text features stand for DistilBERT's, as if each caption's name were its number.
    reward.read_text, reward.language_model = lambda text: recorded["text_x"][int(text), : recorded["text_len"][int(text)]], None
    names = [str(i) for i in range(count)]
    np.testing.assert_allclose(reward.embed_text(names), recorded["text_mu"], atol=FORWARD)
    for shift in range(count):
        order = np.roll(np.arange(count), shift)
        scores = reward(Motions(features[order], lengths[order], names))
        np.testing.assert_allclose(scores, recorded["score_text_motion"][np.arange(count), order], atol=FORWARD)
        np.testing.assert_allclose(2 * scores - 1, recorded["sim_text_motion"][np.arange(count), order], atol=2 * FORWARD)


def t2m_cases():
    return parameters("t2m/text_mot_match/model/finest.tar")


@pytest.fixture
def checkout(folder, tmp_path):
    """An MDM checkout of a recorded evaluator: t2m/, glove/ and its statistics."""
    recorded = np.load(folder / "fixtures.npz")
    (tmp_path / "t2m").symlink_to(folder / "t2m")
    (glove,) = folder.glob("glove*")
    (tmp_path / "glove").symlink_to(glove)
    kind = "t2m" if len(recorded["t2m_mean"]) == 263 else "kit"
    np.save(tmp_path / f"{kind}_mean.npy", recorded["t2m_mean"])
    np.save(tmp_path / f"{kind}_std.npy", recorded["t2m_std"])
    return tmp_path


@pytest.mark.parametrize("folder", t2m_cases())
@torch.no_grad()
def test_parity_t2m_networks(folder, checkout):
    recorded, reward = np.load(folder / "fixtures.npz"), T2MReward.load(checkout)
    words, categories, lengths = (torch.from_numpy(recorded[key]) for key in ("word_embs", "pos_ohot", "cap_lens"))
    text = reward.text_encoder(words, categories, lengths).numpy()
    np.testing.assert_allclose(text, recorded["text_emb_input_order"], atol=FORWARD)
    motions, lengths = torch.from_numpy(recorded["motions"]), torch.from_numpy(recorded["m_lens"])
    movements = reward.movement_encoder(motions[1:2, :, :-4])[0].numpy()
    np.testing.assert_allclose(movements, recorded["movement_out_row1"], atol=FORWARD)
    for key in ("motions", "motions_garbage_tail"):
        # Frames past the length are zeroed unless asked for: the garbage tail must not matter.
        embedded = reward.embed_normalised(torch.from_numpy(recorded[key]), lengths).numpy()
        np.testing.assert_allclose(embedded, recorded["motion_emb_input_order"], atol=FORWARD)


@pytest.mark.parametrize("folder", t2m_cases())
def test_parity_t2m_from_raw_motions_in_official_order(folder, checkout):
    recorded, reward = np.load(folder / "fixtures.npz"), T2MReward.load(checkout)
    order, lengths = recorded["align_idx"], recorded["m_lens"]
    for key, expected in (("motions", "motion_emb"), ("motions_garbage_tail", "motion_emb_garbage_tail")):
        raw = recorded[key] * recorded["t2m_std"] + recorded["t2m_mean"]
        embedded = reward.embed_motion(raw, lengths, keep_tail=True)
        np.testing.assert_allclose(embedded[order], recorded[f"{expected}_official_order"], atol=FORWARD)
    ours = reward.embed_motion(raw, lengths)
    np.testing.assert_allclose(ours, recorded["motion_emb_input_order"], atol=FORWARD)


@pytest.mark.parametrize("folder", t2m_cases())
def test_parity_t2m_captions(folder, checkout):
    """Tokens to vectors, categories and length, then to embeddings, in input order and in the official one."""
    recorded, reward = np.load(folder / "fixtures.npz"), T2MReward.load(checkout)
    captions = [tuple(caption.split()) for caption in recorded["captions"]]
    for i, tokens in enumerate(captions):
        vectors, categories, length = reward.words.sentence("", tokens)
        np.testing.assert_array_equal(vectors, recorded["word_embs"][i])
        np.testing.assert_array_equal(np.eye(15)[categories], recorded["pos_ohot"][i])
        assert length == recorded["cap_lens"][i]
        framed = recorded["tokens"][i].split("_")
        assert len(framed) == len(vectors) and framed[1 : length - 1] == list(tokens[:20])
    embedded = reward.embed_text([""] * len(captions), captions)
    np.testing.assert_allclose(embedded, recorded["text_emb_input_order"], atol=FORWARD)
    np.testing.assert_allclose(embedded[recorded["align_idx"]], recorded["text_emb_official_order"], atol=FORWARD)
    raw = recorded["motions"] * recorded["t2m_std"] + recorded["t2m_mean"]
    gap = recorded["text_emb_input_order"] - recorded["motion_emb_input_order"]
    scores = reward(Motions(raw, recorded["m_lens"], [""] * len(captions), captions))
    np.testing.assert_allclose(scores, -np.linalg.norm(gap, axis=1), atol=FORWARD)


@pytest.mark.parametrize("folder", parameters("word_vectorizer.npz"))
def test_parity_word_vectorizer(folder):
    recorded = np.load(folder / "word_vectorizer.npz")
    (glove,) = folder.glob("glove*")
    words = GloveWords.load(glove, recorded["vec"].shape[1])
    for token, vector, one_hot in zip(recorded["tokens"], recorded["vec"], recorded["pos"]):
        row, category = words.lookup(str(token))
        np.testing.assert_array_equal(words.vectors[row], vector.astype(np.float32))
        np.testing.assert_array_equal(np.eye(15)[category], one_hot)
