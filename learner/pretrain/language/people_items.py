"""The items that ship with the people model: videos to learn from by reward and to be measured on, and general questions without one."""

import json
from pathlib import Path

import numpy as np

from learner.pretrain.language import people
from learner.pretrain.language.figures import save_video
from learner.pretrain.language.teach import by_verb, window
from rollout.motion.dataset import Clip

MIX = """\
# Nine tenths of the questions are about people in videos, one tenth is general: so that what is not rewarded is not forgotten.
datasets:
  - {json_path: train.jsonl, weight: 90}
  - {json_path: general_train.jsonl, weight: 10}
"""


def write_people_items(clips: list[Clip], folder: Path, seed: int) -> None:
    """Questions for learning by reward and, of recordings that no training has seen, for measuring. Only what is done in a held-out
    recording is asked about, so that what an answer is like is the same in both. General questions say in words what is done.

    Half of what is learned from by reward is of recordings for practice, half of those of the lessons, and each video is asked about
    three times with other options: of some thirty recordings for practice alone, a hundred questions are learned by heart, with
    nothing gained on others."""
    roles = people.roles(clips)
    heldout, practice, lessons = (by_verb(clips, names) for names in (roles.heldout, roles.practice, roles.lessons))
    verbs = tuple(verb for verb in people.VERBS if heldout[verb])
    write_videos(folder, "heldout", [heldout] * 20, verbs, 1, seed + 2)
    write_videos(folder, "train", [{**lessons, **{verb: own for verb, own in practice.items() if own}}, lessons] * 10, verbs, 3, seed + 1)
    written = _write(folder / "general.jsonl", general(8, seed + 3, set()))
    _write(folder / "general_train.jsonl", general(2, seed + 4, {row["problem"] + str(row["options"]) for row in written}))
    (folder / "mix.yaml").write_text(MIX)


def write_videos(folder: Path, name: str, rounds: list[dict[str, list[Clip]]], verbs: tuple[str, ...], questions: int, seed: int) -> None:
    """A video of every verb in every round, its clips evenly apart, and so many questions about each: FOLDER/NAME.jsonl, with
    the videos beside it."""
    draw, rows, written = np.random.default_rng(seed), [], 0
    (folder / name).mkdir(parents=True, exist_ok=True)
    for number, clips in enumerate(rounds):
        for verb in verbs:
            clip, file = clips[verb][number * len(clips[verb]) // len(rounds)], f"{name}/{written:03d}.webp"
            save_video(folder / file, window(clip, draw))
            media, written = {"data_type": "video", "path": file, "recording": people.recording(clip)}, written + 1
            rows += [_row(verb, people.choose_options(verb, verbs, draw), people.problem(draw)) | media for _ in range(questions)]
    _write(folder / f"{name}.jsonl", rows)


def general(each: int, seed: int, taken: set[str]) -> list[dict]:
    """`each` questions without a video for every verb; none of `taken`, problems with their options."""
    draw, rows = np.random.default_rng(seed), []
    for verb in people.VERBS * each:
        while True:
            row = _row(verb, people.choose_options(verb, people.VERBS, draw), f"{people.told(verb, draw)} {people.problem(draw)}")
            if row["problem"] + str(row["options"]) not in taken:
                break
        taken.add(row["problem"] + str(row["options"]))
        rows.append(row)
    return rows


def _row(verb: str, options: list[str], problem: str) -> dict:
    letter = people.letter_of(options, verb)
    return {
        "problem": problem, "problem_type": "multiple choice", "options": list(people.lettered(options)),
        "solution": f"<answer>{letter}</answer>", "answer": letter,
    }  # fmt: skip


def _write(file: Path, rows: list[dict]) -> list[dict]:
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return rows
