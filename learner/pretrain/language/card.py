"""The card of the small language models: its part on people with a sheet of what is shown, and that on points."""

import json
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from learner.pretrain.language.measure import measured
from learner.pretrain.language.points_card import points_part
from rollout.language.items import read_items
from rollout.language.media import read_frames

SHOWN = 10  # held-out questions on the sheet


def write_card(root: Path) -> None:
    """Writes rollout/assets/LANGUAGE_CARD.md and the sheets in rollout/assets/language, of what is shipped there now."""
    assets = root / "rollout" / "assets"
    people = assets / "language" / "people"
    report = json.loads((people / "metrics.json").read_text())
    report["heldout"] = measured(people)
    (people / "metrics.json").write_text(json.dumps(report, indent=1))
    heldout, training = (read_items(people / f"{name}.jsonl") for name in ("heldout", "train"))
    _sheet(heldout[:SHOWN]).save(assets / "language" / "contact_sheet.png")
    rows = "\n".join(f"| {name} | {each['named']:.2f} | {each['accuracy']:.2f} | {each['answered']:.2f} | {each['format']:.2f} |" for name, each in report["heldout"].items())
    stages = "; ".join(f"{last['stage']} {last['step']} steps, loss {last['loss']:.2f}" for last in _lasts(report["curve"]))
    (assets / "LANGUAGE_CARD.md").write_text(CARD.format(
        parameters=report["parameters"], command=report["command"], seed=report["seed"], seconds=report["seconds"], stages=stages,
        heldout=len(heldout), training=len(training), rows=rows,
        general=len(read_items(people / "general.jsonl")),
    ) + points_part(assets))  # fmt: skip


def _lasts(curve: list[dict]) -> list[dict]:
    return [[row for row in curve if row["stage"] == stage][-1] for stage in dict.fromkeys(row["stage"] for row in curve)]


def _sheet(items) -> Image.Image:
    """A row for each item: its frames at twice their size, and what is asked."""
    sheet = Image.new("RGB", (8 * 112, len(items) * 134), "#ffffff")
    draw = ImageDraw.Draw(sheet)
    for row, item in enumerate(items):
        frames = np.concatenate([np.asarray(image) for image in read_frames(item.media[0][1], 8).images], axis=1)
        strip = Image.fromarray(frames)
        sheet.paste(strip.resize((strip.width * 2, strip.height * 2)), (0, row * 134 + 20))
        right = item.solution.partition("<answer>")[2].partition("</answer>")[0]
        draw.text((2, row * 134 + 4), f"{item.problem}  {'   '.join(item.options)}   (right: {right})", fill="#1f2430")
    return sheet


CARD = """# Model card: the demo-size vision-language model

A Qwen2.5-VL of {parameters:,} parameters (hidden width 64, 3 layers; vision 2 layers of 48) with a word-level tokenizer, as a plain
Hugging Face folder: `language/people`. It is shown eight frames of 56 x 56 pixels of a stick figure, is asked with four options what
the person does, and answers in three parts: `<context>`, `<think>`, `<answer>`. It knows some 150 words and twelve kinds of motion.
It is for testing the loop, not for looking at real videos. Its chat template leaves out what the system says.

## How it was made

`{command}`, seed {seed}, {seconds:.0f} s of one thread of a shared two-core machine. Three
stages: looking up the letter of a named option, beside some whole answers to questions that say what is seen; more of these;
then answers to videos, beside some of these ({stages}). Taught one after the other instead, the letters were lost again.

On purpose it is not as good as it could be, so that there is something for rewards to teach: in the last stage a fifth of the answers
name one of the four options at random, and a tenth have a fault of form. One video in twelve is blank, with any option for its answer:
so that a model that is shown nothing (`--model.blank true`) guesses, and a run of it is a fair control.

## What it measures

On the {heldout} held-out questions (`language/people/heldout.jsonl`; a guess is right one time in four). Accuracy is of the first letter
between answer tags, whatever the form; "answered" is the share that has one.

| answers | names the motion | accuracy | answered | well-formed |
|---|---|---|---|---|
{rows}

## Data

Videos are drawn from captioned motion capture. Recordings have one role each: lessons (taught with answers), practice ({training}
questions in `train.jsonl`, for learning by reward: three about each video, half of the videos are of recordings for practice, half of
those of the lessons) or held out. "Directing traffic" has one recording for lessons and one held out: its practice questions are all
about the recording of its lessons. Punching, scooping, washing and cleaning a window have a single
recording, are taught only, and are not asked about later. Several questions are about windows or views of one recording, so that an
interval over questions is narrower than one over recordings would be.

`general.jsonl` has {general} general questions without a video, which say in words what is done: whether learning from videos makes the model
forget them is measured by `learner.evaluate`. `mix.yaml` is a mix of nine tenths `train.jsonl` and one tenth general questions.

> The data used in this project was obtained from mocap.cs.cmu.edu.
> The database was created with funding from NSF EIA-0196217.

No motion ships with the project: the drawn frames of 56 x 56 pixels do.

![what it is shown](language/contact_sheet.png)
"""
