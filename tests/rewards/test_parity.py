"""The networks reproduce recorded outputs of the official code on random weights."""

import json

import numpy as np
import pytest
import torch

from rewards.t2m import T2MReward, build_networks
from rewards.tmr import ActorDecoder, build_encoder, valid_frames
from rollout.weights import load_strict, read_torch
from rollout.motion.vocabulary import Vocabulary
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
    decoder = ActorDecoder(**shape).eval()
    load_strict(decoder, read_torch(weights / "motion_decoder.pt"), "motion_decoder")
    for part in ("text", "motion"):
        decoded = decoder(recorded[f"{part}_mu"], recorded["motion_mask"])
        torch.testing.assert_close(decoded, recorded[f"decode_from_{part}"], atol=FORWARD, rtol=0)


@pytest.mark.parametrize("folder", parameters("t2m"))
@torch.no_grad()
def test_parity_t2m(folder):
    recorded = np.load(folder / "fixtures.npz")
    path = folder / "t2m" / "text_mot_match" / "model" / "finest.tar"
    none = torch.zeros(263), torch.ones(263), Vocabulary([]), torch.zeros(2, 1)
    reward = T2MReward(*build_networks(read_torch(path), str(path)), *none)
    words, categories, lengths = (torch.from_numpy(recorded[key]) for key in ("word_embs", "pos_ohot", "cap_lens"))
    text = reward.text_encoder(words, categories, lengths).numpy()
    np.testing.assert_allclose(text, recorded["text_emb_input_order"], atol=FORWARD)
    motion = reward.embed_motion(recorded["motions"], recorded["m_lens"])
    np.testing.assert_allclose(motion, recorded["motion_emb_input_order"], atol=FORWARD)
    # Frames past the length are zeroed here, officially they are not: the garbage tail must not matter.
    garbage = reward.embed_motion(recorded["motions_garbage_tail"], recorded["m_lens"])
    np.testing.assert_allclose(garbage, recorded["motion_emb_input_order"], atol=FORWARD)
