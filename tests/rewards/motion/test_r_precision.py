"""R-precision against a fixed bank: ranks, ties, what cannot be read; and its sum with matching."""

import json
import logging

import numpy as np
import pytest

from rewards.motion.matching import T2MMatching
from rewards.motion.r_precision import BANK, Combined, RPrecision
from rewards.motion.t2m import T2MReward
from rollout.io.errors import InputError
from tests.humanml_folder import clip, write_folder
from tests.rewards.motion.test_matching import Points, at


class Reader(Points):
    """As `Points`, of captions such as "at 10"; it cannot read one without a number."""

    def embed_text(self, prompts, tokens=None):
        places = [prompt.removeprefix("at ") for prompt in prompts]
        if odd := [place for place in places if not place.lstrip("-").isdigit()]:
            raise InputError(f"prompt {odd[0]!r}: no known word")
        return super().embed_text(places, tokens)


@pytest.fixture
def bank(tmp_path):
    """Distractors at 10, 20, 30 and 40."""
    path = tmp_path / "bank.csv"
    path.write_text("caption\nat 10\nat 20\nat 30\nat 40\n")
    return str(path)


def test_the_score_is_one_over_the_place_beyond_the_top(bank):
    motions = at(0, 6, 12, 16, 25)  # beside the own caption, at 0: 0, 1, 2, 3 and 4 distractors are nearer
    for top_k, expected in ((1, [1, 1 / 2, 1 / 3, 1 / 4, 1 / 5]), (3, [1, 1, 1, 1 / 4, 1 / 5])):
        found = RPrecision(Reader(), top_k, 4, bank)(motions)
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_a_tie_counts_against_the_motion(bank):
    assert RPrecision(Reader(), 1, 4, bank)(at(5))[0] == 0.5  # as far from 0 as from 10


def test_a_distractor_that_says_the_same_does_not_count(bank):
    assert RPrecision(Reader(), 1, 4, bank)(at(10, prompt="at 10"))[0] == 1


def test_a_motion_that_is_not_finite_is_not_the_best(bank):
    found = RPrecision(Reader(), 1, 4, bank)(at(0, np.nan, 40))
    assert np.isnan(found).tolist() == [False, True, False]


def test_only_the_first_distractors_count_and_they_stay_the_same(bank):
    few = RPrecision(Reader(), 1, 2, bank)
    assert few.captions == ["at 10", "at 20"]
    np.testing.assert_allclose(few(at(34, 6)), [1 / 3, 1 / 2], rtol=1e-6)
    np.testing.assert_allclose(few(at(6)), [1 / 2], rtol=1e-6)  # neighbours do not matter


def test_captions_that_cannot_be_read_are_left_out_and_reported(tmp_path, caplog):
    path = tmp_path / "bank.csv"
    path.write_text("caption\nat 10\nsomersault\nat 10\nat 20\nat 30\n")
    with caplog.at_level(logging.WARNING):
        score = RPrecision(Reader(), 1, 3, str(path))
    assert score.captions == ["at 10", "at 20", "at 30"]  # once each
    assert "1 captions cannot be read, such as 'somersault'" in caplog.text
    with pytest.raises(InputError, match="bank .*bank.csv: 3 captions can be read, expected 4; prompt 'somersault'"):
        RPrecision(Reader(), 1, 4, str(path))


def test_a_list_of_clips_gives_captions_with_their_tags(tmp_path):
    class Tagged(Points):
        """Needs the tags of a caption: its place is how many they are."""

        def embed_text(self, prompts, tokens=None):
            if not all(tokens or [()]):
                raise InputError("no tags")
            return super().embed_text([str(len(each)) for each in tokens])

    captions = [f"a person walks {i}#{' '.join(['a/DET'] * i)}#0.0#0.0\n" for i in (2, 4, 6)]
    folder = write_folder(tmp_path, {f"{i:06d}": (clip(), text) for i, text in enumerate(captions)})
    score = RPrecision(Tagged(), 1, 3, str(folder / "test.txt"))
    assert score.captions == ["a person walks 2", "a person walks 4", "a person walks 6"]
    np.testing.assert_array_equal(score.embeddings[:, 0], [2, 4, 6])
    with pytest.raises(InputError, match="distractors.json: 0 captions can be read, expected 31; no tags"):
        RPrecision(Tagged())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"top_k": 0}, "top_k: found 0, expected a whole number of at least 1, at most 31"),
        ({"top_k": 3, "distractors": 2}, "top_k: found 3, expected a whole number of at least 1, at most 2"),
        ({"bank": "nowhere.txt"}, "nowhere.txt: prompt file not found"),
    ],
)
def test_options_that_cannot_be_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        RPrecision(Reader(), **options)


def test_the_bank_that_ships_is_read_by_the_evaluator_that_ships_and_holds_no_prompt_that_ships():
    captions = json.loads(BANK.read_text())
    assets = BANK.parents[2] / "rollout/assets"
    prompts = [json.loads((assets / f"{name}_prompts.json").read_text()) for name in ("training", "heldout")]
    assert len(set(captions)) == 256
    assert not set(captions) & {entry["caption"] for entries in prompts for entry in entries}
    assert RPrecision(T2MReward.load(BANK.parent / "t2m"), distractors=256).captions == captions


def test_combined_is_the_weighted_sum_of_both(bank):
    motions = at(0, 12, 21, np.nan)
    parts = T2MMatching(Reader(), "exponential", scale=20.0)(motions), RPrecision(Reader(), 2, 4, bank)(motions)
    found = Combined(Reader(), 0.25, 2, top_k=2, distractors=4, bank=bank, mapping="exponential", scale=20.0)(motions)
    np.testing.assert_allclose(found, 0.25 * parts[0] + 2 * parts[1], rtol=1e-6)
    default = Combined(Reader(), bank=bank, distractors=4)(at(0, 6))  # the original's weights: 0.7 and 0.3
    np.testing.assert_allclose(default, [1, 0.7 * 0.4 + 0.3 / 2], rtol=1e-6)
