"""Questions about who looks like the person that is meant, and the answers that the small points model is taught."""

from dataclasses import replace

import numpy as np

from learner.pretrain.language.scenes import SHIRTS, SIZE, Crowd, scene
from rollout.language.items import SEGMENTATION
from rollout.language.template import question

BINS = 10  # of either coordinate: 50, 150 ... 950 of 1000, each one word to the model
ASKED = (
    "Who else in {shirt} touches the one with the white cap?",
    "Where is someone else in {shirt} who touches the one with the white cap?",
    "Which others in {shirt} touch the one with the white cap?",
)
WAYS = ("on the right", "below on the right", "below", "below on the left", "on the left", "above on the left", "above", "above on the right")
MIDDLES = ((np.arange(BINS) + 0.5) * SIZE / BINS).astype(int)  # the pixel that the middle of each bin is in
Bin = tuple[int, int]


def problem(scene: Crowd, draw: np.random.Generator) -> str:
    return str(draw.choice(ASKED)).format(shirt=scene.shirt)


def asked(problem_text: str) -> str:
    """The whole text that the model is told, but for the picture."""
    return question(problem_text, (), SEGMENTATION)


def bin_of(labels: np.ndarray, person: int) -> Bin:
    """Of the bins whose middle is on somebody, that nearest to the middle of what is seen of them."""
    rows, columns = np.nonzero(labels == person)
    downs, acrosses = np.nonzero(labels[np.ix_(MIDDLES, MIDDLES)] == person)
    nearest = np.hypot(MIDDLES[acrosses] - columns.mean(), MIDDLES[downs] - rows.mean()).argmin()
    return int(acrosses[nearest]), int(downs[nearest])


def way(place: Bin, scene: Crowd) -> str:
    """In words, from who is meant to a bin."""
    across, down = np.subtract(MIDDLES[list(place)], scene.point)
    return WAYS[round(np.arctan2(down, across) / (np.pi / 4)) % 8]


def answer(places: list[Bin], scene: Crowd) -> str:
    """A whole answer that names bins: first where they are from who is meant, then as points of 0 to 1000."""
    told = " and ".join(way(place, scene) for place in places)
    points = ", ".join(f"[{x * 1000 // BINS + 50}, {y * 1000 // BINS + 50}]" for x, y in places)
    return f'<think>Someone else in {scene.shirt} is {told}.</think>\n<answer>{{"negative_points": [{points}]}}</answer>'


def right(scene: Crowd) -> list[Bin]:
    """The bins of all look-alikes that touch, from left to right."""
    return sorted(bin_of(scene.labels, person) for person in scene.touching)


def wrong(places: list[Bin], draw: np.random.Generator) -> list[Bin]:
    """As many bins anywhere."""
    return sorted({(int(x), int(y)) for x, y in draw.integers(BINS, size=(len(places), 2))})


def spoilt(text: str, draw: np.random.Generator) -> str:
    """An answer with a fault of form, so that there is one to unlearn: a bracket or a tag that is missing, or an answer said twice."""
    thought, _, answered = text.partition("\n")
    return str(draw.choice([
        f"{thought}\n{answered.replace(']]', ']')}", f"{thought}\n{answered.removesuffix('</answer>')}", f"{text}\n{answered}",
        f"{thought}\n{answered.replace('}', '')}", thought,
    ]))  # fmt: skip


def sentences() -> list[str]:
    """Texts with every word that is ever asked or answered."""
    draw, texts = np.random.default_rng(0), []
    for shirt in SHIRTS:
        seen = replace(scene(draw), shirt=shirt)
        texts += [asked(each.format(shirt=shirt)) for each in ASKED] + [spoilt(answer(right(seen), seen), draw)]
    return texts + [" ".join(["and", *WAYS]), *(answer([(place, place)] * 2, seen) for place in range(BINS))]
