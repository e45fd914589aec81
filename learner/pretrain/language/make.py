"""What `python -m learner.pretrain --family language` makes, part by part, in rollout/assets/language."""

from pathlib import Path

import torch

from learner.pretrain.language.card import write_card
from learner.pretrain.language.people_items import write_people_items
from learner.pretrain.language.pointing import train_points, write_points_items
from learner.pretrain.language.teach import train_people
from rollout.motion.dataset import read_clips


def make(data: Path | None, out: Path, parts: list[str], seed: int, threads: int, command: str) -> None:
    """data: motions, for all but the parts of points and the card."""
    torch.set_num_threads(threads)
    people, points = (out / "rollout" / "assets" / "language" / name for name in ("people", "points"))
    clips = read_clips(data) if data else []
    for part in parts:
        if part == "people":
            train_people(clips, people, seed, command)
        elif part == "items":
            write_people_items(clips, people, seed)
        elif part == "points":
            train_points(points, seed, command)
        elif part == "points_items":
            write_points_items(points, seed)
        else:
            write_card(out)
