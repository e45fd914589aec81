"""What `python -m learner.pretrain --family language` makes, part by part, in rollout/assets/language/people."""

from pathlib import Path

import torch

from learner.pretrain.language.card import write_card
from learner.pretrain.language.people_items import write_people_items
from learner.pretrain.language.teach import train_people
from rollout.motion.dataset import read_clips


def make(data: Path, out: Path, parts: list[str], seed: int, threads: int, command: str) -> None:
    torch.set_num_threads(threads)
    folder, clips = out / "rollout" / "assets" / "language" / "people", read_clips(data)
    for part in parts:
        if part == "people":
            train_people(clips, folder, seed, command)
        elif part == "items":
            write_people_items(clips, folder, seed)
        else:
            write_card(out)
