"""Base beside tuned, for a person: what a target is, what both masks hold, where the points are, and what the reward is made of."""

import json

import numpy as np
import pytest
from PIL import Image

from rollout.family import Change, Judged
from rollout.io.colours import LEFT, RIGHT, TRAIL
from rollout.language.before_after import MARKED, draw
from rollout.language.items import Item, Target
from rollout.language.marked import Marked
from rollout.language.media import rle_of_mask
from rollout.policy import Group

SIDE = 43  # of the image: a fifth of what is drawn
GREY = 200
TRUE, LEAKED = np.zeros((2, SIDE, SIDE), bool)
TRUE[10:20, 10:20], LEAKED[10:20, 10:35] = True, True


@pytest.fixture
def item(tmp_path):
    Image.new("RGB", (SIDE, SIDE), (GREY,) * 3).save(tmp_path / "scene.png")
    target = Target((SIDE, SIDE), json.dumps(rle_of_mask(TRUE)), (10, 10, 20, 20), ((15.0, 15.0),))
    return Item("who <else>", problem_type="segmentation", media=(("image", str(tmp_path / "scene.png")),), target=target)


def group(item, text):
    nothing = np.zeros((1, 0), np.float32)
    return Group(item, "", nothing, np.ones(1, int), nothing, nothing.astype(bool), {"text": np.array([text], object)}, (0,), 0, "")


def judged(mask, *negatives, iou=0.5):
    measured = {"iou": iou, "negatives": json.dumps(negatives), "mask": json.dumps(rle_of_mask(mask))}
    return Judged(iou + 0.1, {"points": iou + 0.1, "format": 1.0}, measured)


def pixels(path, number):
    """Of the picture at a place in the row."""
    whole = np.asarray(Image.open(path).convert("RGB"))
    return whole[18 : 18 + MARKED, number * (MARKED + 10) : number * (MARKED + 10) + MARKED]


def at(picture, x, y):
    return picture[int((y + 0.5) * MARKED / SIDE), int((x + 0.5) * MARKED / SIDE)].tolist()


def colour(name):
    return list(bytes.fromhex(name[1:]))


def test_a_page_shows_the_target_both_masks_and_the_points_of_both_answers(item, tmp_path):
    base, tuned = judged(LEAKED, (5.5, 40.5)), judged(TRUE, (30.5, 15.5), iou=1.0)
    draw(tmp_path, [Change(group(item, "<think>a</think><answer>b</answer>"), group(item, "c"), 0, base, tuned)])
    asked, true, before, after = (pixels(tmp_path / "before_after_1.png", number) for number in range(4))
    assert at(asked, 15, 15) == colour(LEFT) and at(asked, 40, 40) == [GREY] * 3
    dim = [70] * 3
    for picture, held in ((true, TRUE), (before, LEAKED), (after, TRUE)):
        assert at(picture, 12, 17) == [GREY] * 3 and at(picture, 40, 5) == dim
        assert at(picture, 32, 12) == ([GREY] * 3 if held[12, 32] else dim)
        assert (picture == colour(TRAIL)).all(-1).any()
    assert at(before, 5, 40) == at(after, 30, 15) == colour(RIGHT) and at(true, 5, 40) == at(true, 30, 15) == dim
    page = (tmp_path / "before_after.html").read_text()
    assert page.count("<img") == 4 and "who &lt;else&gt;" in page and "base: IoU 0.50" in page and "tuned: IoU 1.00" in page
    assert "base: reward 0.600 (points 0.600, format 1.000)" in page and f'<span style="color:{RIGHT}">b</span>' in page


def test_an_answer_without_points_shows_the_picture_as_it_is(item, tmp_path):
    nothing = Judged(-0.3, {"points": -0.3}, {"iou": np.nan, "negatives": "", "mask": ""})
    draw(tmp_path, [Change(group(item, "x"), group(item, "y"), 0, nothing, judged(TRUE))])
    assert (pixels(tmp_path / "before_after_1.png", 2) == GREY).all()
    assert "base: no points" in (tmp_path / "before_after.html").read_text()


def test_pictures_that_are_gone_leave_the_words(item, tmp_path):
    (tmp_path / "scene.png").unlink()
    draw(tmp_path, [Change(group(item, "x"), group(item, "y"), 0, judged(TRUE), judged(TRUE))])
    assert "<img" not in (tmp_path / "before_after.html").read_text() and (tmp_path / "before_after_1.png").is_file()


def test_a_large_image_is_shown_whole():
    assert Marked(Image.new("RGB", (800, 400)), 200).masked(np.ones((400, 800), bool)).size == (200, 100)


def test_every_frame_of_a_video_is_on_the_page(tmp_path):
    colours = [(30 * number, 5, 250 - 30 * number) for number in range(8)]
    np.save(tmp_path / "video.npy", np.stack([np.full((20, 30, 3), each, np.uint8) for each in colours]))
    item = Item("what happens", media=(("video", str(tmp_path / "video.npy")),))
    plain = Judged(0.5, {"accuracy": 0.5}, {})
    draw(tmp_path, [Change(group(item, "x"), group(item, "y"), 0, plain, plain)])
    page = np.asarray(Image.open(tmp_path / "before_after_1.png").convert("RGB"))
    assert all((page == each).all(-1).any() for each in colours)
