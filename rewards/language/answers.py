"""Answers as rewards receive them, and the parts of one that tags mark. Everything here takes time linear in an answer's length."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from rollout.language.items import Item
from rollout.policy import Group

TAGS = ("context", "think", "answer")


@dataclass
class Answers:
    """N completions. prompts: what was asked. groups: int [N], which group each is of. items: the questions, with their truths."""

    prompts: list[str]
    groups: np.ndarray
    items: list[Item]
    completions: list[str]

    def __len__(self) -> int:
        return len(self.completions)

    def rows(self, index: Iterable[int]) -> "Answers":
        """Those of `index`, in its order."""
        index = list(index)
        prompts, items, completions = ([part[i] for i in index] for part in (self.prompts, self.items, self.completions))
        return Answers(prompts, self.groups[index].copy(), items, completions)


def as_answers(*groups: Group) -> Answers:
    """Groups as rewards read them, one after the other; an answer is the decoded `columns["text"]`, never token ids."""
    items = [group.prompt for group in groups for _ in range(len(group))]
    sizes = [len(group) for group in groups]
    texts = [str(text) for group in groups for text in group.columns["text"]]
    return Answers([item.text for item in items], np.repeat(np.arange(len(groups)), sizes), items, texts)


def part_of(text: str, tag: str) -> str | None:
    """What stands, stripped, between the first <tag> and the next </tag>; None without."""
    opened = text.find(f"<{tag}>")
    start = opened + len(tag) + 2
    end = text.find(f"</{tag}>", start) if opened >= 0 else -1
    return text[start:end].strip() if end >= 0 else None


def truth_of(item: Item) -> str:
    """The true answer: the <answer> of the solution, or all of a solution that is written without tags; "" without one."""
    found = part_of(item.solution, "answer")
    if found is None and not any(f"<{tag}>" in item.solution for tag in TAGS):
        found = item.solution.strip()
    return found or ""
