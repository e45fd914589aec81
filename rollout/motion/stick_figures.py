"""A person of 22 joints (KIT: 21) drawn with depth on a small canvas: camera, ground, shadow, trail and figure.

Everything is in metres with y up; a `View` turns points into pixels. Left limbs are blue, right limbs are red.
"""

from dataclasses import dataclass
from functools import partial

import numpy as np
from PIL import Image, ImageDraw

from rollout.io.colours import LEFT, PAPER, RIGHT, TRAIL
from rollout.motion.skeleton import format_of

TRUNK = "#3b4252"
GROUND, GRID, SHADOW = "#f1f3f6", "#dce1e8", "#c9cfd8"
SUPERSAMPLING = 2  # drawn larger and averaged down, which smooths the lines

_TORSO_FILL = "#cdd3de"
_LIMBS = ((RIGHT, 0.045), (LEFT, 0.045), (TRUNK, 0.05), (RIGHT, 0.038), (LEFT, 0.038))  # radius in metres, by chain
_CAMERA_DISTANCE = 6.0
_CAMERA_AZIMUTH = np.radians(-45)  # someone walking along +z moves to the right
_CAMERA_ELEVATION = np.radians(17)
_GRID_STEP = 0.5


@dataclass(frozen=True)
class View:
    """A camera on `centre` [3]; a cell of `size` pixels, `pixels_per_metre` at the centre."""

    size: tuple[int, int]
    centre: np.ndarray
    pixels_per_metre: float

    def project(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Supersampled pixels [..., 2] and distances from the camera [...] of points [..., 3]."""
        sin_a, cos_a = np.sin(_CAMERA_AZIMUTH), np.cos(_CAMERA_AZIMUTH)
        sin_e, cos_e = np.sin(_CAMERA_ELEVATION), np.cos(_CAMERA_ELEVATION)
        towards = np.array([sin_a * cos_e, sin_e, cos_a * cos_e])
        right = np.array([cos_a, 0, -sin_a])
        relative = points - self.centre
        depth = np.maximum(_CAMERA_DISTANCE - relative @ towards, 0.1)
        scale = self.pixels_per_metre * SUPERSAMPLING * _CAMERA_DISTANCE / depth
        across, above = relative @ right * scale, relative @ np.cross(towards, right) * scale
        width, height = self.size
        return np.stack([width * SUPERSAMPLING / 2 + across, height * SUPERSAMPLING / 2 - above], axis=-1), depth


def scene(view: View, joints: np.ndarray, trail: np.ndarray, patch: np.ndarray) -> Image.Image:
    """One figure [22, 3] or [21, 3] on its ground, RGB of `view.size`.

    `trail` [T, 3] is the path of the root to draw on the ground; `patch` [2, 2] holds the corners (x, z) of the
    ground that is shown, whose grid of half metres stays fixed in the world.
    """
    width, height = view.size
    image = Image.new("RGB", (width * SUPERSAMPLING, height * SUPERSAMPLING), PAPER)
    draw = ImageDraw.Draw(image)
    _draw_ground(draw, view, patch)
    _draw_shadow(draw, view, joints)
    if len(trail) > 1:
        pixels, _ = view.project(trail * np.array([1, 0, 1]))
        draw.line([tuple(p) for p in pixels], fill=TRAIL, width=2 * SUPERSAMPLING, joint="curve")
    _draw_figure(draw, view, joints)
    return image.reduce(SUPERSAMPLING)


def _draw_ground(draw: ImageDraw.ImageDraw, view: View, patch: np.ndarray) -> None:
    (x0, z0), (x1, z1) = patch

    def on_ground(*points: tuple[float, float]) -> list[tuple]:
        pixels, _ = view.project(np.array([(x, 0.0, z) for x, z in points]))
        return [tuple(p) for p in pixels]

    draw.polygon(on_ground((x0, z0), (x0, z1), (x1, z1), (x1, z0)), fill=GROUND)
    for x in np.arange(np.ceil(x0 / _GRID_STEP), np.floor(x1 / _GRID_STEP) + 1) * _GRID_STEP:
        draw.line(on_ground((x, z0), (x, z1)), fill=GRID, width=SUPERSAMPLING)
    for z in np.arange(np.ceil(z0 / _GRID_STEP), np.floor(z1 / _GRID_STEP) + 1) * _GRID_STEP:
        draw.line(on_ground((x0, z), (x1, z)), fill=GRID, width=SUPERSAMPLING)


def _draw_shadow(draw: ImageDraw.ImageDraw, view: View, joints: np.ndarray) -> None:
    pixels, depth = view.project(joints * np.array([1, 0, 1]))
    for chain, (_, radius) in zip(format_of(joints).chains, _LIMBS):
        _draw_limb(draw, pixels[list(chain)], _radius_pixels(view, radius, depth[list(chain)].mean()), SHADOW)


def _draw_figure(draw: ImageDraw.ImageDraw, view: View, joints: np.ndarray) -> None:
    pixels, depth = view.project(joints)
    parts = []
    right_leg, left_leg, spine, right_arm, left_arm = chains = format_of(joints).chains
    for chain, (colour, radius) in zip(chains, _LIMBS):
        near = depth[list(chain[2:])].mean()
        parts.append((near, partial(_draw_rimmed, draw, pixels[list(chain)], _radius_pixels(view, radius, near), colour)))
    right_shoulder, left_shoulder = right_arm[-3], left_arm[-3]
    torso = [left_shoulder, right_shoulder, right_leg[1], left_leg[1]]
    # Behind every limb that is not clearly behind it.
    parts.append((depth[torso].mean() + 0.05, partial(draw.polygon, [tuple(p) for p in pixels[torso]], fill=_TORSO_FILL)))
    parts += _head_parts(draw, view, joints[list(spine[-2:])], joints[right_shoulder] - joints[left_shoulder])
    for _, drawer in sorted(parts, key=lambda part: -part[0]):
        drawer()


def _head_parts(draw: ImageDraw.ImageDraw, view: View, neck_and_head: np.ndarray, across: np.ndarray) -> list[tuple]:
    """The head as a disc, and a nose that shows where the shoulders, `across` from left to right, face."""
    neck, head = neck_and_head
    centre = head + 0.3 * (head - neck)
    facing = np.cross([0, 1, 0], across)
    nose = centre + 0.125 * facing / max(float(np.linalg.norm(facing)), 1e-6)
    parts = []
    for point, size, colour in ((centre, 0.115, TRUNK), (nose, 0.04, TRAIL)):
        pixel, depth = view.project(point)
        parts.append((depth, partial(_draw_disc, draw, pixel, _radius_pixels(view, size, depth), colour)))
    return parts


def _draw_rimmed(draw, pixels: np.ndarray, radius: float, colour: str) -> None:
    _draw_limb(draw, pixels, radius + 1.2 * SUPERSAMPLING, PAPER)  # so that crossing limbs stay apart
    _draw_limb(draw, pixels, radius, colour)


def _draw_limb(draw, pixels: np.ndarray, radius: float, colour: str) -> None:
    draw.line([tuple(p) for p in pixels], fill=colour, width=max(1, round(2 * radius)))
    for pixel in pixels:
        _draw_disc(draw, pixel, radius, colour)


def _draw_disc(draw, pixel: np.ndarray, radius: float, colour: str) -> None:
    draw.ellipse((*(pixel - radius), *(pixel + radius)), fill=colour)


def _radius_pixels(view: View, radius: float, depth: float) -> float:
    return radius * view.pixels_per_metre * SUPERSAMPLING * _CAMERA_DISTANCE / float(depth)
