"""From points and a box to a mask: SAM2, or a stand-in for drawn scenes that says it is not SAM."""

from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np

from rollout.io.errors import InputError
from rollout.language.media import read_image, read_levels

Point = tuple[float, float]
MEAN, STD = np.array([0.485, 0.456, 0.406], np.float32), np.array([0.229, 0.224, 0.225], np.float32)  # ImageNet's
LABELS = ".labels.png"  # in place of an image's suffix


class Asked(NamedTuple):
    """What to segment, in pixels of the image: a box x0, y0, x1, y1, points of the target and points that are not of it."""

    box: tuple[float, float, float, float]
    points: tuple[Point, ...]
    negatives: tuple[Point, ...]


class Segmenter(Protocol):
    """Pure: the same image and questions get the same masks, in whatever company they come."""

    def masks(self, image: str, asked: list[Asked]) -> list[np.ndarray]:
        """bool [H, W] of each question about one image. Raises InputError for an image that cannot be read."""


class LabelMap:
    """A deterministic stand-in for drawn scenes. It is not SAM and sees no image: it reads which blob each pixel is of.

    For a scene X.png that is X.labels.png, 8 bits: 0 the background, 1..n blobs. The blobs under the points are selected; blobs that
    touch a selected one (by an edge or a corner) leak into the mask. A blob that a negative hits, leaked or selected, is left out.
    """

    def masks(self, image: str, asked: list[Asked]) -> list[np.ndarray]:
        labels = read_levels(Path(image).with_suffix(LABELS))
        if labels.ndim != 2 or labels.dtype != np.uint8:
            raise InputError(f"{Path(image).with_suffix(LABELS)}: found {labels.dtype} of shape {labels.shape}, expected 8-bit grey")
        touching = _touching(labels)
        return [self._mask(labels, touching, each) for each in asked]

    @staticmethod
    def _mask(labels: np.ndarray, touching: np.ndarray, asked: Asked) -> np.ndarray:
        selected, hit = ({int(labels[pixel(point, labels.shape)]) for point in points} - {0} for points in (asked.points, asked.negatives))
        leaked = {int(blob) for one in selected for blob in np.flatnonzero(touching[one])}
        return np.isin(labels, sorted((selected | leaked) - hit))


class Sam2:
    """SAM2 of `transformers` from a local folder, on `device`. An image is embedded once for all questions about it, and questions are
    decoded in batches of one number of points, since padding with labels is not exact."""

    def __init__(self, folder: str, device: str):
        """Raises InputError, one line, for a folder that is not a whole SAM2."""
        path = Path(folder)
        for name in ("config.json", "model.safetensors"):
            if not (path / name).is_file():
                raise InputError(f"{path}: has no {name}, expected a folder of a SAM2 checkpoint, or label_map")
        import torch  # seconds, for processes that segment only
        from transformers import Sam2Model
        from transformers.utils import logging

        logging.set_verbosity_error()
        logging.disable_progress_bar()
        try:
            self.model, info = Sam2Model.from_pretrained(path, local_files_only=True, output_loading_info=True, dtype=torch.float32)
        except Exception as error:
            raise InputError(f"{path}: not a SAM2 checkpoint ({type(error).__name__}: {' '.join(str(error).split())[:120]})") from None
        if lacking := sorted(info["missing_keys"]):
            raise InputError(f"{path}: not a SAM2 checkpoint, it lacks {len(lacking)} weights such as {lacking[0]}")
        self.model, self.device = self.model.to(device).eval(), device
        size = self.model.config.prompt_encoder_config.image_size
        self.size = size if isinstance(size, int) else size[0]

    def masks(self, image: str, asked: list[Asked]) -> list[np.ndarray]:
        import torch
        from PIL import Image

        picture = read_image(image)
        width, height = picture.size
        scale = np.array([self.size / width, self.size / height], np.float32)
        pixels = np.asarray(picture.resize((self.size, self.size), Image.Resampling.BILINEAR), np.float32) / 255
        found: dict[int, np.ndarray] = {}
        with torch.inference_mode():
            tensor = torch.from_numpy(((pixels - MEAN) / STD).transpose(2, 0, 1)[None].copy()).to(self.device)
            embeddings = self.model.get_image_embeddings(tensor)
            for counts in sorted({(len(each.points), len(each.negatives)) for each in asked}):
                rows = [i for i, each in enumerate(asked) if (len(each.points), len(each.negatives)) == counts]
                boxes = np.array([asked[i].box for i in rows], np.float32).reshape(-1, 2, 2) * scale
                given = {"input_boxes": torch.from_numpy(boxes.reshape(1, -1, 4))}
                if sum(counts):
                    points = np.array([[*asked[i].points, *asked[i].negatives] for i in rows], np.float32) * scale
                    labels = np.tile(np.repeat([1, 0], counts), (len(rows), 1))
                    given |= {"input_points": torch.from_numpy(points[None]), "input_labels": torch.from_numpy(labels[None])}
                given = {name: value.to(self.device) for name, value in given.items()}
                logits = self.model(**given, image_embeddings=embeddings, multimask_output=False).pred_masks[0, :, :1]
                whole = torch.nn.functional.interpolate(logits.float(), (height, width), mode="bilinear", align_corners=False)
                found |= dict(zip(rows, (whole[:, 0] > 0).cpu().numpy()))
        return [found[i] for i in range(len(asked))]


def make_segmenter(segmenter: str, device: str) -> Segmenter:
    """"label_map", or SAM2 from a folder."""
    if not isinstance(segmenter, str) or not segmenter:
        raise InputError(f"segmenter: found {segmenter!r}, expected label_map or a folder of SAM2")
    return LabelMap() if segmenter == "label_map" else Sam2(segmenter, device)


def pixel(point: Point, shape: tuple[int, ...]) -> tuple[int, int]:
    """Row and column of the pixel that a point, x and y, lies in; on the far edge, the last one."""
    return min(max(int(point[1]), 0), shape[0] - 1), min(max(int(point[0]), 0), shape[1] - 1)


def _touching(labels: np.ndarray) -> np.ndarray:
    """bool [256, 256]: which different blobs have neighbouring pixels."""
    touching = np.zeros((256, 256), bool)
    for a, b in (
        (labels[1:], labels[:-1]), (labels[:, 1:], labels[:, :-1]), (labels[1:, 1:], labels[:-1, :-1]), (labels[1:, :-1], labels[:-1, 1:]),
    ):  # fmt: skip
        touching[a, b] = touching[b, a] = True
    touching[0] = touching[:, 0] = False
    np.fill_diagonal(touching, False)
    return touching
