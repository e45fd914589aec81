"""What the driver makes of items: each of their files is opened once, and kept once, whoever asks about it."""

import numpy as np
import pytest
from PIL import Image

from rollout.io.errors import InputError
from rollout.language.items import Item
from rollout.language.prepare import LanguagePreparer
from rollout.language.settings import Model
from tests.tiny_language import write_checkpoint


def test_a_file_is_opened_once_however_many_come_between(tmp_path):
    folder = write_checkpoint(tmp_path / "model")
    files = [tmp_path / f"{number}.png" for number in range(40)]
    for number, file in enumerate(files):
        Image.new("RGB", (16, 16), (6 * number,) * 3).save(file)
    preparer = LanguagePreparer(folder, Model(path=str(folder)))
    first = preparer.prepare([Item("what is it", media=(("image", str(file)),)) for file in files])
    for file in files:
        file.unlink()
    (again,) = preparer.prepare([Item("who is it", media=(("image", str(files[0])),))])
    assert np.shares_memory(again.arrays["pixel_values"], first[0].arrays["pixel_values"])
    assert again.prompt.media_sha256 == first[0].prompt.media_sha256 and again.digest != first[0].digest
    with pytest.raises(InputError, match="41.png"):
        preparer.prepare([Item("what is it", media=(("image", str(tmp_path / "41.png")),))])
