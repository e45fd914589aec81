"""The part of the card that is about the small points model: what it answers to held-out questions, and a sheet of what it is shown."""

import json
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from rewards.language.answers import as_answers
from rewards.language.negative_points import NegativePoints
from rewards.language.segmenters import Asked, LabelMap
from rollout.io.colours import INK, PAPER
from rollout.language.chat_policy import LanguagePolicy, LanguageSettings
from rollout.language.items import Item, read_items
from rollout.language.marked import Marked
from rollout.language.media import read_image, read_mask
from rollout.language.prepare import LanguagePreparer
from rollout.language.settings import Model, Rollout
from rollout.policy import Request

SHOWN = 8  # held-out questions on the sheet
ACROSS, SIDE, LINE = 2, 160, 18  # questions in a row; pixels of a picture and of a line
LONGEST = 56  # tokens of an answer
SAMPLES = 4  # of a question


def measured_points(folder: Path) -> dict[str, dict[str, float]]:
    """`sampled` at temperature 1 and `greedy`, of FOLDER/heldout.jsonl: means of the reward, of the IoU of well-formed answers and of
    that without negatives, and the share that is well-formed."""
    model, reward, found = Model(path=str(folder)), NegativePoints(space="0-1000"), {}
    preparer = LanguagePreparer(folder, model)
    asked = preparer.prepare(preparer.read(folder / "heldout.jsonl"))
    for name, top_k, samples in (("sampled", 0, SAMPLES), ("greedy", 1, 1)):
        policy = LanguagePolicy(LanguageSettings(model, Rollout(max_new_tokens=LONGEST, top_k=top_k)))
        groups = [policy.sample(Request(each, samples, (0, 0, 0, number), 0)) for number, each in enumerate(asked)]
        measures, told = reward.measured(as_answers(*groups))
        found[name] = {"reward": float(np.mean(told.values))} | {each: float(np.nanmean(measures[each])) for each in ("iou", "baseline_iou", "parsed")}
    return found


def points_part(assets: Path) -> str:
    """Measures what ships in ASSETS/language/points, writes its figures and a sheet beside it, and returns its part of the card."""
    folder = assets / "language" / "points"
    report = json.loads((folder / "metrics.json").read_text())
    report["heldout"] = measured_points(folder)
    (folder / "metrics.json").write_text(json.dumps(report, indent=1))
    heldout, training = (read_items(folder / f"{name}.jsonl") for name in ("heldout", "train"))
    sheet(heldout[:SHOWN]).save(assets / "language" / "points_sheet.png", optimize=True)
    rows = "\n".join(
        f"| {name} | {each['reward']:.2f} | {each['iou']:.2f} | {each['baseline_iou']:.2f} | {each['parsed']:.2f} |" for name, each in report["heldout"].items()
    )
    return PART.format(
        parameters=report["parameters"], command=report["command"], seed=report["seed"], seconds=report["seconds"], steps=report["curve"][-1]["step"],
        heldout=len(heldout), training=len(training), rows=rows,
    )  # fmt: skip


def sheet(items: list[Item]) -> Image.Image:
    """Of each item the question, and three pictures: what is asked for, what the segmenter makes of that alone, and the true mask."""
    wide, tall = 3 * SIDE + 20, SIDE + LINE + 6
    page = Image.new("RGB", (ACROSS * wide, -(-len(items) // ACROSS) * tall), PAPER)
    pen = ImageDraw.Draw(page)
    for number, item in enumerate(items):
        left, top = number % ACROSS * wide, number // ACROSS * tall
        path, target = item.media[0][1], item.target
        marked, (alone,) = Marked(read_image(path), SIDE), LabelMap().masks(path, [Asked(target.box, target.points, ())])
        pen.text((left + 2, top + 2), item.problem, fill=INK)
        for place, picture in enumerate((marked.asked(target), marked.masked(alone), marked.masked(read_mask(target)))):
            page.paste(picture, (left + place * (SIDE + 4), top + LINE))
    return page


PART = """
# Model card: the demo-size points model

Another Qwen2.5-VL of the same widths, {parameters:,} parameters: `language/points`, for `--config points`. It is shown a drawn crowd from
above, 112 x 112 pixels, is asked who else in a shirt of some colour touches the one with the white cap, and answers where: in words in
`<think>`, then as one or two points in `<answer>`, in 0 to 1000 and in steps of 100. Box and positive point are the question's own.

**The segmenter is not SAM.** It is a label map, which reads from a file beside each picture who each pixel is of: the one under the
positive point is in the mask, whoever touches them leaks into it, and whoever a negative point hits is left out; a hit on the
target leaves the target out. Who is meant is drawn so that no place is worth a guess before the picture is seen.

`{command}`, seed {seed}, {steps} steps, some five minutes of one
core; it took {seconds:.0f} s beside other work. On purpose it is not as good as it could be: in the last fifth of its lessons four answers
in ten name any place, and a tenth have a fault of form. Its likeliest answers are good, its sampled ones hardly better than no points.

On the {heldout} held-out scenes (`language/points/heldout.jsonl`), none of which is a lesson or one of the {training} that it practises on
(`train.jsonl`); the reward of `negative_points`, IoU of answers that are well-formed:

| answers | reward | IoU | IoU without negatives | well-formed |
|---|---|---|---|---|
{rows}

What `--config points` makes of it over three seeds, beside blind runs: `benchmarks/results/language/points.md`.

![what is asked, what leaks in, and what is true](language/points_sheet.png)
"""
