"""Supervised training of the small people model, and the items that ship with it.

Three stages, since looking up the letter of a named option is the slow part: that alone; whole answers without a video, where the
question says what is seen; whole answers to videos.
"""

import json
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from learner.pretrain.language import people
from learner.pretrain.language.figures import FRAMES, SIZE, figure_video, save_video
from learner.pretrain.language.folder import image_processor, patches, save_folder, small_network, word_tokenizer
from rollout.motion.dataset import Clip

LONGEST_WINDOW = 80  # frames of a motion that a video spans
VIEWS = 3  # of each lesson
AZIMUTH = 0.7  # radians to either side
VIDEO_TOKENS = FRAMES // 2 * (SIZE // 28) ** 2
GRID = [FRAMES // 2, SIZE // 14, SIZE // 14]


@dataclass(frozen=True)
class Teaching:
    """Hyper-parameters; the defaults made the shipped model."""

    lookup_steps: int = 400
    told_steps: int = 300
    video_steps: int = 400
    batch_size: int = 64
    learning_rate: float = 3e-3
    wrong: float = 0.2  # of the answers to videos name any of the four options, so that there is something left for rewards to teach
    spoilt: float = 0.1  # of them have a fault of form, likewise


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

    def __init__(self, lessons: dict[str, list[Clip]], options: Teaching, seed: int):
        self.draw, self.options = np.random.default_rng(seed), options
        torch.manual_seed(seed)
        self.tokenizer = word_tokenizer(self._sentences())
        self.network = small_network(self.tokenizer)
        self.videos = {verb: [window(clip, self.draw) for clip in clips for _ in range(VIEWS)] for verb, clips in lessons.items()}
        self.pads = self.tokenizer.convert_tokens_to_ids(["<|video_pad|>", "<|endoftext|>"])

    def _sentences(self) -> list[str]:
        draw = np.random.default_rng(0)
        texts = []
        for number in range(1500):
            verb = people.VERBS[number % len(people.VERBS)]
            options = people.choose_options(verb, people.VERBS, draw)
            texts += [people.told(verb, draw) + " " + people.asked(people.problem(draw), options), people.answer(verb, people.letter_of(options, verb), draw)]
            texts += [people.asked(people.problem(draw), options)]
        return texts

    def batch(self, stage: str) -> tuple[Tensor, Tensor, Tensor | None]:
        """Token ids [B,L] padded on the right, labels [B,L] with -100 where nothing is to be learnt, and pixels of videos."""
        draw, rows, videos = self.draw, [], []
        for _ in range(self.options.batch_size * (2 if stage == "lookup" else 1)):
            shown = str(draw.choice(people.VERBS))
            options = people.choose_options(shown, people.VERBS, draw)
            verb = str(draw.choice(options)) if stage == "video" and draw.random() < self.options.wrong else shown
            letter = people.letter_of(options, verb)
            text = people.asked(people.problem(draw), options)
            if stage == "lookup":
                prompt, reply = "\n".join(people.lettered(options)), f" is {verb}, which is {letter}"
            else:
                prompt = chat(self.tokenizer, text if stage == "video" else f"{people.told(shown, draw)} {text}", stage == "video")
                reply = people.answer(verb, letter, draw)
                reply = (people.spoilt(reply, draw) if stage == "video" and draw.random() < self.options.spoilt else reply) + "<|im_end|>"
            asked, replied = (self.tokenizer.encode(part, add_special_tokens=False) for part in (prompt, reply))
            ignored = len(asked) + (len(replied) - 1 if stage == "lookup" else 0)
            rows.append((asked + replied, [-100] * ignored + (asked + replied)[ignored:]))
            if stage == "video":
                videos.append(self.videos[shown][draw.integers(len(self.videos[shown]))])
        longest = max(len(ids) for ids, _ in rows)
        ids = torch.tensor([ids + [self.pads[1]] * (longest - len(ids)) for ids, _ in rows])
        labels = torch.tensor([labels + [-100] * (longest - len(labels)) for _, labels in rows])
        return ids, labels, torch.tensor(np.stack(videos)) if videos else None

    def loss(self, ids: Tensor, labels: Tensor, pixels: Tensor | None) -> Tensor:
        given = {"position_ids": torch.arange(ids.shape[1]).expand(3, len(ids), -1)}
        if pixels is not None:
            given = inputs(self.network, ids, pixels, self.pads[0])
        places = labels[:, 1:] != -100
        hidden = self.network.model(input_ids=ids, use_cache=False, **given).last_hidden_state[:, :-1][places]
        return torch.nn.functional.cross_entropy(self.network.lm_head(hidden), labels[:, 1:][places])

    def train(self, stage: str, steps: int, seconds: float) -> list[dict]:
        """AdamW with warm-up and a cosine; the curve. Ends early where `seconds` are over."""
        optimizer = torch.optim.AdamW(self.network.parameters(), lr=self.options.learning_rate, weight_decay=0.01, betas=(0.9, 0.98))
        curve, started, running = [], time.time(), []
        for step in range(1, steps + 1):
            done = max(step / steps, (time.time() - started) / seconds)
            optimizer.param_groups[0]["lr"] = self.options.learning_rate * min(1, step / 30) * (0.1 + 0.9 * max(0.0, np.cos(np.pi / 2 * done)))
            loss = self.loss(*self.batch(stage))
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
            optimizer.step()
            running.append(loss.item())
            if step % 25 == 0 or step == steps:
                curve.append({"stage": stage, "step": step, "loss": float(np.mean(running)), "seconds": time.time() - started})
                print(f"people {stage} step {step}/{steps} loss {curve[-1]['loss']:.3f} {curve[-1]['seconds']:.0f} s", flush=True)
                running = []
            if done >= 1:
                break
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


def write_items(folder: Path, name: str, clips: dict[str, list[Clip]], verbs: tuple[str, ...], each: int, seed: int) -> list[tuple[dict, np.ndarray]]:
    """`each` questions for every verb, in FOLDER/NAME.jsonl with their videos beside it. Returns the rows and videos."""
    draw, found = np.random.default_rng(seed), []
    (folder / name).mkdir(parents=True, exist_ok=True)
    for number in range(each):
        for verb in verbs:
            pool = clips[verb]
            clip = pool[number % len(pool)]
            video, options = window(clip, draw), people.choose_options(verb, verbs, draw)
            letter = people.letter_of(options, verb)
            file = f"{name}/{len(found):03d}.webp"
            save_video(folder / file, video)
            row = {
                "problem": people.problem(draw), "problem_type": "multiple choice", "options": list(people.lettered(options)),
                "solution": f"<answer>{letter}</answer>", "answer": letter, "data_type": "video", "path": file, "recording": people.recording(clip),
            }  # fmt: skip
            found.append((row, video))
    (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row, _ in found))
    return found


def write_people_items(clips: list[Clip], folder: Path, seed: int) -> None:
    """Questions for learning by reward and, of recordings that no training has seen, for measuring. Only what is done in a held-out
    recording is asked about, so that what an answer is like is the same in both."""
    roles = people.roles(clips)
    heldout, practice, lessons = (by_verb(clips, names) for names in (roles.heldout, roles.practice, roles.lessons))
    verbs = tuple(verb for verb in people.VERBS if heldout[verb])
    write_items(folder, "heldout", heldout, verbs, 20, seed + 2)
    write_items(folder, "train", {verb: practice[verb] or lessons[verb] for verb in verbs}, verbs, 16, seed + 1)


def train_people(clips: list[Clip], folder: Path, seed: int, options: Teaching, seconds: float, command: str) -> None:
    """Trains on lessons for at most `seconds` and writes the model to `folder`, after each stage too, with its curves."""
    started = time.time()
    teacher = Teacher(by_verb(clips, people.roles(clips).lessons), options, seed)
    curve, processor = [], image_processor(SIZE * SIZE, SIZE * SIZE)
    for stage, steps, share in (("lookup", options.lookup_steps, 0.25), ("told", options.told_steps, 0.2), ("video", options.video_steps, 0.55)):
        curve += teacher.train(stage, steps, seconds * share)
        save_folder(folder, teacher.network, teacher.tokenizer, processor)
    report = {"command": command, "seed": seed, "parameters": sum(p.numel() for p in teacher.network.parameters())}
    (folder / "metrics.json").write_text(json.dumps(report | {"seconds": time.time() - started, "curve": curve}, indent=1))
