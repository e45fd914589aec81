"""What a vision-language model is asked: a question about an image, a video or a recording, and what is true of it."""

import json
from dataclasses import dataclass

from rollout.policy import Prompt


@dataclass(frozen=True)
class Target:
    """A region of an image that is to be found; everything in pixels of the original image.

    `size`: width, height. `mask`: path of a PNG, or a COCO run-length encoding as JSON text. `box`: x0, y0, x1, y1.
    `points`: positive points (x, y).
    """

    size: tuple[int, int]
    mask: str
    box: tuple[float, float, float, float]
    points: tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Item(Prompt):
    """One question. `text` is the whole of it as the model is told it.

    `problem_type`: the data's own name of it ("multiple choice", "numerical", ...; "segmentation" has a `target`). `solution`:
    as the row has it, tags kept. `media`: (kind, absolute path), kind image, video or audio. `source`: file and row, for messages.
    `media_sha256`: of the bytes of each of `media`, "" where they are not known yet.
    """

    problem: str = ""
    problem_type: str = ""
    options: tuple[str, ...] = ()
    solution: str = ""
    media: tuple[tuple[str, str], ...] = ()
    target: Target | None = None
    source: str = ""
    media_sha256: tuple[str, ...] = ()

    @property
    def told(self) -> str:
        """All that it says. Media whose bytes are known are told by these and not by their paths, so that another image under
        the same name is noticed, and the same one in another place is not."""
        known = self.media_sha256 or ("",) * len(self.media)
        media = [(kind, digest or path) for (kind, path), digest in zip(self.media, known)]
        target = self.target and (self.target.size, self.target.mask, self.target.box, self.target.points)
        return json.dumps([self.text, self.problem_type, self.solution, media, target], ensure_ascii=False)
