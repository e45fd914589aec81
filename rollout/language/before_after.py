"""Base beside tuned: what was shown and asked, and both answers with their tags coloured; a picture a prompt, and one page of all."""

import base64
import html
import io
import re
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from rollout.family import Change
from rollout.io.colours import FAINT, INK, LEFT, PAPER, RIGHT, TRAIL
from rollout.io.errors import InputError
from rollout.language.media import read_frames, read_image
from rollout.policy import Group

COLOURS = {"context": FAINT, "think": LEFT, "answer": RIGHT}
WIDE, TALL, LETTERS, SHOWN = 900, 150, 110, 1200  # pixels of a page and of its pictures; characters of a line and of an answer
TAG = re.compile(r"(</?(?:context|think|answer)>)")
PAGE = "<!doctype html><meta charset=utf-8><title>Before and after</title><style>body{{font:15px sans-serif;max-width:60em;margin:2em auto}}"
PAGE += "pre{{white-space:pre-wrap}}img{{height:120px;margin:2px}}section{{border-top:1px solid #ccc}}</style>{}"


def draw(folder: Path, changes: list[Change]) -> None:
    """Writes before_after_<n>.png of each change, and before_after.html with all of them."""
    sections = []
    for number, (before, after, sample, *rewards) in enumerate(changes, 1):
        pictures = _pictures(before)
        answers = [(name, reward, str(group.columns["text"][sample])[:SHOWN])
                   for name, group, reward in zip(("base", "tuned"), (before, after), rewards)]  # fmt: skip
        _png(pictures, before.prompt.text, answers).save(folder / f"before_after_{number}.png")
        shown = "".join(f'<img alt="" src="data:image/png;base64,{_encoded(picture)}">' for picture in pictures)
        said = "".join(f"<h3>{name}: reward {reward:.3f}</h3><pre>{_coloured(text)}</pre>" for name, reward, text in answers)
        sections.append(f"<section>{shown}<pre>{html.escape(before.prompt.text)}</pre>{said}</section>")
    (folder / "before_after.html").write_text(PAGE.format("".join(sections)), encoding="utf-8")


def _pictures(group: Group) -> list[Image.Image]:
    """The images and frames that were shown; none for what can no longer be read."""
    found = []
    for kind, path in getattr(group.prompt, "media", ()):
        try:
            content = {"image": read_image, "video": lambda path: read_frames(path, 8)}.get(kind, lambda path: None)(path)
        except InputError:
            continue
        found += [] if content is None else [content] if isinstance(content, Image.Image) else content.images
    target = getattr(group.prompt, "target", None)
    if target and found:
        marked = found[0].convert("RGB")
        pen = ImageDraw.Draw(marked)
        pen.rectangle(target.box, outline=LEFT)
        for x, y in target.points:
            pen.ellipse((x - 3, y - 3, x + 3, y + 3), fill=LEFT)
        found[0] = marked
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


def _png(pictures: list[Image.Image], question: str, answers: list[tuple[str, float, str]]) -> Image.Image:
    lines = [[(line, INK)] for line in _wrapped(question)]
    for name, reward, text in answers:
        lines += [[("", INK)], [(f"{name}: reward {reward:.3f}", TRAIL)]]
        lines += [[(line, colour)] for piece, colour in _parts(text) for line in _wrapped(piece)]
    height, font = 18, ImageFont.load_default(13)
    top = TALL + 10 if pictures else 0
    page = Image.new("RGB", (WIDE, top + 10 + height * len(lines)), PAPER)
    for place, picture in enumerate(pictures[: WIDE // TALL]):
        width = max(1, round(picture.width * TALL / picture.height))
        page.paste(picture.convert("RGB").resize((width, TALL)).crop((0, 0, TALL, TALL)), (place * TALL, 0))
    pen = ImageDraw.Draw(page)
    for number, line in enumerate(lines):
        for text, colour in line:
            pen.text((6, top + height * number), text, fill=colour, font=font)
    return page


def _wrapped(text: str) -> list[str]:
    printable = ["".join(c if c.isprintable() else " " for c in line) for line in text.splitlines()]
    return [line[start : start + LETTERS] for line in printable for start in range(0, max(1, len(line)), LETTERS)]


def _encoded(picture: Image.Image) -> str:
    file = io.BytesIO()
    picture.convert("RGB").save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()
