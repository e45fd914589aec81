"""Answers for a browser, and what the model was shown: the frames, or the image with the region that was asked for."""

import base64
import functools
import io
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from PIL import Image
from tokenizers import Tokenizer

from learner.report.family import Texts
from rollout.family import family
from rollout.io.errors import InputError
from rollout.language.items import Item, read_items
from rollout.language.marked import Marked
from rollout.language.media import read_frames, read_image, read_mask
from rollout.policy import arrays_digest
from rollout.seeds import Purpose

TALL, WIDE = 120, 960  # pixels of a picture beside a prompt
MARKED = 240  # pixels of the longer side of an image in which something is marked
QUALITY = 60  # of WebP
SPACES = {"0-1": 1, "0-1000": 1000}  # those of points that the size of an image is not needed for
TAGS = re.compile(r"</?\w+>")


class ShownAnswer:
    """See `learner.report.family.Shown`."""

    kind = "text"
    column = "text"
    beside = ("token_ids",)

    def pack(self, value: str, row: Mapping[str, Any]) -> bytes:
        return value.encode()

    def facts(self, config: Any, example: object) -> dict[str, Any]:
        """The tags of an answer, and by what its points are to be divided to be shares of the image; None where it has none."""
        parts = config.reward.parsed().values() if config else ()
        spaces = [part.options.get("space", "0-1") for part in parts if part.path == "negative_points"]
        return {"tags": ["context", "think", "answer"], "points": SPACES.get(spaces[0]) if spaces else None}

    def texts(self, config: Any) -> Texts | None:
        """By the tokenizer of the run's model; None where it is gone, and for an answer that it would not write so."""
        if config is None:
            return None
        try:
            tokenizer = Tokenizer.from_file(str(config.model.checkpoint / "tokenizer.json"))
        except Exception:  # of a file that is not there, or damaged
            return None

        def of(row: Mapping[str, Any]) -> list[str] | None:
            ids = row["token_ids"]
            if not ids or not tokenizer.decode(ids, skip_special_tokens=False).startswith(row["text"]):
                return None
            return [tokenizer.decode([each], skip_special_tokens=False) for each in ids]

        return of

    def prompts(self, config: Any, standing: Mapping[str, str]) -> "PromptPictures | None":
        """None where the items can no longer be read, or are others by now: a group would stand beside a picture that is not its own."""
        own = family("language")
        if config is None:
            return None
        try:
            files = (config.rollout.prompts or own.shipped("training", config), config.evaluate.heldout or own.shipped("heldout", config))
            training, heldout = (read_items(path, tell=lambda line: None) for path in files)
        except (InputError, OSError):
            return None
        return PromptPictures(config, training, heldout) if standing.get("training prompts") == arrays_digest({}, repr(training)) else None


class PromptPictures:
    """The items of a run, by the seeds of its groups."""

    def __init__(self, config: Any, training: list[Item], heldout: list[Item]):
        self.config, self.training = config, training
        known = {item.asked for item in training}
        self.heldout = [item for item in heldout if item.asked not in known]

    def item(self, seed: tuple[int, ...], text: str) -> Item | None:
        """The item of the group of that seed, whose prompt is `text`; None where it is not to be found."""
        from learner.run.plan import deal  # with torch

        run, purpose, *which = seed
        if purpose == Purpose.TRAINING:
            iteration, place = which
            position = iteration * self.config.rollout.prompts_per_iteration + place
            found = self.training[deal(run, position, len(self.training))]
        else:
            found = self.heldout[which[0]] if which[0] < len(self.heldout) else None
        return found if found and found.text == text else None

    def picture(self, seed: tuple[int, ...], text: str) -> str | None:
        item = self.item(seed, text)
        try:
            return item and item.media and _picture(item)
        except InputError:
            return None


    def truth(self, seed: tuple[int, ...], text: str) -> str | None:
        item = self.item(seed, text)
        return TAGS.sub("", item.solution).strip() or None if item else None


@functools.lru_cache(maxsize=4096)
def _picture(item: Item) -> str | None:
    """What was shown, side by side: all frames of a video; of a region the image with box and points, and with its mask."""
    shown: list[Image.Image] = []
    for kind, path in item.media:
        if kind == "image" and item.target:
            marked = Marked(read_image(path), MARKED)
            shown += [marked.asked(item.target), marked.masked(read_mask(item.target))]
        elif kind == "image":
            shown.append(read_image(Path(path)))
        elif kind == "video":
            shown += read_frames(path, 8).images
    if not shown:
        return None
    tall = MARKED if item.target else min(TALL, int(WIDE / sum(each.width / each.height for each in shown)) or 1)
    shown = [each.convert("RGB").resize((max(1, round(each.width * tall / each.height)), tall)) for each in shown]
    strip = Image.new("RGB", (sum(each.width for each in shown), tall))
    left = 0
    for each in shown:
        strip.paste(each, (left, 0))
        left += each.width
    file = io.BytesIO()
    strip.save(file, "WEBP", quality=QUALITY)
    return f"data:image/webp;base64,{base64.b64encode(file.getvalue()).decode()}"


LANGUAGE = ShownAnswer()
