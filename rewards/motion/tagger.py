"""Part-of-speech tags for free text, as the captions of HumanML3D have them. Needs the optional extra `tagger` (spaCy)."""

import functools

from rollout.io.errors import InputError

MODEL = "en_core_web_sm"


def tag(text: str) -> tuple[str, ...]:
    """The `word/POS` tokens of a sentence by HumanML3D's rules: hyphens removed, alphabetic words only, nouns and
    verbs as their lemma except the word "left".

    Words are lower-cased after tagging, since the vocabularies are. InputError without spaCy, its model or any word.
    """
    tokens = []
    for token in _english()(text.replace("-", "")):
        if token.text.isalpha():
            lemma = token.pos_ in ("NOUN", "VERB") and token.text != "left"
            tokens.append(f"{(token.lemma_ if lemma else token.text).lower()}/{token.pos_}")
    if not tokens:
        raise InputError(f"prompt {text!r}: holds no word")
    return tuple(tokens)


@functools.cache
def _english():
    try:
        import spacy

        return spacy.load(MODEL)
    except ImportError:
        missing = "spaCy, which is not installed (pip install 'motion-grpo[tagger]')"
    except OSError:
        missing = f"spaCy's model {MODEL}, which is not installed (python -m spacy download {MODEL})"
    raise InputError(
        f"the T2M evaluator needs part-of-speech tags: prompts without them need {missing};"
        " prompts of a HumanML3D folder have tags and work without"
    )
