"""Base beside tuned: film strips, and an animation of the same.

Joints are [T, J, 3], y up, of either format, as `rollout.motion.pictures` draws them.
"""

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageOps

from rollout.family import Change
from rollout.io.colours import FAINT, LEFT, PAPER
from rollout.motion.features import features_to_joints
from rollout.motion.pictures import Cell, Scene, sheet, stack, strip, titled, write, write_gif

Row = tuple[str, np.ndarray, np.ndarray, float, float]  # caption, joints before and after, rewards before and after


def draw(folder: Path, changes: list[Change]) -> None:
    """Both pictures of `changes`, motions cut to their lengths; the still one says what the reward is made of."""
    rows, parts = [], []
    for before, after, sample, *judged in changes:
        length = before.lengths[sample]
        joints = (features_to_joints(group.outputs[sample, :length]) for group in (before, after))
        rows.append((before.prompt.text, *joints, *(each.reward for each in judged)))
        parts.append(", ".join(f"{name} {value:.3f} to {judged[1].components[name]:.3f}" for name, value in judged[0].components.items()))
    before_after_png(folder / "before_after.png", [(f"{caption}  ({part})", *rest) for (caption, *rest), part in zip(rows, parts)])
    before_after_gif(folder / "before_after.gif", rows)


def before_after_png(path: Path | str, rows: list[Row]) -> None:
    """Writes a PNG with two film strips a prompt: the base model's motion and the tuned model's, with rewards."""
    strips = []
    for caption, before, after, reward_before, reward_after in rows:
        change = f"{reward_after - reward_before:+.3f}"
        base = _labelled(strip(before), FAINT, ["base", "reward", f"{reward_before:.3f}"])
        tuned = _labelled(strip(after), LEFT, ["tuned", "reward", f"{reward_after:.3f}", change])
        strips.append(titled(stack([base, tuned]), caption))
    sheet(strips).save(path)


def before_after_gif(path: Path | str, rows: list[Row]) -> None:
    """Writes a GIF at the motions' rate, base beside tuned for each prompt; a motion that ends earlier holds its last pose."""
    scenes = []
    for caption, before, after, reward_before, reward_after in rows:
        base = Cell(f"base   reward {reward_before:.3f}", FAINT, before)
        scenes.append(Scene(caption, [base, Cell(f"tuned   reward {reward_after:.3f}", LEFT, after)]))
    write_gif(path, scenes, columns=2 if len(rows) > 2 else 1)


def _labelled(image: Image.Image, colour: str, lines: list[str]) -> Image.Image:
    framed = ImageOps.expand(image, (84, 0, 0, 0), PAPER)
    for i, line in enumerate(lines):
        write(ImageDraw.Draw(framed), (4, image.height / 2 - 36 + 20 * i), line, 15 if i else 17, colour)
    return framed
