"""In a run each caption is encoded once, and who is given the embeddings loads no text model."""

import shutil

import numpy as np
import pytest

from learner.plan import check_evaluators
from learner.settings import Config, Reward
from rewards.pair import load_reward_and_judge
from rewards.paths import EvaluatorPaths
from rewards.texts import TextEmbeddings
from rollout.errors import InputError
from rollout.prompts import Prompt


def test_each_caption_is_encoded_once_in_the_order_asked_for():
    encoded = []

    def encode(text, tokens):
        encoded.append((text, tokens))
        return np.array([len(encoded)], np.float32)

    texts = TextEmbeddings(encode)
    np.testing.assert_array_equal(texts(["a", "b", "a"]), [[1], [2], [1]])
    # The same words with other tags are another caption.
    np.testing.assert_array_equal(texts(["b", "a", "a"], [(), ("a/DET",), ()]), [[2], [3], [1]])
    assert encoded == [("a", ()), ("b", ()), ("a", ("a/DET",))]


def test_what_the_driver_embedded_no_actor_encodes_again(tmr_folder, t2m_folder):
    paths = EvaluatorPaths(tmr_path=str(tmr_folder), t2m_path=str(t2m_folder))
    config = Config(reward=Reward(tmr_path=str(tmr_folder), t2m_path=str(t2m_folder)))
    prompts = [Prompt("a person walks", 12), Prompt("a person jumps", 9, ("a/DET",))]
    texts = check_evaluators(config, prompts)
    assert set(texts) == {"tmr", "t2m"}
    assert all(set(known) == {("a person walks", ()), ("a person jumps", ("a/DET",))} for known in texts.values())
    fresh = load_reward_and_judge("tmr", paths, "cpu")
    names, tokens = ["a person jumps", "a person walks"], [("a/DET",), ()]
    for given, alone in zip(load_reward_and_judge("tmr", paths, "cpu", texts=texts), fresh):
        given.texts.encode = None  # calling it would fail
        np.testing.assert_array_equal(given.embed_text(names, tokens), alone.embed_text(names, tokens))


def test_a_text_model_is_needed_for_new_captions_only(tmr_folder, tmp_path):
    """Without a vocabulary TMR reads text with DistilBERT: absent here, it is missed at the first unknown caption."""
    known = {("a person walks", ()): np.ones(16, np.float32)}
    run = tmp_path / "run"
    shutil.copytree(tmr_folder, run)
    for name in ("vocabulary.json", "word_embeddings.pt"):
        (run / name).unlink()
    paths = EvaluatorPaths(tmr_path=str(run), text_encoder=str(tmp_path / "no_distilbert"))
    reward, _ = load_reward_and_judge("tmr", paths, "cpu", texts={"tmr": known})
    np.testing.assert_array_equal(reward.embed_text(["a person walks"]), np.ones((1, 16)))
    with pytest.raises(InputError, match="no_distilbert"):
        reward.embed_text(["a person jumps"])
