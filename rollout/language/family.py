"""The vision-language family: checkpoints that read images, video and sound, and answer in words. Cheap to import."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rollout.family import Change
from rollout.language.settings import DEFAULTS, Lora, Model, Rollout


class LanguageFamily:
    """See `rollout.family.Family`."""

    name = "language"
    sections = {"model": Model, "lora": Lora, "rollout": Rollout}
    defaults = DEFAULTS
    made = "answers"

    def columns(self):
        from rollout.language.record import COLUMNS

        return COLUMNS

    def preparer(self, config: Any):
        from rollout.language.prepare import LanguagePreparer

        return LanguagePreparer(config.model.checkpoint, config.model)

    def build(self, config: Any) -> Callable:
        from rollout.language.chat_policy import LanguagePolicy, LanguageSettings

        lora = config.lora
        settings = LanguageSettings(
            config.model, config.rollout, lora.r if lora.enabled else 0, lora.alpha, lora.targets, config.seed, config.optimizer.use_checkpointing,
            config.cluster.precision,
        )
        return functools.partial(LanguagePolicy, settings)

    def files(self, config: Any) -> dict[str, Path]:
        from rollout.language.checkpoint import checkpoint_files

        return checkpoint_files(config.model.checkpoint)

    def shipped(self, name: str, config: Any = None) -> Path:
        return (config.model if config else Model()).items / f"{ {'training': 'train'}.get(name, name)}.jsonl"

    def describe(self, config: Any, policy: Any) -> str:
        opened, longest = policy.checkpoint, config.rollout.max_new_tokens
        return f"{opened.path} ({opened.architecture.name}), answers of at most {longest} tokens"

    def draw(self, folder: Path, changes: list[Change]) -> None:
        from rollout.language.before_after import draw

        draw(folder, changes)


LANGUAGE = LanguageFamily()
