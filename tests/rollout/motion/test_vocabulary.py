"""Words to indices: stable order, unknown words said aloud, and files that are not word lists refused."""

import numpy as np
import pytest
import torch

from rollout.io.errors import InputError
from rollout.motion.text import VocabularyTextEncoder
from rollout.motion.vocabulary import PAD, UNKNOWN, Vocabulary, split_words
from tests.tiny import WORDS, randomise


def test_words_are_lower_case_runs_of_letters_and_digits():
    assert split_words("A person walks, turns 180 degrees -- don't_stop (Ängstlich)!") == [
        "a", "person", "walks", "turns", "180", "degrees", "don", "t", "stop", "ängstlich",
    ]  # fmt: skip
    assert split_words(" .,;! ") == []


def test_frequent_words_come_first_and_ties_in_order_of_the_alphabet():
    captions = ["b a", "a c d", "A, d e"]
    assert Vocabulary.build(captions).words == ["a", "d", "b", "c", "e"]
    assert Vocabulary.build(list(reversed(captions))).words == Vocabulary.build(captions).words
    assert Vocabulary.build(captions, min_count=2).words == ["a", "d"]


def test_indices_leave_room_for_padding_and_unknown_words():
    vocabulary = Vocabulary(["walks", "a"])
    assert (PAD, UNKNOWN, len(vocabulary)) == (0, 1, 4)
    assert vocabulary.encode("A robot walks") == [3, UNKNOWN, 2]
    assert vocabulary.unknown_words("A robot walks, a ROBOT") == ["robot", "robot"]


@pytest.mark.parametrize("text", ["", " .!", "xyzzy", "xyzzy, quux"])
def test_a_prompt_without_a_known_word_is_refused_with_examples_of_known_ones(text):
    with pytest.raises(InputError) as caught:
        Vocabulary(WORDS).require_known(text)
    assert repr(text) in str(caught.value) and "person" in str(caught.value) and "\n" not in str(caught.value)


def test_one_known_word_is_enough():
    Vocabulary(WORDS).require_known(text := "xyzzy walks")
    assert Vocabulary(WORDS).unknown_words(text) == ["xyzzy"]
    with pytest.raises(InputError, match="none of its words is in the vocabulary of 5 words"):
        Vocabulary([word for word in WORDS if word != "walks"]).require_known(text)


def test_a_saved_vocabulary_loads_again(tmp_path):
    vocabulary = Vocabulary(["a", "ängstlich", "180", 'quo"te'])
    vocabulary.save(tmp_path / "vocabulary.json")
    assert Vocabulary.load(tmp_path / "vocabulary.json").index == vocabulary.index


@pytest.mark.parametrize("content", [b"", b"[", b"{}", b'"a"', b'["a", 3]', b"null", b"\xff\xfe\x00"])
def test_a_file_that_is_no_word_list_is_named(tmp_path, content):
    path = tmp_path / "vocabulary.json"
    path.write_bytes(content)
    with pytest.raises(InputError) as caught:
        Vocabulary.load(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match="vocabulary.json: file not found"):
        Vocabulary.load(tmp_path / "vocabulary.json")


@pytest.fixture
def encoder():
    return randomise(VocabularyTextEncoder(Vocabulary(WORDS), 8, 4), 0).eval()


@torch.no_grad()
def test_an_embedding_does_not_depend_on_its_batch(encoder):
    captions = ["a person walks forward", "jumps", "a person jumps"]
    batch = encoder(encoder.training_batch(captions, 0.0, torch.Generator()))
    for caption, embedding in zip(captions, batch):
        np.testing.assert_allclose(encoder.encode(caption)[0], embedding, atol=1e-6)


@torch.no_grad()
def test_an_embedding_knows_the_order_of_words(encoder):
    assert np.abs(encoder.encode("a person walks left") - encoder.encode("left person walks a")).max() > 0.01
    assert encoder.encode("jumps").shape == (1, encoder.width) == (1, 16)


def test_word_dropout_replaces_words_and_never_padding(encoder):
    captions = ["a person walks forward"] * 400 + ["jumps"] * 400
    dropped = encoder.training_batch(captions, 0.25, torch.Generator().manual_seed(0)).numpy()
    plain = encoder.training_batch(captions, 0.0, torch.Generator().manual_seed(0)).numpy()
    assert ((dropped == plain) | (dropped == UNKNOWN)).all() and ((dropped == PAD) == (plain == PAD)).all()
    assert np.mean(dropped[plain != PAD] == UNKNOWN) == pytest.approx(0.25, abs=0.04)
