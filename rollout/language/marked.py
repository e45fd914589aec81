"""An image of which a region is asked for, enlarged and marked: box, points, and what a mask holds."""

import json
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

from rollout.io.colours import LEFT, RIGHT, TRAIL
from rollout.language.items import Target
from rollout.language.media import mask_of_rle

DIMMED = 0.35  # of the light that is left outside a mask
POINT = 5  # pixels, radius


class Marked:
    """Pictures of one image: each method returns a new one."""

    def __init__(self, image: Image.Image, longest: int):
        """longest: pixels of the longer side."""
        self.scale = longest / max(image.size)
        self.size = tuple(max(1, round(side * self.scale)) for side in image.size)
        self.picture = image.convert("RGB").resize(self.size, Image.Resampling.NEAREST if self.scale > 1 else Image.Resampling.BILINEAR)

    def asked(self, target: Target) -> Image.Image:
        """With the box, and the points that are on the target, in blue."""
        marked = self.picture.copy()
        pen = ImageDraw.Draw(marked)
        pen.rectangle([edge * self.scale for edge in target.box], outline=LEFT, width=2)
        self._points(pen, target.points, LEFT)
        return marked

    def masked(self, mask: np.ndarray, negatives: Sequence[tuple[float, float]] = ()) -> Image.Image:
        """What bool [H,W] of the original image holds is lit and has a border, all else is dimmed; negatives are red."""
        held = np.asarray(Image.fromarray(mask).resize(self.size, Image.Resampling.NEAREST))
        inner = held.copy()
        for axis in (0, 1):
            for step in (1, 2):
                inner &= np.roll(held, step, axis) & np.roll(held, -step, axis)
        pixels = np.asarray(self.picture)
        lit = np.where(held[..., None], pixels, (pixels * DIMMED).astype(np.uint8))
        lit[held & ~inner] = tuple(bytes.fromhex(TRAIL[1:]))
        marked = Image.fromarray(lit)
        self._points(ImageDraw.Draw(marked), negatives, RIGHT)
        return marked

    def answered(self, mask: str, negatives: str) -> Image.Image | None:
        """As `masked`, of a run-length encoding and of points as JSON text; None for an answer that has none."""
        return self.masked(mask_of_rle(json.loads(mask), "mask"), json.loads(negatives)) if mask else None

    def _points(self, pen: ImageDraw.ImageDraw, points: Sequence[tuple[float, float]], colour: str) -> None:
        for x, y in points:
            x, y = x * self.scale, y * self.scale
            pen.ellipse((x - POINT, y - POINT, x + POINT, y + POINT), fill=colour, outline="#ffffff")
