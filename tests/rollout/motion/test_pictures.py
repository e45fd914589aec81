"""Pictures of motions: what can be checked of them without eyes."""

import numpy as np
import pytest
from PIL import Image

from rollout.io.colours import LEFT, RIGHT, TRAIL
from rollout.io.errors import InputError
from rollout.motion.pictures import contact_sheet, motions_gif
from rollout.motion.stick_figures import SUPERSAMPLING, TRUNK, View, scene
from tests.figures import kit_stander, pixels, walker

PATCH = np.array([[-0.6, -0.6], [0.6, 0.6]])


def view() -> View:
    return View((150, 200), np.array([0, 0.85, 0]), 80)


def test_projection_keeps_up_up_forward_right_and_near_large():
    points, depth = view().project(np.array([[0, 0.85, 0], [0, 1.85, 0], [0, 0.85, 1], [-1, 0.85, 1], [1, 0.85, -1]]))
    centre, above, ahead, near, far = points
    assert tuple(centre) == (75 * SUPERSAMPLING, 100 * SUPERSAMPLING)
    assert above[1] < centre[1] and above[0] == pytest.approx(centre[0])
    assert ahead[0] > centre[0]
    assert depth[3] < depth[0] < depth[4]
    assert abs(near[1] - centre[1]) > abs(far[1] - centre[1])


def test_left_and_right_have_their_colours_and_sides():
    """The camera stands to the right of someone who looks along +z, so the right limbs are lower in the picture."""
    image = scene(view(), walker(1)[0], np.zeros((1, 3)), PATCH)
    assert pixels(image, RIGHT)[:, 0].max() > pixels(image, LEFT)[:, 0].max()
    mirrored = walker(1)[0] * [-1, 1, 1]
    image = scene(view(), mirrored, np.zeros((1, 3)), PATCH)
    assert pixels(image, LEFT)[:, 0].max() > pixels(image, RIGHT)[:, 0].max()


def test_a_raised_arm_reaches_above_the_head():
    joints = walker(1)[0]
    for order, joint in enumerate((18, 20)):
        joints[joint] = joints[16] + [0, 0.35 * (order + 1), 0]
    image = scene(view(), joints, np.zeros((1, 3)), PATCH)
    assert pixels(image, LEFT)[:, 0].min() < pixels(image, TRUNK)[:, 0].min()


def test_the_trail_is_drawn_where_the_root_went():
    trail = np.array([[0, 0.9, -0.5], [0, 0.9, 0.0]])
    with_trail = scene(view(), walker(1)[0], trail, PATCH)
    without = scene(view(), walker(1)[0], trail[:1], PATCH)
    assert len(pixels(with_trail, TRAIL)) > len(pixels(without, TRAIL))


def test_contact_sheet_grows_by_rows_and_not_by_captions(tmp_path):
    contact_sheet(tmp_path / "one.png", [("a person walks", walker())])
    contact_sheet(tmp_path / "two.png", [("a person walks", walker()), ("on and on " * 80, walker(35))])
    one, two = Image.open(tmp_path / "one.png"), Image.open(tmp_path / "two.png")
    assert two.width == one.width and two.height > 1.7 * one.height
    assert min(len(pixels(two, colour)) for colour in (LEFT, RIGHT, TRUNK)) > 1000


def test_every_motion_has_its_cell_in_an_animation_of_the_longest(tmp_path):
    motions_gif(tmp_path / "one.gif", [("a person walks", walker(12))])
    motions_gif(tmp_path / "five.gif", [(f"a person walks on and on for the {i}th time " * i, walker(6 + 6 * i)) for i in range(5)])
    one, five = Image.open(tmp_path / "one.gif"), Image.open(tmp_path / "five.gif")
    assert (one.n_frames, five.n_frames) == (12, 30) and five.info["duration"] == 50
    assert five.width > 3.9 * one.width and five.height > 1.9 * one.height
    five.seek(20)
    image = np.asarray(five.convert("RGB"))
    cells = [image[row : row + one.height, column : column + one.width] for row in (0, one.height) for column in range(0, 790, 262)]
    blue = [len(pixels(Image.fromarray(cell), LEFT)) > 100 for cell in cells]
    assert blue == [True] * 5 + [False] * 3


def test_a_motion_that_blew_up_still_has_its_pictures(tmp_path):
    broken = walker(12)
    broken[3:] *= 1e30
    broken[5, 4] = np.nan
    contact_sheet(tmp_path / "sheet.png", [("broken", broken), ("one frame", walker(1))])
    motions_gif(tmp_path / "motion.gif", [("broken", broken), ("one frame", walker(1))])
    assert Image.open(tmp_path / "sheet.png").size[1] > 300
    assert Image.open(tmp_path / "motion.gif").n_frames > 1


def test_kit_motions_are_drawn_as_large_as_others_at_their_own_rate(tmp_path):
    motions_gif(tmp_path / "kit.gif", [("stands", kit_stander(5))])
    motions_gif(tmp_path / "other.gif", [("stands", walker(5, speed=0))])
    kit, other = Image.open(tmp_path / "kit.gif"), Image.open(tmp_path / "other.gif")
    # Frames that are the same are one in the file: four of the rate, and the last one held.
    assert (kit.info["duration"], other.info["duration"]) == (4 * 80 + 800, 4 * 50 + 800)
    for colour in (LEFT, RIGHT, TRUNK):
        heights = [np.ptp(pixels(image, colour)[:, 0]) for image in (kit, other)]
        assert 0.7 < heights[0] / heights[1] < 1.4
    assert pixels(kit, RIGHT)[:, 0].max() > pixels(kit, LEFT)[:, 0].max()
    contact_sheet(tmp_path / "kit.png", [("stands", kit_stander(5))])


def test_a_body_of_other_joints_is_refused(tmp_path):
    with pytest.raises(InputError, match="found shape .5, 20, 3., expected .* 22, 3. or KIT's"):
        motions_gif(tmp_path / "no.gif", [("stands", np.zeros((5, 20, 3)))])
