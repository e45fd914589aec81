"""Free text to `word/POS` tokens by HumanML3D's rules, over a sentence that spaCy has analysed; and life without spaCy."""

import sys
from types import SimpleNamespace

import pytest

from rewards.motion import tagger
from rollout.io.errors import InputError

# What en_core_web_sm says of each word: (part of speech, lemma).
ANALYSIS = {
    "A": ("DET", "a"), "man": ("NOUN", "man"), "walks": ("VERB", "walk"), "and": ("CCONJ", "and"), "left": ("VERB", "leave"),
    "feet": ("NOUN", "foot"), "is": ("AUX", "be"), "zombielike": ("ADJ", "zombielike"), ",": ("PUNCT", ","), "3": ("NUM", "3"),
    "'s": ("PART", "'s"), "He": ("PRON", "he"), "Runs": ("VERB", "run"),
}  # fmt: skip


@pytest.fixture
def english(monkeypatch):
    """spaCy's side of the call: words split at spaces, analysed as above."""

    def analyse(text):
        return [SimpleNamespace(text=word, pos_=ANALYSIS[word][0], lemma_=ANALYSIS[word][1]) for word in text.split()]

    monkeypatch.setattr(tagger, "_english", lambda: analyse)


@pytest.mark.parametrize(
    "text, tokens",
    [
        ("A man walks", "a/DET man/NOUN walk/VERB"),
        ("man walks , and man 's feet", "man/NOUN walk/VERB and/CCONJ man/NOUN foot/NOUN"),  # alphabetic words only
        ("walks 3 left", "walk/VERB left/VERB"),  # the one verb that keeps its form
        ("He is zombie-like", "he/PRON is/AUX zombielike/ADJ"),  # hyphens go, auxiliaries keep their form
        ("Runs", "run/VERB"),
    ],
)
def test_the_rules_of_the_dataset(english, text, tokens):
    assert tagger.tag(text) == tuple(tokens.split())


def test_a_prompt_without_words_is_refused(english):
    with pytest.raises(InputError, match="prompt '3 ,': holds no word"):
        tagger.tag("3 ,")


def test_without_spacy_one_line_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "spacy", None)  # as if it were not installed
    with pytest.raises(InputError, match=r"pip install 'motion-grpo\[tagger\]'.*have tags and work without") as caught:
        tagger.tag("a man walks")
    assert "\n" not in str(caught.value)


def test_without_its_model_one_line_says_what_to_download(monkeypatch):
    def load(name):
        raise OSError(f"[E050] Can't find model '{name}'.")

    monkeypatch.setitem(sys.modules, "spacy", SimpleNamespace(load=load))
    with pytest.raises(InputError, match="en_core_web_sm, which is not installed .python -m spacy download en_core_web_sm"):
        tagger.tag("a man walks")
