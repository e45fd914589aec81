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
    recording is asked about, so that what an answer is like is the same in both. General questions say in words what is done."""
    roles = people.roles(clips)
    heldout, practice, lessons = (by_verb(clips, names) for names in (roles.heldout, roles.practice, roles.lessons))
    verbs = tuple(verb for verb in people.VERBS if heldout[verb])
    write_videos(folder, "heldout", heldout, verbs, 20, seed + 2)
    write_videos(folder, "train", {verb: practice[verb] or lessons[verb] for verb in verbs}, verbs, 16, seed + 1)
    written = _write(folder / "general.jsonl", general(8, seed + 3, set()))
    _write(folder / "general_train.jsonl", general(2, seed + 4, {row["problem"] + str(row["options"]) for row in written}))
    (folder / "mix.yaml").write_text(MIX)


def write_videos(folder: Path, name: str, clips: dict[str, list[Clip]], verbs: tuple[str, ...], each: int, seed: int) -> None:
    """`each` questions for every verb, in FOLDER/NAME.jsonl with their videos beside it."""
    draw, rows = np.random.default_rng(seed), []
    (folder / name).mkdir(parents=True, exist_ok=True)
    for number in range(each):
        for verb in verbs:
            pool = clips[verb]
            clip = pool[number % len(pool)]
            video, file = window(clip, draw), f"{name}/{len(rows):03d}.webp"
            save_video(folder / file, video)
            media = {"data_type": "video", "path": file, "recording": people.recording(clip)}
            rows.append(_row(verb, people.choose_options(verb, verbs, draw), people.problem(draw)) | media)
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
