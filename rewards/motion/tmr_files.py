"""What a TMR evaluator is on disk: weights in several layouts, config.json, statistics, a vocabulary or none.

A weights file, of torch.save or safetensors, holds one network or several:
* a plain state dict
* {"text_encoder": {...}, "motion_encoder": {...}}, or the same with names ending in _state_dict
* {"text_encoder.tokens": ..., "motion_encoder.tokens": ...}: one state dict with the network in front of every key
* any of these under "model", "state_dict" or "model_state_dict", with "model." or "module." in front of the keys
"""

import re
from pathlib import Path

from torch import Tensor

from rewards.motion.words import WordTable
from rollout.io.errors import InputError
from rollout.io.weights import as_tensor, read_json_object, read_torch, read_weights
from rollout.motion.vocabulary import Vocabulary

TEXT, MOTION, DECODER, MOVEMENT = "text_encoder", "motion_encoder", "motion_decoder", "movement_encoder"
NETWORKS = (TEXT, MOTION, DECODER, MOVEMENT)
WRAPPERS = ("model", "state_dict", "model_state_dict")
PLAIN = ""
SAFE = ".safetensors"


def encoder_file(folder: Path, name: str) -> Path:
    """The weights of an encoder in a run folder."""
    path = folder / "last_weights" / f"{name}.pt"
    return safe if (safe := path.with_suffix(SAFE)).is_file() else path


def read_networks(path: Path) -> dict[str, dict]:
    """State dicts by network; under PLAIN when the file does not say which network it holds.

    InputError for an unreadable file and for one in none of the layouts; keys and shapes are for the networks to check.
    """
    state = read_weights(path)
    for wrapper in WRAPPERS:
        if isinstance(state, dict) and isinstance(state.get(wrapper), dict):
            state = state[wrapper]
    if not isinstance(state, dict):
        raise InputError(f"{path}: found {type(state).__name__}, expected a dict of tensors")
    found = {name: state[key] for name in NETWORKS for key in (name, f"{name}_state_dict") if key in state}
    if found:
        return {name: _without_prefix(part) if isinstance(part, dict) else part for name, part in found.items()}
    state = _without_prefix(state)
    prefixed = {name: {k.partition(".")[2]: v for k, v in state.items() if k.partition(".")[0] == name} for name in NETWORKS}
    if not any(prefixed.values()):
        return {PLAIN: state}
    if stray := sorted(str(key) for key in state if key.partition(".")[0] not in NETWORKS):
        raise InputError(f"{path}: unexpected keys {stray}, expected keys that start with {', '.join(NETWORKS)}")
    return {name: part for name, part in prefixed.items() if part}


def _without_prefix(state: dict) -> dict:
    """Without the "model." and "module." that wrappers put in front of keys."""
    return {re.sub(r"^((model|module)\.)+", "", str(key)): value for key, value in state.items()}


def pick(networks: dict[str, dict], name: str, path: Path) -> dict:
    """The state dict of network `name`; a plain one may be any network's."""
    if name not in networks and PLAIN not in networks:
        raise InputError(f"{path}: holds {', '.join(networks)}, expected {name}")
    return networks.get(name, networks.get(PLAIN))


def read_pair(text_path: Path | None, motion_path: Path | None) -> dict[str, tuple[dict, Path]]:
    """State dict and file of the text and the motion encoder, from two files or from one that holds both.

    InputError names the missing flag when one path is not given and the other file does not hold its network.
    """
    paths = {TEXT: text_path, MOTION: motion_path}
    held = {path: read_networks(path) for path in paths.values() if path}
    found = {}
    for name, path in paths.items():
        flag, wanted = f"--tmr_{name}_path", f"expected the file of TMR's {name.replace('_', ' ')}"
        if path is None:
            path = next((other for other in held if name in held[other]), None)
            if path is None:
                raise InputError(f"{flag}: not given, {wanted}" + "".join(f" ({other} does not hold it)" for other in held))
        elif PLAIN in held[path] and text_path == motion_path:
            raise InputError(f"{flag}: {path} is given for both encoders and holds one network, {wanted} or one that holds both")
        found[name] = pick(held[path], name, path), path
    return found


def read_config(folders: list[Path]) -> dict:
    """The first config.json of `folders`, {} when there is none."""
    for folder in folders:
        if (folder / "config.json").is_file():
            return read_json_object(folder / "config.json")
    return {}


def read_statistics(folders: list[Path], config: dict, given: str | None, nfeats: int) -> tuple[Tensor, Tensor]:
    """Mean and std of raw features, float32 [nfeats] each, from the first folder that has mean.pt or std.pt: `given`
    alone, or `stats` in `folders`, or the config's normaliser's folder in them or anywhere above. InputError lists these."""
    base = config
    for key in ("data", "motion_loader", "normalizer", "base_dir"):
        base = base.get(key) if isinstance(base, dict) else None
    if given:
        places, described = [Path(given)], given
    else:
        places = [folder / "stats" for folder in folders]
        described = ", ".join(map(str, places))
        if isinstance(base, str):
            first = folders[0].absolute()
            places += [above / base for above in (first, *first.parents)]
            described += f", {base} in {folders[0]} and every folder above"
    for place in places:
        if (place / "mean.pt").is_file() or (place / "std.pt").is_file():
            mean, std = (as_tensor(read_torch(path), str(path), (nfeats,)) for path in (place / "mean.pt", place / "std.pt"))
            return mean, std
    raise InputError(f"TMR statistics: mean.pt and std.pt not found, looked in {described}; --reward.tmr_stats DIR names them")


def read_word_table(folders: list[Path], width: int) -> WordTable | None:
    """vocabulary.json and word_embeddings.pt of the first folder that has either, None when none has."""
    for folder in folders:
        path = folder / "word_embeddings.pt"
        if path.is_file() or (folder / "vocabulary.json").is_file():
            vocabulary = Vocabulary.load(folder / "vocabulary.json")
            return WordTable("tmr", vocabulary, as_tensor(read_torch(path), str(path), (len(vocabulary), width)))
    return None
