"""Whether an answer keeps to the form that was asked for."""

import numpy as np

from rewards.language.answers import TAGS, Answers
from rollout.io.errors import InputError


class Format:
    """`format`: 1 when the whole answer is one of each of `tags`, in that order, each with something in it and nothing but white
    space around them; else 0. float32 [N].

    Unlike the original's pattern (`official.format`) it is not content with a good beginning or with empty tags.
    """

    def __init__(self, tags: list[str] = list(TAGS)):
        if not isinstance(tags, list) or not tags or not all(isinstance(tag, str) and tag.isidentifier() for tag in tags) or len({*tags}) < len(tags):
            raise InputError(f"tags: found {tags!r}, expected a list of different names, such as [think, answer]")
        self.tags = tags

    def __call__(self, answers: Answers) -> np.ndarray:
        return np.array([self.holds(text) for text in answers.completions], np.float32)

    def holds(self, text: str) -> bool:
        place = 0
        for tag in self.tags:
            opening, closing = f"<{tag}>", f"</{tag}>"
            if text.count(opening) != 1 or text.count(closing) != 1:
                return False
            opened, closed = text.find(opening), text.find(closing)
            inside = opened + len(opening)
            if not (place <= opened < closed) or text[place:opened].strip() or not _says_something(text[inside:closed]):
                return False
            place = closed + len(closing)
        return not text[place:].strip()


class OfficialFormat:
    """`official.format`: 1 when the answer begins with a context, a think and an answer part, whatever is in them and behind;
    `HumanOmniV2`'s `format_reward`, as published. float32 [N]."""

    def __call__(self, answers: Answers) -> np.ndarray:
        return np.array([_begins_well(text) for text in answers.completions], np.float32)


def _begins_well(text: str) -> bool:
    """^<context>.*?</context>\\s*<think>.*?</think>\\s*<answer>.*?</answer>, without the pattern's cubic time on long answers."""
    if not text.startswith("<context>"):
        return False
    place = len("<context>")
    for before, after in (("</context>", "<think>"), ("</think>", "<answer>")):
        while (opened := text.find(after, place)) >= 0:
            end = opened
            while end > place and text[end - 1].isspace():
                end -= 1
            place, found = opened + len(after), text.startswith(before, end - len(before)) and end - len(before) >= place
            if found:
                break
        if opened < 0:
            return False
    return text.find("</answer>", place) >= 0


def _says_something(text: str) -> bool:
    return any(letter.isprintable() and not letter.isspace() for letter in text)
