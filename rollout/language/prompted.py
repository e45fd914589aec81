"""A prompt as the language model reads it: embedded, with its positions and the features of its media in their places.

Sampling and recompute both begin here. Towers are frozen, so that a group's media are encoded once, whatever its size.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from rollout.language.architectures import Architecture, placeholders, require_inputs
from rollout.policy import Conditioning


@dataclass(frozen=True)
class Features:
    """What a prompt's media are to the language model, at `places` [V] of its tokens: [V,H]. `deep`: what Qwen3-VL adds to the
    first layers, [V,H] each. `positions` [3,P] of the prompt's tokens: time, height, width; `after`: of the first token of an answer."""

    input_ids: Tensor
    places: Tensor
    values: Tensor | None
    deep: list[Tensor]
    positions: Tensor
    after: int


class PromptReader:
    """Encodes prompts for one network. levels: see `rollout.language.processor.levels`."""

    def __init__(self, architecture: Architecture, ids: dict[str, int], levels: np.ndarray, device: torch.device):
        self.architecture, self.ids, self.device = architecture, ids, device
        self.levels = torch.tensor(levels, device=device)

    @torch.no_grad()
    def __call__(self, network: nn.Module, conditioning: Conditioning) -> Features:
        """network: the model inside, with its towers. Raises InputError where `conditioning` lacks what the architecture needs."""
        arrays, kinds = conditioning.arrays, tuple(kind for kind, _ in getattr(conditioning.prompt, "media", ()))
        require_inputs(self.architecture, self.ids, arrays, kinds, f"prompt {conditioning.prompt.text[:60]!r}")
        given = {name: torch.tensor(array, device=self.device) for name, array in arrays.items()}
        found, deep = [], []
        for kind, places in placeholders(self.architecture, self.ids, arrays["input_ids"]).items():
            values, *deeper = self._encode(network, kind, given)
            if len(values) != len(places):
                raise ValueError(f"{len(values)} features of {kind} for {len(places)} places")
            found.append((torch.tensor(places, device=self.device), values))
            deep.append(deeper)
        input_ids = given["input_ids"]
        positions, past = self._positions(network, given)
        if not found:
            return Features(input_ids, torch.empty(0, dtype=torch.long, device=self.device), None, [], positions, past)
        places, order = torch.cat([places for places, _ in found]).sort()
        values = torch.cat([values for _, values in found])[order]
        layers = [torch.cat(layer)[order] for layer in zip(*deep)]
        return Features(input_ids, places, values, layers, positions, past)

    def _encode(self, network: nn.Module, kind: str, given: dict[str, Tensor]) -> list[Tensor]:
        """[V,H], and the same for every deeper layer that has features of its own."""
        if kind == "audio":
            mask = given["feature_attention_mask"]
            return [network.get_audio_features(given["input_features"].to(network.audio_tower.dtype), mask, return_dict=True).last_hidden_state]
        encode, key = (network.get_image_features, "pixel_values") if kind == "image" else (network.get_video_features, "pixel_values_videos")
        grid = given["image_grid_thw" if kind == "image" else "video_grid_thw"]
        found = encode(self._pixels(given[key]), grid, return_dict=True)
        return [torch.cat(list(found.pooler_output)), *(torch.cat(list(layer)) for layer in getattr(found, "deepstack_features", None) or [])]

    def _pixels(self, patches: Tensor) -> Tensor:
        """float32 of the patches' levels [n, channels x rest]."""
        channels = len(self.levels)
        levels = patches.reshape(len(patches), channels, -1).long()
        return torch.gather(self.levels[None].expand(len(patches), -1, -1), 2, levels).reshape(len(patches), -1)

    def _positions(self, network: nn.Module, given: dict[str, Tensor]) -> tuple[Tensor, int]:
        """The model's own [3,P] of a prompt, and the position after its last."""
        named = {argument: given[key][None] if key == "mm_token_type_ids" else given[key]
                 for argument, key in self.architecture.positions.items() if key in given}  # fmt: skip
        if "feature_attention_mask" in given:
            named["audio_seqlens"] = given["feature_attention_mask"].sum(-1)
        input_ids = given["input_ids"][None]
        positions, _ = network.get_rope_index(input_ids, attention_mask=torch.ones_like(input_ids), **named)
        return positions[:, 0], int(positions.max()) + 1


@dataclass(frozen=True)
class Batch:
    """Prompts of B answers, padded on the left to P tokens where they differ: embedded [B,P,H], positions [3,B,P], `after` [B] the
    position of an answer's first token, `seen` bool [B,P] False at padding (None where there is none), `visual` bool [B,P] and `deep`
    as `Features` has them."""

    embedded: Tensor
    positions: Tensor
    after: Tensor
    seen: Tensor | None
    visual: Tensor | None
    deep: list[Tensor]

    @classmethod
    def of(cls, rows: list[Features], embed: nn.Module) -> "Batch":
        """embed: the language model's table of tokens, whose gradient stays."""
        longest = max(len(row.input_ids) for row in rows)
        pads = [longest - len(row.input_ids) for row in rows]
        left = lambda values, pad: nn.functional.pad(values, (pad, 0))  # noqa: E731
        embedded = embed(torch.stack([left(row.input_ids, pad) for row, pad in zip(rows, pads)]))
        device, visual, deep = embedded.device, None, []
        if any(row.values is not None for row in rows):
            visual = torch.zeros(embedded.shape[:2], dtype=torch.bool, device=device)
            for i, (row, pad) in enumerate(zip(rows, pads)):
                visual[i, row.places + pad] = True
            values = torch.cat([row.values for row in rows if row.values is not None])
            embedded = embedded.masked_scatter(visual[..., None], values.to(embedded.dtype))
            deep = [torch.cat(layer) for layer in zip(*(row.deep for row in rows if row.values is not None))]
        positions = torch.stack([left(row.positions, pad) for row, pad in zip(rows, pads)], dim=1)
        seen = torch.tensor([[place >= pad for place in range(longest)] for pad in pads], device=device) if any(pads) else None
        return cls(embedded, positions, torch.tensor([row.after for row in rows], device=device), seen, visual, deep)

    def followed_by(self, answers: Tensor, embed: nn.Module) -> "Batch":
        """The same with the tokens of answers [B,T] after it."""
        count = answers.shape[1]
        steps = (self.after[:, None] + torch.arange(count, device=answers.device)).expand(3, -1, -1)
        grown = lambda mask, value: None if mask is None else nn.functional.pad(mask, (0, count), value=value)  # noqa: E731
        return Batch(
            torch.cat([self.embedded, embed(answers)], dim=1), torch.cat([self.positions, steps], dim=2), self.after + count,
            grown(self.seen, True), grown(self.visual, False), self.deep,
        )  # fmt: skip


def hidden(language_model: nn.Module, batch: Batch, cache=None) -> Tensor:
    """[B,P,H]: what the language model makes of the batch, kept in `cache` where one is given."""
    deep = {"visual_pos_masks": batch.visual, "deepstack_visual_embeds": batch.deep} if batch.deep else {}
    return language_model(
        inputs_embeds=batch.embedded, position_ids=batch.positions, attention_mask=None if batch.seen is None else batch.seen.long(),
        cache=cache, use_cache=cache is not None, **deep,
    ).last_hidden_state  # fmt: skip
