"""Items of the language family: read, their media opened, and encoded as the model reads them. No weights are loaded."""

from pathlib import Path

from rollout.language import media
from rollout.language.checkpoint import open_checkpoint
from rollout.language.items import Item
from rollout.language.processor import Processor
from rollout.policy import Conditioning


class LanguagePreparer:
    """See `rollout.policy.Preparer`."""

    def __init__(self, path: Path, system: str | None = None, blank: bool = False, frames: int = 8, pixels: tuple[int | None, int | None] = (None, None)):
        """pixels: fewest and most of an image, None = the checkpoint's. Raises InputError for a folder that is no checkpoint."""
        self.frames = frames
        self.processor = Processor(open_checkpoint(path), system, blank, pixels)

    def read(self, path: Path | str) -> list[Item]:
        raise NotImplementedError

    def prepare(self, prompts: list[Item]) -> list[Conditioning]:
        return [Conditioning(item, self.processor(item, [(kind, media.read(kind, place, self.frames)) for kind, place in item.media])) for item in prompts]
