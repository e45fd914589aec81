"""Pictures a person can judge a run by: film strips of motions, base beside tuned, and an animation of the same.

Joints are [T, 22, 3] in metres, y up, 20 fps. NaN is drawn at the origin and what is far away at 50 m: a policy that
blew up still gets its picture.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image, ImageDraw, ImageFont

from learner.stick_figures import LEFT, PAPER, RIGHT, TRAIL, View, scene
from rollout.motion.skeleton import FPS

Motion = tuple[str, np.ndarray]  # caption, joints

INK, FAINT = "#1f2430", "#7b8494"
FIGURES = 8
_CELL = (140, 200)
_PLAN = 170
_MARGIN = 18
_GIF_CELL = (250, 250)


class Change(NamedTuple):
    """One prompt's motion under the base model and under the tuned one."""

    caption: str
    before: np.ndarray
    after: np.ndarray
    reward_before: float
    reward_after: float


def contact_sheet(path: Path | str, rows: list[Motion]) -> None:
    """Writes a PNG with one film strip a motion: eight moments, and the path of the root seen from above."""
    strips = [_titled(_strip(joints), caption) for caption, joints in rows]
    _stack(strips + [_legend(strips[0].width)]).save(path)


def before_after_png(path: Path | str, rows: list[Change]) -> None:
    """Writes a PNG with two film strips a prompt: the base model's motion and the tuned model's, with rewards."""
    strips = []
    for caption, before, after, reward_before, reward_after in rows:
        change = f"{reward_after - reward_before:+.3f}"
        base = _labelled(_strip(before), FAINT, ["base", "reward", f"{reward_before:.3f}"])
        tuned = _labelled(_strip(after), LEFT, ["tuned", "reward", f"{reward_after:.3f}", change])
        strips.append(_titled(_stack([base, tuned], gap=0, margin=0), caption))
    _stack(strips + [_legend(strips[0].width)]).save(path)


def before_after_gif(path: Path | str, rows: list[Change]) -> None:
    """Writes a GIF at 20 fps, base beside tuned for each prompt; a motion that ends earlier holds its last pose."""
    columns = 2 if len(rows) > 2 else 1
    scenes = [_PairScene(row) for row in rows]
    frames = max(pair.frames for pair in scenes)
    images = [_grid([pair.frame(i) for pair in scenes], columns) for i in range(frames)]
    # One palette for all frames: smaller, and colours do not flicker.
    palette = images[frames // 2].quantize(48, method=Image.Quantize.MEDIANCUT)
    images = [image.quantize(palette=palette, dither=Image.Dither.NONE) for image in images]
    durations = [1000 // FPS] * (frames - 1) + [800]
    images[0].save(path, save_all=True, append_images=images[1:], duration=durations, loop=0, optimize=False)


def reward_curve_png(path: Path | str, history: list[dict[str, float]]) -> None:
    """Writes a PNG of a run: the reward of its samples by iteration, and how calm its updates were.

    Each entry holds `iteration` and any of mean_reward, std_reward, heldout_reward, heldout_judge, kl_penalty,
    mean_ratio, grad_norm and the stages' seconds (keys that start with "seconds"); what is absent is left out.
    """
    figure = Figure(figsize=(11, 6.4), layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.add_gridspec(2, 4, height_ratios=(2.2, 1))
    _draw_rewards(figure.add_subplot(grid[0, :]), history)
    for column, key in enumerate(("kl_penalty", "mean_ratio", "grad_norm")):
        axes = figure.add_subplot(grid[1, column])
        axes.plot(*_series(history, key), color=LEFT, linewidth=1.2)
        _dress(axes, key.replace("_", " "))
    axes = figure.add_subplot(grid[1, 3])
    stages = sorted({key for entry in history for key in entry if key.startswith("seconds")})
    for stage in stages:
        axes.plot(*_series(history, stage), linewidth=1.2, label=stage.removeprefix("seconds").strip("_/."))
    _dress(axes, "seconds by stage")
    if stages:
        axes.legend(fontsize=7, frameon=False)
    figure.savefig(path, dpi=130)


def _draw_rewards(axes, history: list[dict[str, float]]) -> None:
    iterations, rewards = _series(history, "mean_reward")
    spread = np.array([entry.get("std_reward") or 0.0 for entry in history if entry.get("mean_reward") is not None])
    axes.fill_between(iterations, rewards - spread, rewards + spread, color=LEFT, alpha=0.12, linewidth=0)
    label = "training samples, mean ± std"
    axes.plot(iterations, rewards, color=LEFT, alpha=0.45, linewidth=1, marker=".", label=label)
    # Each value with the ones before it, so that the line never knows the future.
    window = max(2, min(10, len(rewards) // 4))
    running = [rewards[max(0, i + 1 - window) : i + 1].mean() for i in range(len(rewards))]
    axes.plot(iterations, running, color=LEFT, linewidth=2.4, label=f"mean of the last {window}")
    axes.set_ylabel("reward")
    _dress(axes, "reward by iteration")
    heldout = (("heldout_reward", RIGHT, "held-out prompts"), ("heldout_judge", TRAIL, "judge, held-out (right)"))
    for key, colour, label in heldout:
        iterations, values = _series(history, key)
        if len(values):
            # The judge has its own scale; its entry in the legend is an empty line on the left axes.
            target = axes.twinx() if key == "heldout_judge" else axes
            axes.plot([], [], color=colour, marker="o", linewidth=2, label=label)
            target.plot(iterations, values, color=colour, marker="o", linewidth=2)
            target.spines[["top"]].set_visible(False)
    axes.legend(frameon=False, fontsize=9, loc="upper left", ncols=2)
    axes.margins(y=0.2)


def _series(history: list[dict[str, float]], key: str) -> tuple[np.ndarray, np.ndarray]:
    found = [(entry["iteration"], entry[key]) for entry in history if entry.get(key) is not None]
    iterations, values = zip(*found) if found else ((), ())
    return np.array(iterations, dtype=float), np.array(values, dtype=float)


def _dress(axes, title: str) -> None:
    axes.set_title(title, fontsize=10, loc="left", color=INK)
    axes.grid(alpha=0.25, linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=8)
    axes.xaxis.get_major_locator().set_params(integer=True)


class _PairScene:
    """One prompt of the animation: two cells with a common scale, and cameras that follow only as far as needed."""

    def __init__(self, row: Change):
        caption, before, after, reward_before, reward_after = row
        self.joints = [_drawable(before), _drawable(after)]
        self.frames = max(len(joints) for joints in self.joints)
        width, height = _GIF_CELL
        reach = max(float(np.ptp(joints[:, 0, axis])) for joints in self.joints for axis in (0, 2))
        # Metres across a cell: wide enough for a short walk; the camera follows the part of a longer one that is left.
        self.span = min(max(2.2 + 0.75 * reach, 2.6), 3.6)
        self.follow = max(0.0, 1 - 1.6 / max(reach, 1e-6))
        self.background = Image.new("RGB", (2 * width, height + 46), PAPER)
        draw = ImageDraw.Draw(self.background)
        _write(draw, (10, 6), caption, 15, INK, 2 * width - 20)
        for i, (name, reward) in enumerate((("base", reward_before), ("tuned", reward_after))):
            _write(draw, (i * width + 10, 27), f"{name}   reward {reward:.3f}", 13, LEFT if i else FAINT, width - 20)

    def frame(self, index: int) -> Image.Image:
        image = self.background.copy()
        width, height = _GIF_CELL
        for i, joints in enumerate(self.joints):
            now = min(index, len(joints) - 1)
            root = joints[:, 0] * np.array([1, 0, 1])
            middle = (root.min(axis=0) + root.max(axis=0)) / 2
            centre = middle + self.follow * (_smoothed(root)[now] - middle) + np.array([0, 0.85, 0])
            patch = np.stack([root.min(axis=0) - 0.8, root.max(axis=0) + 0.8])[:, [0, 2]]
            view = View(_GIF_CELL, centre, width / self.span)
            image.paste(scene(view, joints[now], root[: now + 1], patch), (i * width, 46))
        return image


def _strip(joints: np.ndarray) -> Image.Image:
    """Eight moments of one motion side by side, and its path from above."""
    joints = _drawable(joints)
    moments = np.linspace(0, len(joints) - 1, FIGURES).round().astype(int)
    width, height = _CELL
    top = np.clip(joints[moments, :, 1].max() + 0.3, 1.85, 4.0)
    middle = (top - 0.45) / 2
    image = Image.new("RGB", (FIGURES * width + _PLAN, height + 18), PAPER)
    draw = ImageDraw.Draw(image)
    for i, frame in enumerate(moments):
        root = joints[frame, 0] * np.array([1, 0, 1])
        view = View(_CELL, root + np.array([0, middle, 0]), height / (top + 0.45))
        patch = np.stack([root - 0.65, root + 0.65])[:, [0, 2]]
        near = np.abs(joints[: frame + 1, 0] - root)[:, [0, 2]].max(axis=1) < 0.65
        start = frame + 1 - int(np.argmin(near[::-1])) if not near.all() else 0
        image.paste(scene(view, joints[frame], joints[start : frame + 1, 0], patch), (i * width, 0))
        _write(draw, (i * width + width / 2, height), f"{frame / FPS:.1f} s", 12, FAINT, anchor="ma")
    image.paste(_plan(joints[:, 0], moments), (FIGURES * width, 0))
    return image


def _plan(root: np.ndarray, moments: np.ndarray) -> Image.Image:
    """The root's path [T, 3] from above: first facing (+z) to the right, left (+x) up."""
    scale = 3
    side = _PLAN * scale
    image = Image.new("RGB", (side, _CELL[1] * scale), PAPER)
    draw = ImageDraw.Draw(image)
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
    _write(ImageDraw.Draw(image), (left / scale, _CELL[1] - 31), "1 m, from above", 12, FAINT)
    return image


def _titled(image: Image.Image, title: str) -> Image.Image:
    framed = Image.new("RGB", (image.width, image.height + 28), PAPER)
    framed.paste(image, (0, 28))
    _write(ImageDraw.Draw(framed), (4, 4), title, 17, INK, image.width - 8)
    return framed


def _labelled(image: Image.Image, colour: str, lines: list[str]) -> Image.Image:
    framed = Image.new("RGB", (image.width + 84, image.height), PAPER)
    framed.paste(image, (84, 0))
    for i, line in enumerate(lines):
        _write(ImageDraw.Draw(framed), (4, image.height / 2 - 36 + 20 * i), line, 15 if i else 17, colour)
    return framed


def _legend(width: int) -> Image.Image:
    image = Image.new("RGB", (width, 22), PAPER)
    draw = ImageDraw.Draw(image)
    at = 4.0
    for text, colour in (("left arm and leg", LEFT), ("right arm and leg", RIGHT), ("path of the pelvis", TRAIL)):
        draw.rounded_rectangle((at, 7, at + 22, 14), 3, fill=colour)
        _write(draw, (at + 28, 3), text, 12, FAINT)
        at += 52 + draw.textlength(text, font=ImageFont.load_default(12))
    return image


def _stack(images: list[Image.Image], gap: int = 10, margin: int = _MARGIN) -> Image.Image:
    width = max(image.width for image in images) + 2 * margin
    height = sum(image.height + gap for image in images) - gap + 2 * margin
    sheet = Image.new("RGB", (width, height), PAPER)
    top = margin
    for image in images:
        sheet.paste(image, (margin, top))
        top += image.height + gap
    return sheet


def _grid(images: list[Image.Image], columns: int) -> Image.Image:
    lines = -(-len(images) // columns)
    width, height = images[0].size
    sheet = Image.new("RGB", (columns * (width + 12) - 12, lines * height), PAPER)
    for i, image in enumerate(images):
        sheet.paste(image, (i % columns * (width + 12), i // columns * height))
    return sheet


def _drawable(joints: np.ndarray) -> np.ndarray:
    """Float64 joints without NaN and within 50 m."""
    return np.clip(np.nan_to_num(np.asarray(joints, dtype=np.float64), posinf=50, neginf=-50), -50, 50)


def _smoothed(path: np.ndarray, window: int = 15) -> np.ndarray:
    padded = np.pad(path, ((window // 2, window // 2), (0, 0)), mode="edge")
    return np.stack([np.convolve(padded[:, i], np.ones(window) / window, mode="valid") for i in range(3)], axis=1)


def _write(draw, at, text: str, size: int, colour: str, width: float | None = None, anchor: str = "la") -> None:
    """Text in the default face, cut with an ellipsis where it is wider than `width` pixels."""
    font = ImageFont.load_default(size)
    if width is not None and draw.textlength(text, font=font) > width:
        while text and draw.textlength(text + "…", font=font) > width:
            text = text[:-1]
        text += "…"
    draw.text(at, text, fill=colour, font=font, anchor=anchor)
