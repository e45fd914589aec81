"""A run's `adapter/` folder as samplers can be given it. No weights of the model are loaded for that."""

import dataclasses
from pathlib import Path

import numpy as np

from rollout import lora
from rollout.adapter import Adapter
from rollout.adapter_folder import read_adapter
from rollout.io.errors import InputError
from rollout.language.chat_policy import LanguagePolicy, LanguageSettings, targets_in
from rollout.language.checkpoint import READ, open_checkpoint

SAME = tuple(name for name in READ if name not in ("config.json", "generation_config.json"))  # what says how a question is read


def adapter_of(settings: LanguageSettings, folder: Path | None) -> tuple[LanguageSettings, Adapter]:
    """The settings of a policy with the adapter in `folder`, and the adapter; None: the base model, whose adapter is zero.

    Rank, alpha and targets are the folder's. A folder of a run that trained all weights is a checkpoint: the model's, in place of the base.
    Raises InputError naming the file that is missing, damaged or does not fit.
    """
    if folder is not None and (folder / LanguagePolicy.whole_file).exists():
        base = settings.model.checkpoint
        for name in SAME:
            if _content(folder / name) != _content(base / name):
                told = "a model that reads questions otherwise is evaluated alone, as --model.path"
                raise InputError(f"{folder / name}: is not that of {base}; {told}")
        settings, folder = dataclasses.replace(settings, model=settings.model.replace(path=str(folder))), None
    config, state = ({"lora_rank": 1}, None) if folder is None else read_adapter(folder)
    settings = dataclasses.replace(settings, **config)
    outline = open_checkpoint(settings.model.checkpoint).outline()
    try:
        lora.adapt(outline, settings.lora_rank, settings.lora_alpha, tuple(targets_in(outline, settings.lora_targets)), 0)
    except InputError as error:
        raise InputError(f"{folder or settings.model.checkpoint}: {error}") from None
    shapes = {name: tuple(parameter.shape) for name, parameter in outline.named_parameters() if ".lora_" in name}
    if state is None:
        state = {name: np.zeros(shape, np.float32) for name, shape in shapes.items()}
    for name in sorted(shapes.keys() | state.keys()):
        found, expected = state[name].shape if name in state else "missing", shapes.get(name, "no such tensor")
        if found != expected:
            raise InputError(f"{folder}: {name} is {found}, expected {expected} for {settings.model.checkpoint}")
    try:
        return settings, Adapter.pack(0, state)
    except InputError as error:
        raise InputError(f"{folder}: {error}") from None


def _content(file: Path) -> bytes | None:
    return file.read_bytes() if file.is_file() else None
