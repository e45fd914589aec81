"""Small crowds seen from above, in which look-alikes touch the person who is meant: what the small points model sees, and is right.

Whoever is meant wears a white cap; a look-alike has the same shirt and no cap. Others, in other shirts, touch nobody. Who of those that
touch is meant is drawn so that, before the picture is seen, no place is likelier to be a gain than a loss.
"""

from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

SIZE = 112  # pixels, both ways
SUPERSAMPLING = 2
SHIRTS = {"red": "#d8432f", "blue": "#3b6fe0", "green": "#2fae4e", "yellow": "#e6c02e", "purple": "#9a49d6", "grey": "#8d97a5"}
CAP, HAIR, SKIN, FLOOR, TILE = "#ffffff", "#3a2618", "#d9a27c", "#11151d", "#191f2a"
SHOULDERS, HEAD, HANDS = (16.0, 11.5), 6.5, (12.0, 5.5)  # half-axes, radius, and where hands are, in pixels
MARGIN, GAP = 13.0, 3  # pixels from a centre to the edge, and between people who do not touch
TRIPLES = 0.3  # of scenes have a second look-alike
MIDDLE = 0.6  # of these mean the one in the middle. A hit on an end then gains .17 x .6 and loses .5 x .2; one on the middle, .5 x .4 and .33 x .6
OTHERS = (1, 4)  # people in other shirts, from and below
COS, SIN = (of(np.linspace(0, 2 * np.pi, 32, endpoint=False)) for of in (np.cos, np.sin))


@dataclass(frozen=True)
class Crowd:
    """picture: uint8 [112, 112, 3]. labels: uint8 [112, 112], 0 the floor, 1 who is meant, 2.. the others. touching: labels of the
    look-alikes that touch. point: x, y in pixels, in the middle of who is meant."""

    picture: np.ndarray
    labels: np.ndarray
    shirt: str
    touching: tuple[int, ...]
    point: tuple[float, float]

    @property
    def box(self) -> tuple[int, int, int, int]:
        """x0, y0, x1, y1 of who is meant, in pixels; x1 and y1 are the first that are outside."""
        rows, columns = (np.flatnonzero((self.labels == 1).any(axis)) for axis in (1, 0))
        return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


@dataclass(frozen=True)
class _Person:
    x: float
    y: float
    angle: float

    def outline(self, across: float, along: float, half_x: float, half_y: float, scale: float = 1.0) -> list[tuple[float, float]]:
        """Of an ellipse beside the middle of the person, across the shoulders and along the view, in pixels x `scale`."""
        xs, ys = across + half_x * COS, along + half_y * SIN
        cos, sin = np.cos(self.angle), np.sin(self.angle)
        return (np.stack([self.x + xs * cos - ys * sin, self.y + xs * sin + ys * cos], axis=1) * scale).ravel().tolist()

    def pixels(self, around: float = 0) -> np.ndarray:
        """bool [112, 112]: what they cover, and so many pixels around it."""
        covered = Image.new("1", (SIZE, SIZE))
        ImageDraw.Draw(covered).polygon(self.outline(0, 0, *(half + around for half in SHOULDERS)), fill=1)
        return np.asarray(covered)

    @property
    def inside(self) -> bool:
        return MARGIN <= self.x <= SIZE - MARGIN and MARGIN <= self.y <= SIZE - MARGIN

    def draw(self, pen: ImageDraw.ImageDraw, shirt: str, cap: bool) -> None:
        for across, along, half_x, half_y, colour in (
            (0, 0, *SHOULDERS, shirt), (-HANDS[0], -HANDS[1], 2.5, 2.5, SKIN), (HANDS[0], -HANDS[1], 2.5, 2.5, SKIN),
            (0, 0, HEAD + 1, HEAD + 1, "#000000"), (0, 0, HEAD, HEAD, CAP if cap else HAIR),
        ):  # fmt: skip
            pen.polygon(self.outline(across, along, half_x, half_y, SUPERSAMPLING), fill=colour)


def scene(draw: np.random.Generator) -> Crowd:
    """One more, from what `draw` draws."""
    wide = draw.random() < TRIPLES
    while (found := _tried(wide, draw)) is None:
        pass
    return found


def _tried(wide: bool, draw: np.random.Generator) -> Crowd | None:
    """None where those who are alike found no room."""
    crowd = [_Person(*draw.uniform(MARGIN, SIZE - MARGIN, 2), draw.uniform(0, 2 * np.pi))]
    for _ in range(1 + wide):  # the first stands in the middle
        crowd.append(_beside(crowd[0], draw))
    covered = [person.pixels() for person in crowd]
    if not all(person.inside for person in crowd) or (wide and (crowd[1].pixels(GAP) & covered[2]).any()):
        return None
    alike = len(crowd)
    for _ in range(int(draw.integers(*OTHERS))):
        person = _Person(*draw.uniform(MARGIN, SIZE - MARGIN, 2), draw.uniform(0, 2 * np.pi))
        if not (person.pixels(GAP) & np.logical_or.reduce(covered)).any():
            crowd.append(person)
            covered.append(person.pixels())
    meant = int(draw.integers(2)) if not wide else 0 if draw.random() < MIDDLE else int(draw.integers(1, 3))
    touching = [other for other in range(alike) if other != meant and (not wide or 0 in (other, meant))]
    shirts = [str(shirt) for shirt in draw.permutation(list(SHIRTS))]
    order = [int(place) for place in draw.permutation(len(crowd))]  # the later is drawn over the earlier
    numbers = {meant: 1} | {other: number for number, other in enumerate((o for o in order if o != meant), 2)}
    image = Image.new("RGB", (SIZE * SUPERSAMPLING,) * 2, FLOOR)
    pen, labels = ImageDraw.Draw(image), np.zeros((SIZE, SIZE), np.uint8)
    for across in range(SUPERSAMPLING * 7, SIZE * SUPERSAMPLING, SUPERSAMPLING * 14):
        pen.line((across, 0, across, SIZE * SUPERSAMPLING), fill=TILE)
        pen.line((0, across, SIZE * SUPERSAMPLING, across), fill=TILE)
    for place in order:
        crowd[place].draw(pen, SHIRTS[shirts[0] if place < alike else shirts[1 + place % 5]], place == meant or (place >= alike and draw.random() < 0.5))
        labels[covered[place]] = numbers[place]
    person = crowd[meant]
    return Crowd(np.asarray(image.reduce(SUPERSAMPLING)), labels, shirts[0], tuple(numbers[other] for other in touching), (person.x, person.y))


def turned(seen: Crowd, way: int) -> Crowd:
    """One of the eight ways, 0 to 7, in which a square can be laid: a view from above is as good in each."""
    def lay(pixels: np.ndarray) -> np.ndarray:
        return np.ascontiguousarray(np.rot90(pixels.swapaxes(0, 1) if way >= 4 else pixels, way % 4))

    x, y = seen.point[::-1] if way >= 4 else seen.point
    for _ in range(way % 4):
        x, y = y, SIZE - x
    return Crowd(lay(seen.picture), lay(seen.labels), seen.shirt, seen.touching, (x, y))


def _beside(person: _Person, draw: np.random.Generator) -> _Person:
    """Someone who touches `person`, in any direction: as far away as that allows, but for half a pixel."""
    towards, angle, pixels = draw.uniform(0, 2 * np.pi), draw.uniform(0, 2 * np.pi), person.pixels()
    near, far = 2 * SHOULDERS[1] - 3, 2 * SHOULDERS[0] + 1  # apart: they overlap, they do not
    while far - near > 0.5:
        middle = (near + far) / 2
        other = _Person(person.x + middle * np.cos(towards), person.y + middle * np.sin(towards), angle)
        near, far = (middle, far) if (other.pixels() & pixels).any() else (near, middle)
    return _Person(person.x + (near - 0.5) * np.cos(towards), person.y + (near - 0.5) * np.sin(towards), angle)
