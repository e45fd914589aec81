"""Items of the language family: read, their media opened, and encoded as the model reads them. No weights are loaded."""

import dataclasses
import functools
from pathlib import Path

from rollout.io.errors import InputError
from rollout.language.checkpoint import open_checkpoint
from rollout.language.items import Item, read_items
from rollout.language.media import read_medium
from rollout.language.processor import Encoded, Processor
from rollout.language.settings import Model
from rollout.policy import Conditioning


class LanguagePreparer:
    """See `rollout.policy.Preparer`."""

    def __init__(self, path: Path, model: Model):
        """Raises InputError for a folder that is no checkpoint of an architecture that is known."""
        self.model, self.processor = model, Processor(open_checkpoint(path), model)
        self._encoded = functools.cache(self._encode)  # what the model is shown, and not the many times larger file

    def read(self, path: Path | str) -> list[Item]:
        return read_items(path)

    def prepare(self, prompts: list[Item]) -> list[Conditioning]:
        """One conditioning each. A file that several ask about is opened once. InputError for a file that cannot be read."""
        found = []
        for item in prompts:
            try:
                shown, digests = zip(*(self._encoded(*medium) for medium in item.media)) if item.media else ((), ())
            except InputError as error:
                raise InputError(f"{item.source or 'a prompt'}: {error}") from None
            known = dataclasses.replace(item, media_sha256=digests, hidden=self.model.blank)
            found.append(Conditioning(known, self.processor(known, list(shown))))
        return found

    def _encode(self, kind: str, path: str) -> tuple[Encoded, str]:
        rate = self.processor.opened.sounds.sampling_rate if kind == "audio" else 16000
        content, digest = read_medium(kind, path, self.model.frames, rate)
        return self.processor.encoded(kind, content), digest
