"""From a question and its media to the arrays that a vision-language model reads, without torchvision.

Pixels stay whole numbers until they are on the model's device: four times smaller on their way, and `levels` gives each the very
number that the model's own image processor makes of it.
"""

from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from rollout.io.errors import InputError
from rollout.io.text_files import read_json
from rollout.language.architectures import require_inputs
from rollout.language.checkpoint import Opened
from rollout.language.items import Item
from rollout.language.media import Frames
from rollout.language.settings import Model
from rollout.language.template import SYSTEM


class Encoded(NamedTuple):
    """A medium as the model reads it, whatever it is asked about it: its arrays, and what stands for it in the text."""

    kind: str
    arrays: dict[str, np.ndarray]
    place: str


class Processor:
    """Of one checkpoint, with the settings of the section model."""

    def __init__(self, opened: Opened, model: Model = Model()):
        self.opened, self.blank = opened, model.blank
        self.system = SYSTEM if model.system == "tags" else model.system
        self.images, self.tokenizer = opened.images, opened.tokenizer
        self._bounds = {name: value for name, value in (("shortest_edge", model.min_pixels), ("longest_edge", model.max_pixels)) if value}
        self.tokens = {kind: self.tokenizer.convert_ids_to_tokens(i) for kind, i in opened.ids.items()}

    def encoded(self, kind: str, content: Any) -> Encoded:
        """content: what was read: an image, `Frames`, or mono sound [n] at the model's rate. Raises InputError for what the model cannot be
        shown."""
        if kind not in self.tokens:
            raise InputError(f"has {kind}, {self.opened.architecture.name} reads {', '.join(self.tokens)} only")
        return Encoded(kind, *getattr(self, f"_{kind}")(content))

    def __call__(self, item: Item, media: list[Encoded]) -> dict[str, np.ndarray]:
        """media: in the item's order. Arrays by the model's own names, those of a single medium shared with whoever else is asked about it;
        pixel values are levels 0 to 255. Raises InputError for what the model cannot be told."""
        where = item.source or f"prompt {item.text[:60]!r}"
        if special := [token for token in self.tokenizer.all_special_tokens if token in item.text]:
            raise InputError(f"{where}: its text holds {special[0]!r}, which has a meaning of its own to the model")
        found, places = {}, {kind: [] for kind in self.tokens}
        for kind, arrays, place in media:
            places[kind].append(place)
            for name, array in arrays.items():
                found.setdefault(name, []).append(array)
        text = self._told(item, [each.kind for each in media])
        for kind, token in self.tokens.items():
            parts = text.split(token)
            if len(parts) != len(places[kind]) + 1:
                raise InputError(f"{where}: the chat template has {len(parts) - 1} places for {len(places[kind])} of {kind}")
            text = "".join(part + place for part, place in zip(parts, [*places[kind], ""]))
        input_ids = np.array(self.tokenizer.encode(text, add_special_tokens=False), np.int64)
        arrays = {"input_ids": input_ids} | {name: _joined(parts) for name, parts in found.items()}
        if "mm_token_type_ids" in self.opened.architecture.always:
            types = np.zeros(len(input_ids), np.int64)
            for kind, medium in self.opened.architecture.media.items():
                types[input_ids == self.opened.ids[kind]] = medium.number
            arrays["mm_token_type_ids"] = types
        require_inputs(self.opened.architecture, self.opened.ids, arrays, tuple(each.kind for each in media), where)
        return arrays

    def _told(self, item: Item, kinds: list[str]) -> str:
        content = [{"type": kind} for kind in kinds] + [{"type": "text", "text": item.text}]
        messages = ([{"role": "system", "content": self.system}] if self.system else []) + [{"role": "user", "content": content}]
        try:
            return self.tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
        except Exception as error:  # a template is a program of others, in jinja's sandbox
            raise InputError(f"{self.opened.path}: its chat template failed: {type(error).__name__}: {str(error)[:120]}") from None

    def _image(self, image: Image.Image):
        patches, grid = self._patches([image], self._sized(self.images.size))
        return {"pixel_values": patches, "image_grid_thw": grid}, self.tokens["image"] * (int(grid.prod()) // self.images.merge_size**2)

    def _video(self, video: Frames):
        patches, grid = self._patches(video.images, self._video_size)
        seconds = self.images.temporal_patch_size / video.per_second
        arrays = {"pixel_values_videos": patches, "video_grid_thw": grid}
        for key in ("second_per_grid_ts", "video_second_per_grid"):
            if key in self.opened.architecture.known:
                arrays[key] = np.array([seconds], np.float32)
        step = self.tokens["video"] * (int(grid[0, 1:].prod()) // self.images.merge_size**2)
        if self.opened.architecture.name != "qwen3_vl":
            return arrays, step * int(grid[0, 0])
        # Qwen3-VL is told when each pair of frames was seen, and every pair has borders of its own.
        start, end = (self.tokenizer.convert_ids_to_tokens(getattr(self.opened.config, f"vision_{name}_token_id")) for name in ("start", "end"))
        half = (self.images.temporal_patch_size - 1) / (2 * video.per_second)
        steps = [f"<{t * seconds + half:.1f} seconds>{start}{step}{end}" for t in range(int(grid[0, 0]))]
        return arrays, "".join(steps)

    def _audio(self, sound: np.ndarray):
        features = self.opened.sounds
        found = features(
            np.zeros_like(sound) if self.blank else sound, sampling_rate=features.sampling_rate, return_attention_mask=True, padding="max_length",
            return_tensors="np",
        )  # fmt: skip
        frames = int(found["attention_mask"][0].sum())
        if (tokens := ((frames - 1) // 2 + 1 - 2) // 2 + 1) < 1:  # two convolutions of the audio tower halve their number
            raise InputError(f"sound of {len(sound)} samples: too short to be heard")
        arrays = {"input_features": found["input_features"][:, :, :frames], "feature_attention_mask": np.ones((1, frames), np.int64)}
        return arrays, self.tokens["audio"] * tokens

    @cached_property
    def _video_size(self):
        """Bounds of a frame's pixels: a model may have others for video than for images."""
        file = self.opened.path / "video_preprocessor_config.json"
        return self._sized((read_json(file).get("size") if file.is_file() else None) or self.images.size)

    def _sized(self, size):
        from transformers.image_utils import SizeDict

        return SizeDict(**{**dict(size), **self._bounds})

    def _patches(self, images: list[Image.Image], size) -> tuple[np.ndarray, np.ndarray]:
        """Patches uint8 [n, channels x temporal x patch x patch], and the grid [1,3] of time, height and width they lie in."""
        of = self.images
        factor, temporal = of.patch_size * of.merge_size, of.temporal_patch_size
        frames = np.stack([
            of.resize(np.asarray(image.convert("RGB")).transpose(2, 0, 1), size=size, resample=of.resample, factor=factor) for image in images
        ])  # fmt: skip
        if frames.dtype != np.uint8:
            raise InputError(f"{self.opened.path}: its image processor makes {frames.dtype} of pixels, expected uint8 before they are normalised")
        if self.blank:
            frames[:] = np.round(255 * np.reshape(of.image_mean, (-1, 1, 1)))  # 0 to the model, which another level is not
        frames = np.concatenate([frames, np.repeat(frames[-1:], -len(frames) % temporal, axis=0)])
        _, channels, height, width = frames.shape
        grid = len(frames) // temporal, height // of.patch_size, width // of.patch_size
        blocks = frames.reshape(
            grid[0], temporal, channels, grid[1] // of.merge_size, of.merge_size, of.patch_size, grid[2] // of.merge_size, of.merge_size, of.patch_size
        )
        return blocks.transpose(0, 3, 6, 4, 7, 2, 1, 5, 8).reshape(int(np.prod(grid)), -1), np.array([grid], np.int64)


def _joined(parts: list[np.ndarray]) -> np.ndarray:
    """Along their first axis; recordings of different length are padded with 0."""
    if len(parts) == 1:
        return parts[0]
    if parts[0].ndim == 1:
        return np.concatenate(parts)
    longest = max(part.shape[-1] for part in parts)
    return np.concatenate([np.pad(part, [(0, 0)] * (part.ndim - 1) + [(0, longest - part.shape[-1])]) for part in parts])


def levels(images) -> np.ndarray:
    """float32 [channels, 256]: what the image processor `images` makes of each level of each channel."""
    ramp = np.broadcast_to(np.arange(256, dtype=np.uint8), (3, 1, 256))
    values = images.rescale(ramp, images.rescale_factor) if images.do_rescale else ramp
    values = images.normalize(values, images.image_mean, images.image_std) if images.do_normalize else values
    return np.ascontiguousarray(values[:, 0], np.float32)
