"""The settings of a vision-language model: what it is, its adapter, and what is sampled of it."""

import os
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator

from rollout.group_settings import GroupSettings
from rollout.io.settings import FilePath, Section, absolute, option
from rollout.lora_settings import AdapterSettings

SHIPPED = {name: Path(__file__).parent.parent / "assets" / "language" / name for name in ("people", "points")}  # each with its items
LORA_TARGETS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
# What a token of text asks of the settings that all families share; a setting of one's own goes over it.
# As many threads for the learner as for a sampler: the number orders the sums of a matrix product, and a ratio is to be exactly 1.
DEFAULTS = {"objective.clip_epsilon": 0.2, "objective.clip_epsilon_high": 0.28, "optimizer.learning_rate": 1e-5}


def _folder_or_shipped(text: str) -> str:
    """A folder of the name goes first."""
    return text if text in SHIPPED and not os.path.exists(text) else absolute(text)


ModelPath = Annotated[str, AfterValidator(_folder_or_shipped)]


class Model(Section):
    """The vision-language model that is trained: a local Hugging Face folder."""

    path: ModelPath | None = option(
        None, f"folder of the checkpoint: Qwen2.5-VL, Qwen3-VL or Qwen2.5-Omni; or one that ships with the project: {', '.join(SHIPPED)}; null = people",
        flags=("--model_path",),
    )  # fmt: skip
    system: str | None = option(None, "system prompt; tags = ask for <context>, <think> and <answer>; null = none but the chat template's own")
    min_pixels: int | None = option(None, "least pixels of an image as the model sees it; null = the checkpoint's", minimum=1)
    max_pixels: int | None = option(None, "most pixels of an image as the model sees it; null = the checkpoint's", minimum=1)
    frames: int = option(8, "most frames of a video that the model sees, evenly apart", minimum=1)
    blank: bool = option(False, "show the mean colour of its training for every image and frame, and play silence: a control that can learn nothing from them")

    @property
    def checkpoint(self) -> Path:
        """Of the base model."""
        return SHIPPED.get(self.path or "people", Path(self.path or ""))

    @property
    def items(self) -> Path:
        """The folder of the items that ship: those of the model, or of people for a model that ships none."""
        return SHIPPED.get(self.path, SHIPPED["people"])


class Lora(AdapterSettings):
    """The low-rank adapter, on the language model alone. Disabled, every weight of the language model is trained."""

    targets: tuple[str, ...] = option(LORA_TARGETS, f"linears of every layer that get an adapter, of {', '.join(LORA_TARGETS)}")


class Rollout(GroupSettings):
    """What is sampled in one iteration: prompts_per_iteration groups of group_size answers."""

    prompts: FilePath | None = option(None, "training items, .json, .jsonl, or .yaml of a mix; null = those that ship with the model")
    prompts_per_iteration: int = option(8, "groups an iteration, each of one prompt", minimum=1, flags=("--batch_size",))
    group_size: int = option(8, "answers sampled for a prompt; each is compared with the mean of its group", flags=("--group_size",))
    max_new_tokens: int = option(256, "longest answer; a longer one is cut off there and counted as truncated", minimum=1)
    temperature: float = option(1.0, "of sampling, and of the log-probs that are trained on", above=0)
    top_k: int = option(0, "only the k likeliest tokens are sampled, and share the probability; 0 = all", minimum=0)
    mask_truncated: bool = option(False, "answers that were cut off train nothing; they still count in their group's mean")
    micro_batch: int | None = option(None, "answers in one forward pass of the recompute, for memory; null = the whole group", minimum=1)
    keep: Literal["all", "best_worst", "none"] = option("all", "answers whose tokens rollouts/ keeps: all, the best and worst of a group, or none")

    @property
    def trained_steps(self) -> int:
        """Every token of an answer is trained on."""
        return self.max_new_tokens
