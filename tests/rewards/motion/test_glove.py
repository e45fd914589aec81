"""The official word rules, and its pickles read without running anything."""

import pickle

import numpy as np
import pytest

from rewards.motion.glove import GloveWords
from rewards.motion.words import CATEGORIES, OTHER
from rollout.io.errors import InputError

WORDS = ["sos", "eos", "unk", "a", "man", "walk", "left", "slowly"]
ROWS = {word: (3 * i + 1) % 8 for i, word in enumerate(WORDS)}  # not the order of the list


@pytest.fixture
def glove(tmp_path):
    folder = tmp_path / "glove"
    folder.mkdir()
    np.save(folder / "our_vab_data.npy", np.random.default_rng(0).normal(size=(8, 6)))
    (folder / "our_vab_words.pkl").write_bytes(pickle.dumps(WORDS, protocol=2))
    (folder / "our_vab_idx.pkl").write_bytes(pickle.dumps(ROWS, protocol=2))
    return folder


def error_of(folder) -> str:
    with pytest.raises(InputError) as caught:
        GloveWords.load(folder, 6)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_vectors_are_found_through_the_index(glove):
    words, table = GloveWords.load(glove, 6), np.load(glove / "our_vab_data.npy").astype(np.float32)
    for word, row in ROWS.items():
        np.testing.assert_array_equal(words.vectors[words.lookup(f"{word}/NOUN")[0]], table[row])


@pytest.mark.parametrize(
    "token, word, category",
    [
        ("man/NOUN", "man", "NOUN"),
        ("man/PROPN", "man", "OTHER"),  # a category the evaluator does not have
        ("walk/NOUN", "walk", "Act_VIP"),  # goes before the given one
        ("left/VERB", "left", "Loc_VIP"),
        ("kick/VERB", "unk", "OTHER"),  # a VIP word, but not in the vocabulary
        ("zebra/NOUN", "unk", "OTHER"),
    ],
)
def test_a_token_has_a_row_and_a_category(glove, token, word, category):
    assert GloveWords.load(glove, 6).lookup(token) == (ROWS[word], CATEGORIES.index(category))


@pytest.mark.parametrize("token", ["walk", "walk/VERB/NOUN", ""])
def test_what_is_no_word_and_category_is_named(glove, token):
    with pytest.raises(InputError, match=f"caption token '{token}': expected word/POS"):
        GloveWords.load(glove, 6).lookup(token)


@pytest.mark.parametrize("count, length", [(1, 3), (19, 21), (20, 22), (21, 22), (40, 22)])
def test_a_sentence_has_22_rows_whatever_its_length(glove, count, length):
    words = GloveWords.load(glove, 6)
    vectors, categories, found = words.sentence("", ("man/NOUN",) * count)
    assert found == length and vectors.shape == (22, 6) and len(categories) == 22
    row = {name: words.vectors[ROWS[name]] for name in ("sos", "man", "eos", "unk")}
    expected = [row["sos"], *[row["man"]] * (length - 2), row["eos"], *[row["unk"]] * (22 - length)]
    np.testing.assert_array_equal(vectors, expected)
    assert categories == [OTHER, *[CATEGORIES.index("NOUN")] * (length - 2), *[OTHER] * (23 - length)]


@pytest.mark.parametrize("name", ["our_vab_words.pkl", "our_vab_idx.pkl"])
def test_a_pickle_with_code_is_refused_and_not_run(glove, name, tmp_path):
    class Trap:
        def __reduce__(self):
            return (open, (str(tmp_path / "sprung"), "w"))

    (glove / name).write_bytes(pickle.dumps(["sos", Trap()], protocol=2))
    message = error_of(glove)
    assert str(glove / name) in message and "refers to" in message and "open" in message
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize("name", ["our_vab_data.npy", "our_vab_words.pkl", "our_vab_idx.pkl"])
@pytest.mark.parametrize("damage", ["truncated", "empty", "garbage", "gone"])
def test_a_damaged_file_is_named(glove, name, damage):
    path, whole = glove / name, (glove / name).read_bytes()
    path.write_bytes({"truncated": whole[: len(whole) * 2 // 3], "empty": b"", "garbage": b"\x93\xff" * 40}.get(damage, b""))
    if damage == "gone":
        path.unlink()
    assert str(path) in error_of(glove)


@pytest.mark.parametrize(
    "name, value, complaint",
    [
        ("our_vab_words.pkl", {"a": 1}, "expected a list of words"),
        ("our_vab_words.pkl", ["sos", 3], "expected a list of words"),
        ("our_vab_words.pkl", ["sos", "a"], "without the words eos, unk"),
        ("our_vab_idx.pkl", WORDS, "expected a dict from words to row numbers"),
        ("our_vab_idx.pkl", {word: str(row) for word, row in ROWS.items()}, "expected a dict from words to row numbers"),
        ("our_vab_idx.pkl", {**ROWS, "man": 8}, "1 words, such as 'man', have no row among the 8"),
        ("our_vab_idx.pkl", {w: r for w, r in ROWS.items() if w != "walk"}, "1 words, such as 'walk', have no row"),
    ],
)
def test_files_that_do_not_fit_together_are_named(glove, name, value, complaint):
    (glove / name).write_bytes(pickle.dumps(value, protocol=2))
    message = error_of(glove)
    assert str(glove / name) in message and complaint in message


def test_vectors_of_another_width_or_not_finite_are_named(glove):
    np.save(glove / "our_vab_data.npy", np.zeros((8, 5)))
    assert "our_vab_data.npy: found shape [8, 5], expected shape ['any', 6]" in error_of(glove)
    np.save(glove / "our_vab_data.npy", np.full((8, 6), np.nan))
    assert "our_vab_data.npy: holds NaN" in error_of(glove)
