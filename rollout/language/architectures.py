"""What each architecture must be given: a model that lacks a picture, a recording or their positions would answer all the same.

transformers takes every one of these inputs as optional. An array that is missing, or that no part of the model would read, is an
error here, and so are placeholders in the text without their features.
"""

from dataclasses import dataclass

import numpy as np

from rollout.io.errors import InputError


@dataclass(frozen=True)
class Medium:
    """`token`: the setting of config.json with the id of its placeholder. `features`: the array that its tower reads, `keys`: all its
    arrays. `number`: what `mm_token_type_ids` says at its placeholders."""

    token: str
    number: int
    features: str
    keys: tuple[str, ...]


@dataclass(frozen=True)
class Architecture:
    """`always`: arrays that every prompt has. `positions`: arguments of the model's `get_rope_index`, by the array that each is."""

    name: str
    media: dict[str, Medium]
    always: tuple[str, ...]
    positions: dict[str, str]

    @property
    def known(self) -> set[str]:
        return {*self.always, *(key for medium in self.media.values() for key in medium.keys)}


def _image() -> Medium:
    return Medium("image_token_id", 1, "pixel_values", ("pixel_values", "image_grid_thw"))


def _video(*more: str) -> Medium:
    return Medium("video_token_id", 2, "pixel_values_videos", ("pixel_values_videos", "video_grid_thw", *more))


TYPED = ("input_ids", "mm_token_type_ids")
GRIDS = {"image_grid_thw": "image_grid_thw", "video_grid_thw": "video_grid_thw"}
ARCHITECTURES = {
    each.name: each
    for each in (
        Architecture(
            "qwen2_5_vl", {"image": _image(), "video": _video("second_per_grid_ts")}, TYPED,
            GRIDS | {"mm_token_type_ids": "mm_token_type_ids", "second_per_grid_ts": "second_per_grid_ts"},
        ),
        Architecture("qwen3_vl", {"image": _image(), "video": _video()}, TYPED, GRIDS | {"mm_token_type_ids": "mm_token_type_ids"}),
        Architecture(
            "qwen2_5_omni_thinker",
            {
                "image": _image(), "video": _video("video_second_per_grid"),
                "audio": Medium("audio_token_id", 3, "input_features", ("input_features", "feature_attention_mask")),
            },
            ("input_ids",), GRIDS | {"second_per_grids": "video_second_per_grid"},
        ),
    )
}  # fmt: skip


def placeholders(architecture: Architecture, ids: dict[str, int], input_ids: np.ndarray) -> dict[str, np.ndarray]:
    """Where in a prompt the features of each medium go, by its kind; `ids`: of the placeholders, by kind."""
    places = {kind: np.flatnonzero(input_ids == ids[kind]) for kind in architecture.media}
    return {kind: found for kind, found in places.items() if len(found)}


def require_inputs(architecture: Architecture, ids: dict[str, int], arrays: dict[str, np.ndarray], told: tuple[str, ...], where: str) -> None:
    """Raises InputError, naming `where`, unless `arrays` are what the architecture needs for media of the kinds `told`, and no more."""
    if unreadable := sorted(set(told) - architecture.media.keys()):
        raise InputError(f"{where}: has {' and '.join(unreadable)}, {architecture.name} reads {', '.join(architecture.media)} only")
    if unread := sorted(arrays.keys() - architecture.known):
        raise InputError(f"{where}: {unread[0]} is nothing that {architecture.name} reads; it would be dropped without a word")
    if absent := [key for key in architecture.always if key not in arrays]:
        raise InputError(f"{where}: {absent[0]} is missing, {architecture.name} needs it with every prompt")
    found = placeholders(architecture, ids, arrays["input_ids"])
    for kind, medium in architecture.media.items():
        given = [key for key in medium.keys if key in arrays]
        if kind in told or kind in found or given:
            if absent := [key for key in medium.keys if key not in arrays]:
                raise InputError(f"{where}: {absent[0]} is missing, {architecture.name} needs it with every {kind}")
            if kind not in told:
                raise InputError(f"{where}: holds the features of a {kind}, and its prompt has none")
            if kind not in found:
                raise InputError(f"{where}: has {kind}, and its prompt no place for it")
        if "mm_token_type_ids" in architecture.always:
            marked = np.flatnonzero(arrays["mm_token_type_ids"] == medium.number)
            if not np.array_equal(marked, found.get(kind, [])):
                raise InputError(f"{where}: mm_token_type_ids does not say where the {kind} is")
