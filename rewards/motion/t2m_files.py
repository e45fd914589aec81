"""Where a T2M evaluator's files are: a folder like the shipped one, an MDM checkout, or the finest.tar itself.

* like `rewards/assets/t2m`: finest.tar, mean.npy, std.npy, vocabulary.json, word_vectors.npy side by side
* MDM checkout: t2m/text_mot_match/model/finest.tar under it, else KIT's kit/text_mot_match/model/finest.tar; or such a file, or
  its folder. Beside it or up to three
  folders above (the checkout): `glove/our_vab_*`, and t2m_mean.npy with t2m_std.npy, there or in `dataset/`.
  Which of them belongs to KIT shows in the width: an evaluator of 251 features has kit_mean.npy and kit_std.npy.
"""

from pathlib import Path

import torch
from torch import Tensor

from rewards.motion.glove import FILES, GloveWords
from rewards.motion.words import EOS, SOS, WordTable
from rollout.io.errors import InputError
from rollout.io.weights import as_tensor, read_array
from rollout.motion.skeleton import FORMATS, HUMANML3D
from rollout.motion.vocabulary import Vocabulary

CHECKPOINTS = [Path(each.evaluator, "text_mot_match/model/finest.tar") for each in FORMATS.values()]
LEVELS = len(CHECKPOINTS[0].parts)


def find_checkpoint(path: Path) -> Path:
    """finest.tar, given as itself, its folder or the MDM checkout above it. InputError lists where it was looked for."""
    if path.is_file():
        return path
    if like_shipped(path):
        return path / "finest.tar"
    for place in (path / "finest.tar", *(path / each for each in CHECKPOINTS)):
        if place.is_file():
            return place
    raise InputError(f"{path}: T2M evaluator not found, looked for finest.tar, {' and '.join(map(str, CHECKPOINTS))} in it")


def like_shipped(folder: Path) -> bool:
    return (folder / "vocabulary.json").is_file() or (folder / "word_vectors.npy").is_file()


def read_statistics(checkpoint: Path, nfeats: int) -> tuple[Tensor, Tensor]:
    """Mean and std of the evaluator's input, float64 [nfeats] each. InputError when missing, misshapen or not positive."""
    if like_shipped(checkpoint.parent):
        folder, mean, std = checkpoint.parent, "mean.npy", "std.npy"
    else:
        mean, std = (f"{FORMATS.get(nfeats, HUMANML3D).evaluator}_{name}.npy" for name in ("mean", "std"))
        folder = _folder_with((mean, std), [place for above in _above(checkpoint) for place in (above, above / "dataset")])
    arrays = []
    for path in (folder / mean, folder / std):
        array = read_array(path)
        as_tensor(array, str(path), (nfeats,))  # checked; but float32 would cost digits where mean / std is large
        arrays.append(torch.from_numpy(array).double())
    if not (arrays[1] > 0).all():
        raise InputError(f"{folder / std}: holds values that are not positive")
    return arrays[0], arrays[1]


def read_words(checkpoint: Path, width: int) -> GloveWords | WordTable:
    """The vocabulary, with vectors of `width` numbers."""
    if not like_shipped(checkpoint.parent):
        return GloveWords.load(_folder_with(FILES, [above / "glove" for above in _above(checkpoint)]), width)
    path = checkpoint.parent / "vocabulary.json"
    vocabulary = Vocabulary.load(path)
    if absent := [word for word in (SOS, EOS) if word not in vocabulary.index]:
        raise InputError(f"{path}: without the words {', '.join(absent)}")
    path = checkpoint.parent / "word_vectors.npy"
    return WordTable("t2m", vocabulary, as_tensor(read_array(path), str(path), (len(vocabulary), width)))


def _above(checkpoint: Path) -> list[Path]:
    return list(checkpoint.absolute().parents)[:LEVELS]


def _folder_with(names: tuple[str, ...], folders: list[Path]) -> Path:
    """The first of `folders` that has any of `names`; which of them it lacks is for the reader to say."""
    for folder in folders:
        if any((folder / name).is_file() for name in names):
            return folder
    raise InputError(f"T2M evaluator: {', '.join(names)} not found, looked in {', '.join(map(str, folders))}")
