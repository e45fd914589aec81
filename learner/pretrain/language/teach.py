"""Supervised training of the small people model.

Looking up the letter of a named option is the slow part, and easily lost again: it is learned beside whole answers to questions that
say what is seen, not before them; these go on beside answers to videos; and a letter weighs as much as several other words.
"""

import json
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from learner.pretrain.language import people
from learner.pretrain.language.figures import FRAMES, SIZE, figure_video
from learner.pretrain.language.folder import MEAN, image_processor, patches, save_folder, small_network, word_tokenizer
from rollout.motion.dataset import Clip

LONGEST_WINDOW = 80  # frames of a motion that a video spans
VIEWS = 3  # of each lesson
AZIMUTH = 0.7  # radians to either side
VIDEO_TOKENS = FRAMES // 2 * (SIZE // 28) ** 2
GRID = [FRAMES // 2, SIZE // 14, SIZE // 14]


@dataclass(frozen=True)
class Stage:
    """rows: in a step, by kind: "lookup", options and a sentence that ends in the letter; "told", a question that says what is
    seen, with a whole answer; "video", a question about a video, likewise. letters: what a letter weighs; other words weigh 1."""

    name: str
    rows: dict[str, int]
    steps: int
    learning_rate: float
    letters: float


STAGES = (
    Stage("looking up", {"lookup": 96, "told": 32}, 600, 3e-3, 5.0),
    Stage("answering", {"lookup": 32, "told": 64}, 300, 3e-3, 5.0),
    Stage("watching", {"told": 16, "video": 48}, 400, 2e-3, 4.0),
)
# So that there is something left for rewards to teach, of the answers to videos:
WRONG = 0.2  # name any of the four options
SPOILT = 0.1  # have a fault of form
# And so that a model that sees nothing guesses one of the options, and no better or worse than by chance:
BLANK = 0.08  # of the videos are of the mean colour, and answered with any of the four


def window(clip: Clip, draw: np.random.Generator) -> np.ndarray:
    start = int(draw.integers(0, max(0, len(clip.joints) - LONGEST_WINDOW) + 1))
    return figure_video(clip.joints[start : start + LONGEST_WINDOW], float(draw.uniform(-AZIMUTH, AZIMUTH)))


def by_verb(clips: list[Clip], recordings: dict[str, list[str]]) -> dict[str, list[Clip]]:
    """The clips of some recordings, by what is done in them."""
    return {verb: [c for c in clips if people.OF_ACTION.get(c.action) == verb and people.recording(c) in names] for verb, names in recordings.items()}


def chat(tokenizer, text: str, video: bool) -> str:
    content = [{"type": "video"}] * video + [{"type": "text", "text": text}]
    told = tokenizer.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True, tokenize=False)
    return told.replace("<|video_pad|>", "<|video_pad|>" * VIDEO_TOKENS)


class Teacher:
    """Batches of questions with answers, and the network that learns from them."""

    def __init__(self, lessons: dict[str, list[Clip]], seed: int):
        self.draw = np.random.default_rng(seed)
        torch.manual_seed(seed)
        self.tokenizer = word_tokenizer(self._sentences())
        self.network = small_network(self.tokenizer)
        self.videos = {verb: [window(clip, self.draw) for clip in clips for _ in range(VIEWS)] for verb, clips in lessons.items()}
        self.pads = self.tokenizer.convert_tokens_to_ids(["<|video_pad|>", "<|endoftext|>"])
        self.letters = torch.tensor(self.tokenizer.convert_tokens_to_ids([blank + letter for letter in people.LETTERS for blank in ("", " ")]))

    def _sentences(self) -> list[str]:
        draw = np.random.default_rng(0)
        texts = []
        for number in range(1500):
            verb = people.VERBS[number % len(people.VERBS)]
            options = people.choose_options(verb, people.VERBS, draw)
            texts += [people.told(verb, draw) + " " + people.asked(people.problem(draw), options), people.answer(verb, people.letter_of(options, verb), draw)]
            texts += [people.asked(people.problem(draw), options)]
        return texts

    def batch(self, kind: str, rows: int) -> tuple[Tensor, Tensor, Tensor | None]:
        """Token ids [B,L] padded on the right, labels [B,L] with -100 where nothing is to be learnt, and pixels of videos."""
        draw, texts, videos = self.draw, [], []
        for _ in range(rows):
            shown = str(draw.choice(people.VERBS))
            options = people.choose_options(shown, people.VERBS, draw)
            blank = kind == "video" and draw.random() < BLANK
            verb = str(draw.choice(options)) if kind == "video" and (draw.random() < WRONG or blank) else shown
            letter = people.letter_of(options, verb)
            text = people.asked(people.problem(draw), options)
            if kind == "lookup":
                prompt, reply = "\n".join(people.lettered(options)), f" is {verb}, which is {letter}"
            else:
                prompt = chat(self.tokenizer, text if kind == "video" else f"{people.told(shown, draw)} {text}", kind == "video")
                reply = people.answer(verb, letter, draw)
                reply = (people.spoilt(reply, draw) if kind == "video" and draw.random() < SPOILT else reply) + "<|im_end|>"
            asked, replied = (self.tokenizer.encode(part, add_special_tokens=False) for part in (prompt, reply))
            ignored = len(asked) + (len(replied) - 1 if kind == "lookup" else 0)
            texts.append((asked + replied, [-100] * ignored + (asked + replied)[ignored:]))
            if kind == "video":
                video = self.videos[shown][draw.integers(len(self.videos[shown]))]
                videos.append(np.full_like(video, round(255 * MEAN[0])) if blank else video)
        longest = max(len(ids) for ids, _ in texts)
        ids = torch.tensor([ids + [self.pads[1]] * (longest - len(ids)) for ids, _ in texts])
        labels = torch.tensor([labels + [-100] * (longest - len(labels)) for _, labels in texts])
        return ids, labels, torch.tensor(np.stack(videos)) if videos else None

    def losses(self, ids: Tensor, labels: Tensor, pixels: Tensor | None, letters: float) -> tuple[Tensor, Tensor]:
        """Of every word that is to be learnt [N]: its cross-entropy, and its weight."""
        given = {"position_ids": torch.arange(ids.shape[1]).expand(3, len(ids), -1)}
        if pixels is not None:
            given = inputs(self.network, ids, pixels, self.pads[0])
        places = labels[:, 1:] != -100
        learnt = labels[:, 1:][places]
        hidden = self.network.model(input_ids=ids, use_cache=False, **given).last_hidden_state[:, :-1][places]
        weights = torch.where(torch.isin(learnt, self.letters), letters, 1.0)
        return torch.nn.functional.cross_entropy(self.network.lm_head(hidden), learnt, reduction="none"), weights

    def train(self, stage: Stage) -> list[dict]:
        """AdamW with warm-up and a cosine; the curve of the weighted loss."""
        optimizer = torch.optim.AdamW(self.network.parameters(), lr=stage.learning_rate, weight_decay=0.01, betas=(0.9, 0.98))
        curve, started, running = [], time.time(), []
        for step in range(1, stage.steps + 1):
            cosine = 0.1 + 0.9 * np.cos(np.pi / 2 * step / stage.steps)
            optimizer.param_groups[0]["lr"] = stage.learning_rate * min(1, step / 30) * cosine
            parts = [self.losses(*self.batch(kind, rows), stage.letters) for kind, rows in stage.rows.items()]
            losses, weights = (torch.cat(part) for part in zip(*parts))
            loss = (losses * weights).sum() / weights.sum()
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
            optimizer.step()
            running.append(loss.item())
            if step % 25 == 0 or step == stage.steps:
                curve.append({"stage": stage.name, "step": step, "loss": float(np.mean(running)), "seconds": time.time() - started})
                print(f"people, {stage.name}: step {step}/{stage.steps} loss {curve[-1]['loss']:.3f} {curve[-1]['seconds']:.0f} s", flush=True)
                running = []
        return curve


def inputs(network, ids: Tensor, pixels: Tensor, pad: int) -> dict:
    """What the model reads of videos beside the tokens; every prompt has its video in the same place."""
    grids = torch.tensor([GRID] * len(ids))
    kinds = 2 * (ids == pad).int()
    positions, _ = network.model.get_rope_index(ids[:1], kinds[:1], video_grid_thw=grids[:1], second_per_grid_ts=torch.tensor([0.5]))
    return {
        "pixel_values_videos": patches(pixels).flatten(0, 1), "video_grid_thw": grids, "mm_token_type_ids": kinds,
        "position_ids": positions.expand(3, len(ids), -1),
    }  # fmt: skip


def train_people(clips: list[Clip], folder: Path, seed: int, command: str, stages: tuple[Stage, ...] = STAGES) -> None:
    """Trains on lessons and writes the model to `folder`, after each stage too, with its curves."""
    started = time.time()
    teacher = Teacher(by_verb(clips, people.roles(clips).lessons), seed)
    curve, processor = [], image_processor(SIZE * SIZE, SIZE * SIZE)
    for stage in stages:
        curve += teacher.train(stage)
        save_folder(folder, teacher.network, teacher.tokenizer, processor)
    report = {"command": command, "seed": seed, "parameters": sum(p.numel() for p in teacher.network.parameters())}
    (folder / "metrics.json").write_text(json.dumps(report | {"seconds": time.time() - started, "curve": curve}, indent=1))
