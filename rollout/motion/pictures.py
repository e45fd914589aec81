"""Pictures of motions: film strips on a sheet, and animations side by side.

Joints are [T, 22, 3] in metres, y up, 20 fps, or KIT's [T, 21, 3] in its unit and rate. NaN is drawn at the origin and
what is far away at 50 m: a policy that blew up still gets its picture.
"""

import textwrap
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFont, ImageOps
from scipy.ndimage import uniform_filter1d

from rollout.io.colours import FAINT, INK, LEFT, PAPER, RIGHT, TRAIL
from rollout.motion.skeleton import format_of
from rollout.motion.stick_figures import View, scene

FIGURES = 8
_CELL = (140, 200)
_PLAN = 170
_MARGIN = 18
_GIF_CELL = (250, 250)
_GIF_HEADER = 46
_LINE = 34  # characters of a caption above one cell


class Motion(NamedTuple):
    """A motion [T, J, 3] and what stands above it."""

    caption: str
    joints: np.ndarray


def contact_sheet(path: Path | str, rows: list[Motion]) -> None:
    """Writes a PNG with one film strip a motion: eight moments, and the path of the root seen from above."""
    strips = [titled(strip(joints), caption) for caption, joints in rows]
    sheet(strips).save(path)


def motions_gif(path: Path | str, rows: list[Motion]) -> None:
    """Writes a GIF at the motions' rate, a cell a motion under its caption; a motion that ends earlier holds its last pose."""
    scenes = []
    for caption, joints in rows:
        line, *rest = textwrap.wrap(caption, _LINE) or [""]
        scenes.append(Scene(line, [Cell(" ".join(rest), INK, joints, 15)]))
    write_gif(path, scenes, columns=min(4, len(scenes)))


class Cell(NamedTuple):
    """One moving figure of a `Scene`, joints [T, J, 3], under a label of `size` pixels."""

    label: str
    colour: str
    joints: np.ndarray
    size: int = 13


class Scene:
    """Motions side by side under one title, with a common scale, and cameras that follow only as far as needed."""

    def __init__(self, title: str, cells: list[Cell]):
        self.joints = [_drawable(cell.joints) for cell in cells]
        self.milliseconds = round(1000 / format_of(self.joints[0]).fps)
        self.frames = max(len(joints) for joints in self.joints)
        width, height = _GIF_CELL
        reach = max(float(np.ptp(joints[:, 0, axis])) for joints in self.joints for axis in (0, 2))
        # Metres across a cell: wide enough for a short walk; the camera follows the part of a longer one that is left.
        self.span = min(max(2.2 + 0.75 * reach, 2.6), 3.6)
        self.follow = max(0.0, 1 - 1.6 / max(reach, 1e-6))
        self.background, draw = blank(len(cells) * width, height + _GIF_HEADER)
        write(draw, (10, 6), title, 15, INK, len(cells) * width - 20)
        for i, cell in enumerate(cells):
            write(draw, (i * width + 10, 26), cell.label, cell.size, cell.colour, width - 20)

    def frame(self, index: int) -> Image.Image:
        image = self.background.copy()
        width, height = _GIF_CELL
        for i, joints in enumerate(self.joints):
            now = min(index, len(joints) - 1)
            root = joints[:, 0] * np.array([1, 0, 1])
            middle = (root.min(axis=0) + root.max(axis=0)) / 2
            smoothed = uniform_filter1d(root, 15, axis=0, mode="nearest")
            centre = middle + self.follow * (smoothed[now] - middle) + np.array([0, 0.85, 0])
            patch = np.stack([root.min(axis=0) - 0.8, root.max(axis=0) + 0.8])[:, [0, 2]]
            view = View(_GIF_CELL, centre, width / self.span)
            image.paste(scene(view, joints[now], root[: now + 1], patch), (i * width, _GIF_HEADER))
        return image


def write_gif(path: Path | str, scenes: list[Scene], columns: int) -> None:
    """Writes the scenes, all of one skeleton, as one GIF at its rate that lasts as long as the longest of them."""
    frames = max(each.frames for each in scenes)
    images = [stack([each.frame(i) for each in scenes], columns, gaps=(12, 0)) for i in range(frames)]
    # One palette for all frames: smaller, and colours do not flicker.
    palette = images[frames // 2].quantize(48, method=Image.Quantize.MEDIANCUT)
    images = [image.quantize(palette=palette, dither=Image.Dither.NONE) for image in images]
    durations = [scenes[0].milliseconds] * (frames - 1) + [800]
    images[0].save(path, save_all=True, append_images=images[1:], duration=durations, loop=0, optimize=False)


def strip(joints: np.ndarray) -> Image.Image:
    """Eight moments of one motion side by side, and its path from above."""
    joints = _drawable(joints)
    moments = np.linspace(0, len(joints) - 1, FIGURES).round().astype(int)
    width, height = _CELL
    top = np.clip(joints[moments, :, 1].max() + 0.3, 1.85, 4.0)
    middle = (top - 0.45) / 2
    image, draw = blank(FIGURES * width + _PLAN, height + 18)
    for i, frame in enumerate(moments):
        root = joints[frame, 0] * np.array([1, 0, 1])
        view = View(_CELL, root + np.array([0, middle, 0]), height / (top + 0.45))
        patch = np.stack([root - 0.65, root + 0.65])[:, [0, 2]]
        near = np.abs(joints[: frame + 1, 0] - root)[:, [0, 2]].max(axis=1) < 0.65
        start = frame + 1 - int(np.argmin(near[::-1])) if not near.all() else 0
        image.paste(scene(view, joints[frame], joints[start : frame + 1, 0], patch), (i * width, 0))
        write(draw, (i * width + width / 2, height), f"{frame / format_of(joints).fps:.1f} s", 12, FAINT, anchor="ma")
    image.paste(_plan(joints[:, 0], moments), (FIGURES * width, 0))
    return image


def _plan(root: np.ndarray, moments: np.ndarray) -> Image.Image:
    """The root's path [T, 3] from above: first facing (+z) to the right, left (+x) up."""
    scale = 3
    side = _PLAN * scale
    image, draw = blank(side, _CELL[1] * scale)
    path = np.stack([root[:, 2], -root[:, 0]], axis=1)
    middle = (path.min(axis=0) + path.max(axis=0)) / 2
    pixels_per_metre = side * 0.78 / max(float(np.ptp(path, axis=0).max()), 1.5)
    pixels = (path - middle) * pixels_per_metre + np.array([side / 2, _CELL[1] * scale * 0.48])
    draw.line([tuple(p) for p in pixels], fill=TRAIL, width=3 * scale, joint="curve")
    for frame in moments[::-1]:  # the start last and hollow
        box = (*(pixels[frame] - 4 * scale), *(pixels[frame] + 4 * scale))
        draw.ellipse(box, fill=INK if frame else PAPER, outline=INK, width=4)
    bottom, left = (_CELL[1] - 14) * scale, side * 0.11
    draw.line((left, bottom, left + pixels_per_metre, bottom), fill=FAINT, width=2 * scale)
    image = image.reduce(scale)
    write(ImageDraw.Draw(image), (left / scale, _CELL[1] - 31), "1 m, from above", 12, FAINT)
    return image


def titled(image: Image.Image, title: str) -> Image.Image:
    """The image under a line of text."""
    framed = ImageOps.expand(image, (0, 28, 0, 0), PAPER)
    write(ImageDraw.Draw(framed), (4, 4), title, 17, INK, image.width - 8)
    return framed


def sheet(strips: list[Image.Image]) -> Image.Image:
    """The strips below each other, and under them what the colours mean."""
    legend, draw = blank(strips[0].width, 22)
    at = 4.0
    for text, colour in (("left arm and leg", LEFT), ("right arm and leg", RIGHT), ("path of the pelvis", TRAIL)):
        draw.rounded_rectangle((at, 7, at + 22, 14), 3, fill=colour)
        write(draw, (at + 28, 3), text, 12, FAINT)
        at += 52 + draw.textlength(text, font=ImageFont.load_default(12))
    return ImageOps.expand(stack([*strips, legend], gaps=(0, 10)), _MARGIN, PAPER)


def stack(images: list[Image.Image], columns: int = 1, gaps: tuple[int, int] = (0, 0)) -> Image.Image:
    """The images in rows of `columns`, as far apart as `gaps` says (pixels across and down)."""
    rows = [images[i : i + columns] for i in range(0, len(images), columns)]
    width, heights = max(image.width for image in images) + gaps[0], [row[0].height + gaps[1] for row in rows]
    whole, _ = blank(columns * width - gaps[0], sum(heights) - gaps[1])
    for i, row in enumerate(rows):
        for j, image in enumerate(row):
            whole.paste(image, (j * width, sum(heights[:i])))
    return whole


def blank(width: int, height: int) -> tuple[Image.Image, ImageDraw.ImageDraw]:
    image = Image.new("RGB", (width, height), PAPER)
    return image, ImageDraw.Draw(image)


def _drawable(joints: np.ndarray) -> np.ndarray:
    """Float64 joints in metres, without NaN and within 50 m."""
    metres = np.asarray(joints, dtype=np.float64) * format_of(joints).metres
    return np.clip(np.nan_to_num(metres, posinf=50, neginf=-50), -50, 50)


def write(draw, at, text: str, size: int, colour: str, width: float | None = None, anchor: str = "la") -> None:
    """Text in the default face, cut with an ellipsis where it is wider than `width` pixels."""
    font = ImageFont.load_default(size)
    if width is not None and draw.textlength(text, font=font) > width:
        while text and draw.textlength(text + "…", font=font) > width:
            text = text[:-1]
        text += "…"
    draw.text(at, text, fill=colour, font=font, anchor=anchor)
