"""Answers for tests, from what a row would hold."""

import numpy as np

from rewards.language.answers import Answers
from rollout.language.items import Item


def answers(*rows, **item) -> Answers:
    """Each row a completion under one `item`, or (completion, fields of its own item)."""
    pairs = [row if isinstance(row, tuple) else (row, {}) for row in rows]
    one = Item("q", **item)
    items = [Item("q", **{**item, **own}) if own else one for _, own in pairs]
    return Answers(["q"] * len(pairs), np.zeros(len(pairs), int), items, [text for text, _ in pairs])


def whole(answer, think="he thinks", context="a room") -> str:
    return f"<context>{context}</context>\n<think>{think}</think>\n<answer>{answer}</answer>"
