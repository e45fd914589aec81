"""Base beside tuned: what was shown and asked, and both answers with their tags coloured; a picture a prompt, and one page of all."""

import base64
import html
import io
import re
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from rollout.family import Change, Judged
from rollout.io.colours import FAINT, INK, LEFT, PAPER, RIGHT, TRAIL
from rollout.io.errors import InputError
from rollout.language.marked import Marked
from rollout.language.media import read_frames, read_image, read_mask
from rollout.policy import Group

COLOURS = {"context": FAINT, "think": LEFT, "answer": RIGHT}
WIDE, TALL, MARKED, LETTERS, SHOWN = 900, 150, 215, 110, 1200  # pixels of a page and its pictures; characters of a line and of an answer
LINE = 18  # pixels
TAG = re.compile(r"(</?(?:context|think|answer)>)")
PAGE = "<!doctype html><meta charset=utf-8><title>Before and after</title><style>body{{font:15px sans-serif;max-width:60em;margin:2em auto}}"
PAGE += "pre{{white-space:pre-wrap}}figure{{display:inline-block;margin:2px}}section{{border-top:1px solid #ccc}}</style>{}"
Pictures = list[tuple[str, Image.Image]]  # each under a few words


def draw(folder: Path, changes: list[Change]) -> None:
    """Writes before_after_<n>.png of each change, and before_after.html with all of them."""
    sections = []
    for number, change in enumerate(changes, 1):
        pictures, question = _pictures(change), change.before.prompt.text
        answers = [(f"{name}: {_found(judged)}", str(group.columns["text"][change.sample])[:SHOWN]) for name, group, judged in _sides(change)]
        _png(pictures, question, answers).save(folder / f"before_after_{number}.png")
        shown = "".join(f'<figure>{html.escape(words)}<br><img alt="" src="data:image/png;base64,{_encoded(each)}"></figure>' for words, each in pictures)
        said = "".join(f"<h3>{html.escape(words)}</h3><pre>{_coloured(text)}</pre>" for words, text in answers)
        sections.append(f"<section>{shown}<pre>{html.escape(question)}</pre>{said}</section>")
    (folder / "before_after.html").write_text(PAGE.format("".join(sections)), encoding="utf-8")


def _sides(change: Change) -> list[tuple[str, Group, Judged]]:
    return [("base", change.before, change.judged_before), ("tuned", change.after, change.judged_after)]


def _found(judged: Judged) -> str:
    """The reward, and what it is made of."""
    return f"reward {judged.reward:.3f} ({', '.join(f'{name} {value:.3f}' for name, value in judged.components.items())})"


def _pictures(change: Change) -> Pictures:
    """The images and frames that were shown; of a region that was asked for the image with what is true and what both models said.
    None for what can no longer be read."""
    found, prompt = [], change.before.prompt
    for kind, path in getattr(prompt, "media", ()):
        try:
            content = {"image": read_image, "video": lambda path: read_frames(path, 8)}.get(kind, lambda path: None)(path)
            if kind == "image" and prompt.target:
                return _of_target(Marked(content, MARKED), change)
        except InputError:
            continue
        found += [] if content is None else [content] if isinstance(content, Image.Image) else content.images
    tall = min(TALL, WIDE / max(1e-9, sum(picture.width / picture.height for picture in found)))  # all of them side by side
    return [("", picture.convert("RGB").resize((max(1, int(picture.width * tall / picture.height)), max(1, int(tall))))) for picture in found]


def _of_target(marked: Marked, change: Change) -> Pictures:
    target = change.before.prompt.target
    found = [("the target", marked.asked(target)), ("its mask", marked.masked(read_mask(target)))]
    for name, _, judged in _sides(change):
        of = judged.measured
        if "mask" in of:  # a component has segmented it
            picture = marked.answered(of["mask"], of["negatives"])
            found.append((f"{name}: IoU {of['iou']:.2f}", picture) if picture else (f"{name}: no points", marked.picture))
    return found


def _parts(text: str) -> list[tuple[str, str]]:
    """Pieces of an answer, each with its colour: that of the part it stands in."""
    pieces, colour = [], INK
    for piece in TAG.split(text):
        tag = piece.strip("</>") if TAG.fullmatch(piece) else None
        colour = COLOURS[tag] if tag else colour
        pieces.append((piece, colour))
        colour = INK if tag and piece.startswith("</") else colour
    return pieces


def _coloured(text: str) -> str:
    return "".join(f'<span style="color:{colour}">{html.escape(piece)}</span>' for piece, colour in _parts(text))


def _png(pictures: Pictures, question: str, answers: list[tuple[str, str]]) -> Image.Image:
    lines = [(line, INK) for line in _wrapped(question)]
    for words, text in answers:
        lines += [("", INK), (words, TRAIL)]
        lines += [(line, colour) for piece, colour in _parts(text) for line in _wrapped(piece)]
    named = LINE if any(words for words, _ in pictures) else 0
    top = max([picture.height for _, picture in pictures], default=-named - 10) + named + 10
    page, font = Image.new("RGB", (WIDE, top + 10 + LINE * len(lines)), PAPER), ImageFont.load_default(13)
    pen, left = ImageDraw.Draw(page), 0
    for words, picture in pictures:
        room = picture.crop((0, 0, min(picture.width, WIDE // 4), picture.height))
        if left + room.width <= WIDE:
            pen.text((left + 4, 1), words, fill=INK, font=font)
            page.paste(room, (left, named))
        left += room.width + (10 if named else 0)
    for number, (text, colour) in enumerate(lines):
        pen.text((6, top + LINE * number), text, fill=colour, font=font)
    return page


def _wrapped(text: str) -> list[str]:
    printable = ["".join(c if c.isprintable() else " " for c in line) for line in text.splitlines()]
    return [line[start : start + LETTERS] for line in printable for start in range(0, max(1, len(line)), LETTERS)]


def _encoded(picture: Image.Image) -> str:
    file = io.BytesIO()
    picture.convert("RGB").save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()
