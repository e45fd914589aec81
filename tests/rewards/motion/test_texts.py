"""In a run each caption is encoded once, and who is given the embeddings loads no text model."""

import shutil

import numpy as np
import pytest

from rewards.motion.evaluators import load_evaluator
from rewards.motion.settings import Evaluators
from rewards.motion.texts import TextEmbeddings
from rollout.io.errors import InputError


def test_each_caption_is_encoded_once_in_the_order_asked_for():
    encoded = []

    def encode(captions):
        encoded.extend(captions)
        return [np.array([encoded.index(caption) + 1], np.float32) for caption in captions]

    texts = TextEmbeddings(encode)
    np.testing.assert_array_equal(texts(["a", "b", "a"]), [[1], [2], [1]])
    # The same words with other tags are another caption.
    np.testing.assert_array_equal(texts(["b", "a", "a"], [(), ("a/DET",), ()]), [[2], [3], [1]])
    assert encoded == [("a", ()), ("b", ()), ("a", ("a/DET",))]


def test_a_text_model_is_needed_for_new_captions_only(tmr_folder, tmp_path):
    """Without a vocabulary TMR reads text with DistilBERT: absent here, it is missed at the first unknown caption."""
    known = {("a person walks", ()): np.ones(16, np.float32)}
    run = tmp_path / "run"
    shutil.copytree(tmr_folder, run)
    for name in ("vocabulary.json", "word_embeddings.pt"):
        (run / name).unlink()
    paths = Evaluators(tmr_path=str(run), text_encoder=str(tmp_path / "no_distilbert"))
    reward = load_evaluator("tmr", paths, texts={"tmr": known})
    np.testing.assert_array_equal(reward.embed_text(["a person walks"]), np.ones((1, 16)))
    with pytest.raises(InputError, match="no_distilbert"):
        reward.embed_text(["a person jumps"])
