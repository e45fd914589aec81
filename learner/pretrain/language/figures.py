"""Short videos of a stick figure: what the small people model sees of a motion.

White-ish limbs on a dark ground, left limbs blue, right limbs red, drawn at twice the size and averaged down. The camera pans from
where the root starts to where it ends; dots half a metre apart stay fixed in the world and show how fast that is. A bar at the
bottom edge shows the time: no two frames of a video are equal, which animated files would otherwise merge into one.
"""

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from rollout.motion.skeleton import format_of

FRAMES, SIZE = 8, 56
SUPERSAMPLING = 2
PIXELS_PER_METRE = 23.0
GROUND_ROW = 50  # of SIZE, where y = 0 is
ELEVATION = np.radians(12)
COLOURS = ("#e8604c", "#4ca3e8", "#d8dde6", "#f0a090", "#90c4f0")  # right leg, left leg, spine, right arm, left arm
BACKGROUND, DOT, BAR = "#0c0f16", "#3a4152", "#6b7487"
MILLISECONDS = 300  # that a frame is shown


def figure_video(joints: np.ndarray, azimuth: float) -> np.ndarray:
    """uint8 [8, 56, 56, 3] of joints [T, 22, 3] in metres, seen from `azimuth` radians around the vertical: 0 is from the
    subject's left at the start."""
    joints = joints[np.linspace(0, len(joints) - 1, FRAMES).round().astype(int)].astype(np.float64)
    along = np.linspace(0, 1, FRAMES)[:, None]
    camera = joints[0, 0] * (1 - along) + joints[-1, 0] * along  # [8, 3]
    return np.stack([_frame(pose, centre, azimuth, number) for number, (pose, centre) in enumerate(zip(joints, camera))])


def _frame(pose: np.ndarray, centre: np.ndarray, azimuth: float, number: int) -> np.ndarray:
    across = np.array([-np.sin(azimuth), 0, np.cos(azimuth)])  # someone who faces +z walks to the right when seen from the left
    away = np.array([-np.cos(azimuth), 0, -np.sin(azimuth)])

    def pixels(points: np.ndarray) -> np.ndarray:
        relative = points - centre * np.array([1, 0, 1])
        scale = PIXELS_PER_METRE * SUPERSAMPLING
        up = relative[:, 1] * np.cos(ELEVATION) + relative @ away * np.sin(ELEVATION)
        return np.stack([SIZE * SUPERSAMPLING / 2 + relative @ across * scale, GROUND_ROW * SUPERSAMPLING - up * scale], axis=1)

    image = Image.new("RGB", (SIZE * SUPERSAMPLING,) * 2, BACKGROUND)
    draw = ImageDraw.Draw(image)
    whole = np.stack(np.meshgrid(np.arange(-4, 5), [0], np.arange(-4, 5)), axis=-1).reshape(-1, 3) / 2
    for x, y in pixels(whole + np.round(centre * np.array([2, 0, 2])) / 2):
        draw.ellipse((x - 1, y - 1, x + 1, y + 1), fill=DOT)
    placed, depth = pixels(pose), pose @ away
    for chain, colour in sorted(zip(format_of(pose).chains, COLOURS), key=lambda each: -depth[list(each[0])].mean()):
        draw.line([tuple(placed[joint]) for joint in chain], fill=colour, width=5, joint="curve")
    head = placed[15] + (placed[15] - placed[12]) * 0.5
    draw.ellipse((*(head - 5), *(head + 5)), fill=COLOURS[2])
    draw.rectangle((0, SIZE * SUPERSAMPLING - 2, (number + 1) * SIZE * SUPERSAMPLING // FRAMES - 1, SIZE * SUPERSAMPLING), fill=BAR)
    return np.asarray(image.reduce(SUPERSAMPLING))


def save_video(path: Path, frames: np.ndarray) -> None:
    """Frames [T, H, W, 3] as one lossless animated WebP."""
    images = [Image.fromarray(frame) for frame in frames]
    images[0].save(path, save_all=True, append_images=images[1:], lossless=True, quality=60, method=3, duration=MILLISECONDS, loop=0)
