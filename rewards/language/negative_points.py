"""Points that tell a segmenter what the target is not.

Box and positive points are the item's own and the same for a group; an answer names negatives, in its only <answer>, as JSON:

    {"negative_points": [[x, y], ...]}

An empty list is valid: it leaves the mask as it is without negatives.
"""

import json
import math

import numpy as np

from rewards.language.answers import Answers
from rewards.language.segmenters import Asked, Point, make_segmenter, pixel
from rewards.options import choice, count, number
from rewards.reward import Told
from rollout.io.errors import InputError
from rollout.language.items import Item, Target
from rollout.language.media import read_mask, rle_of_mask

SPACES = ("0-1", "pixels", "0-1000")
LONGEST = 20_000  # characters of an answer; five points need a hundred
MEASURES = ("iou", "baseline_iou", "gain", "negatives", "in_confused", "in_target", "parsed")


class NegativePoints:
    """`negative_points`: IoU(mask with the negatives, truth) + `negatives` x (share of them in the confused region - share inside the
    target) + `format`; an answer that is none gets -`negatives`, below every valid one. float32 [N].

    The confused region is what the mask without negatives has and the truth has not. At most `most` negatives count, in their order,
    and of those in one pixel the first. NaN, with the reason, for an item whose image, mask or target cannot be read.
    """

    def __init__(
        self, device: str = "cpu", segmenter: str = "label_map", space: str = "0-1", negatives: float = 0.3, format: float = 0.1, most: int = 5,
        factor: int = 28, min_pixels: int = 56 * 56, max_pixels: int = 28 * 28 * 16384,
    ):  # fmt: skip
        """segmenter: label_map (a stand-in for drawn scenes, not SAM), or a local folder of SAM2. space: that of the answer's points:
        0-1, pixels of the image as a Qwen2.5-VL was shown it (resized to multiples of `factor` between min_pixels and max_pixels),
        or 0-1000."""
        self.segmenter = make_segmenter(segmenter, device)
        self.space, self.most = choice("space", space, SPACES), count("most", most)
        self.negatives, self.format = number("negatives", negatives, above=0), number("format", format, above=0)
        self.resizing = count("factor", factor), count("min_pixels", min_pixels), count("max_pixels", max_pixels)
        self._seen: tuple[Answers | None, dict[str, np.ndarray], Told] = (None, {}, Told(np.zeros(0)))
        self._read: dict[int, tuple[tuple[Point, ...], np.ndarray]] = {}

    def cannot(self, item: Item) -> str | None:
        """Why no answer to `item` can be scored, if none can."""
        if item.target is None or not any(kind == "image" for kind, _ in item.media):
            return f"problem type {item.problem_type!r} has no image and target, which negative_points needs"

    def __call__(self, answers: Answers) -> Told:
        return self.measured(answers)[1]

    def measured(self, answers: Answers) -> tuple[dict[str, np.ndarray], Told]:
        """What the score is made of, float32 [N] each of MEASURES, and the score. The last ones are kept: who evaluates asks twice."""
        if self._seen[0] is not answers:
            measures = {name: np.full(len(answers), np.nan, np.float32) for name in MEASURES}
            told, self._read = Told(np.full(len(answers), np.nan, np.float32)), {}
            of_item: dict[int, list[int]] = {}
            for i, item in enumerate(answers.items):
                of_item.setdefault(id(item), []).append(i)
            for rows in of_item.values():
                try:
                    self._score(answers, rows, measures, told)
                except InputError as error:
                    told.reasons |= {i: str(error) for i in rows}
            self._seen = answers, measures, told
        return self._seen[1:]

    def shown(self, answers: Answers) -> dict[str, np.ndarray]:
        """What a picture shows of each, object [N], "" where there is none: `negatives`, JSON of [x, y] in pixels, and `mask`, a run-length
        encoding."""
        self.measured(answers)
        read = [self._read.get(i) for i in range(len(answers))]
        return {
            "negatives": np.array(["" if each is None else json.dumps(each[0]) for each in read], object),
            "mask": np.array(["" if each is None else json.dumps(rle_of_mask(each[1])) for each in read], object),
        }  # fmt: skip

    def _score(self, answers: Answers, rows: list[int], measures: dict[str, np.ndarray], told: Told) -> None:
        """All answers to one item, by one look of the segmenter at its image."""
        item = answers.items[rows[0]]
        if why := self.cannot(item):
            raise InputError(why)
        target = item.target
        truth = read_mask(target)
        if not truth.any():
            raise InputError("mask: no pixel is of the target")
        image = next(path for kind, path in item.media if kind == "image")
        read = {i: self.points_of(answers.completions[i], target) for i in rows}
        asked = {(): 0} | {points: 0 for points in read.values() if points}
        masks = self.segmenter.masks(image, [Asked(target.box, target.points, points) for points in asked])
        of = dict(zip(asked, masks))
        if of[()].shape != truth.shape:
            raise InputError(f"{image}: {of[()].shape[1]} x {of[()].shape[0]} pixels, expected {target.size[0]} x {target.size[1]}")
        confused, baseline = of[()] & ~truth, _iou(of[()], truth)
        for i, points in read.items():
            found = {"baseline_iou": baseline, "parsed": float(points is not None)}
            told.values[i] = -self.negatives
            if points is not None:
                places = [pixel(point, truth.shape) for point in points]
                in_confused, in_target = (float(np.mean([region[place] for place in places])) if places else 0.0 for region in (confused, truth))
                iou, self._read[i] = _iou(of[points], truth), (points, of[points])
                found |= {"iou": iou, "gain": iou - baseline, "negatives": len(points), "in_confused": in_confused, "in_target": in_target}
                told.values[i] = iou + self.negatives * (in_confused - in_target) + self.format
            for name, value in found.items():
                measures[name][i] = value

    def points_of(self, completion: str, target: Target) -> tuple[Point, ...] | None:
        """The negatives of an answer, in pixels of the original image; None for one that does not keep to the form."""
        if completion.count("<answer>") != 1 or completion.count("</answer>") != 1:
            return None
        text = completion[completion.find("<answer>") + len("<answer>") :]
        text, closed, _ = text.partition("</answer>")
        if not closed or len(text) > LONGEST:
            return None
        try:
            found = json.loads(text, parse_constant=_refuse)
        except (ValueError, RecursionError):
            return None
        points = found.get("negative_points") if isinstance(found, dict) else None
        if not isinstance(points, list) or not all(map(_is_pair, points)):
            return None
        across, down = self.extent(target.size)
        if not all(0 <= x <= across and 0 <= y <= down for x, y in points):
            return None
        width, height = target.size
        kept: dict[tuple[int, int], Point] = {}
        for x, y in points:
            point = (x / across * width, y / down * height)
            kept.setdefault(pixel(point, (height, width)), point)
        return tuple(kept.values())[: self.most]

    def extent(self, size: tuple[int, int]) -> tuple[float, float]:
        """Width and height of an image of `size` in the space of the answers: the one place where spaces are told apart."""
        if self.space == "pixels":
            return seen_size(size, *self.resizing)
        return {"0-1": (1, 1), "0-1000": (1000, 1000)}[self.space]


def seen_size(size: tuple[int, int], factor: int, min_pixels: int, max_pixels: int) -> tuple[int, int]:
    """Width and height of an image of `size` as Qwen2.5-VL's processor resizes it: multiples of `factor` near it, within the bounds."""
    width, height = (max(factor, round(side / factor) * factor) for side in size)
    if width * height > max_pixels:
        shrunk = math.sqrt(size[0] * size[1] / max_pixels)
        width, height = (max(factor, math.floor(side / shrunk / factor) * factor) for side in size)
    elif width * height < min_pixels:
        grown = math.sqrt(min_pixels / (size[0] * size[1]))
        width, height = (math.ceil(side * grown / factor) * factor for side in size)
    return width, height


def _iou(a: np.ndarray, b: np.ndarray) -> float:
    return float((a & b).sum() / max(1, (a | b).sum()))


def _is_pair(point: object) -> bool:
    return isinstance(point, list) and len(point) == 2 and all(type(n) in (int, float) and abs(n) < 1e9 for n in point)


def _refuse(constant: str) -> None:
    raise ValueError(constant)
