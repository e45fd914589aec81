"""Supervised training of the small points model, and the items that ship with it.

Where look-alikes are is learned from right answers alone; last come answers of which some name any place or have a fault of form, so
that something is left for rewards to teach.
"""

import json
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from learner.pretrain.language import points
from learner.pretrain.language.folder import image_processor, patches, save_folder, small_network, word_tokenizer
from learner.pretrain.language.scenes import SIZE, Crowd, scene, turned
from rollout.language.items import SEGMENTATION
from rollout.language.media import rle_of_mask

TOKENS = (SIZE // 28) ** 2  # of a picture
PICTURE, PAD = "<|image_pad|>", "<|endoftext|>"


@dataclass(frozen=True)
class Pointing:
    """Hyper-parameters; the defaults made the shipped model."""

    scenes: int = 3000  # each seen in eight ways
    steps: int = 800
    batch_size: int = 64
    learning_rate: float = 3e-3
    doubtful: float = 0.2  # of the steps, at the end: in these, of the answers,
    wrong: float = 0.4  # name any place
    spoilt: float = 0.1  # have a fault of form


class PointsTeacher:
    """Batches of scenes with questions and answers, and the network that learns from them."""

    def __init__(self, options: Pointing, seed: int):
        self.draw, self.options = np.random.default_rng(seed), options
        torch.manual_seed(seed)
        self.scenes = [scene(self.draw) for _ in range(options.scenes)]
        self.tokenizer = word_tokenizer(points.sentences())
        self.network = small_network(self.tokenizer)

    def batch(self, doubtful: bool) -> tuple[Tensor, Tensor, Tensor]:
        """Token ids [B,L] padded on the right, labels [B,L] with -100 where nothing is to be learnt, and pictures uint8 [B,H,W,3]."""
        draw, rows, pictures = self.draw, [], []
        for _ in range(self.options.batch_size):
            seen = turned(self.scenes[draw.integers(len(self.scenes))], int(draw.integers(8)))
            places = points.right(seen)
            places = points.wrong(places, draw) if doubtful and draw.random() < self.options.wrong else places
            reply = points.answer(places, seen)
            reply = points.spoilt(reply, draw) if doubtful and draw.random() < self.options.spoilt else reply
            asked = told(self.tokenizer, points.asked(points.problem(seen, draw)))
            replied = self.tokenizer.encode(f"{reply}{self.tokenizer.eos_token}", add_special_tokens=False)
            rows.append((asked + replied, [-100] * len(asked) + replied))
            pictures.append(seen.picture)
        longest, pad = max(len(ids) for ids, _ in rows), self.tokenizer.pad_token_id
        ids = torch.tensor([ids + [pad] * (longest - len(ids)) for ids, _ in rows])
        labels = torch.tensor([labels + [-100] * (longest - len(labels)) for _, labels in rows])
        return ids, labels, torch.tensor(np.stack(pictures))

    def loss(self, ids: Tensor, labels: Tensor, pictures: Tensor) -> Tensor:
        given = inputs(self.network, ids, pictures, self.tokenizer.convert_tokens_to_ids(PICTURE))
        places = labels[:, 1:] != -100
        hidden = self.network.model(input_ids=ids, use_cache=False, **given).last_hidden_state[:, :-1][places]
        return torch.nn.functional.cross_entropy(self.network.lm_head(hidden), labels[:, 1:][places])

    def train(self) -> list[dict]:
        """AdamW with warm-up and a cosine; the curve."""
        options, curve, started, running = self.options, [], time.time(), []
        optimizer = torch.optim.AdamW(self.network.parameters(), lr=options.learning_rate, weight_decay=0.01, betas=(0.9, 0.98))
        for step in range(1, options.steps + 1):
            cosine = 0.1 + 0.9 * np.cos(np.pi / 2 * step / options.steps)
            optimizer.param_groups[0]["lr"] = options.learning_rate * min(1, step / 30) * cosine
            doubtful = step > options.steps * (1 - options.doubtful)
            loss = self.loss(*self.batch(doubtful))
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
            optimizer.step()
            running.append(loss.item())
            if step % 25 == 0 or step == options.steps:
                curve.append({"stage": "doubtful" if doubtful else "right", "step": step, "loss": float(np.mean(running)), "seconds": time.time() - started})
                print(f"points step {step}/{options.steps} loss {curve[-1]['loss']:.3f} {curve[-1]['seconds']:.0f} s", flush=True)
                running = []
        return curve


def told(tokenizer, text: str) -> list[int]:
    """Token ids of a question about one picture."""
    content = [{"type": "image"}, {"type": "text", "text": text}]
    chat = tokenizer.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True, tokenize=False)
    return tokenizer.encode(chat.replace(PICTURE, PICTURE * TOKENS), add_special_tokens=False)


def inputs(network, ids: Tensor, pictures: Tensor, pad: int) -> dict:
    """What the model reads of pictures uint8 [B,H,W,3] beside the tokens; every prompt has its picture in the same place."""
    grids, kinds = torch.tensor([[1, SIZE // 14, SIZE // 14]] * len(ids)), (ids == pad).int()
    positions, _ = network.model.get_rope_index(ids[:1], kinds[:1], image_grid_thw=grids[:1])
    return {
        "pixel_values": patches(pictures[:, None].expand(-1, 2, -1, -1, -1)).flatten(0, 1), "image_grid_thw": grids, "mm_token_type_ids": kinds,
        "position_ids": positions.expand(3, len(ids), -1),
    }  # fmt: skip


def train_points(folder: Path, seed: int, command: str, options: Pointing = Pointing()) -> None:
    """Trains, and writes the model to `folder` with its curve."""
    started = time.time()
    teacher = PointsTeacher(options, seed)
    curve = teacher.train()
    save_folder(folder, teacher.network, teacher.tokenizer, image_processor(SIZE * SIZE, SIZE * SIZE))
    report = {"command": command, "seed": seed, "parameters": sum(p.numel() for p in teacher.network.parameters())}
    (folder / "metrics.json").write_text(json.dumps(report | {"seconds": time.time() - started, "curve": curve}, indent=1))


def write_points_items(folder: Path, seed: int, training: int = 512, heldout: int = 128) -> None:
    """Scenes for learning by reward and for measuring: other ones than those of the lessons, each drawn from a seed of its own."""
    for number, (name, count) in enumerate((("train", training), ("heldout", heldout)), 1):
        draw, rows = np.random.default_rng((seed, number)), []
        (folder / name).mkdir(parents=True, exist_ok=True)
        for place in range(count):
            rows.append(write_item(folder, f"{name}/{place:03d}", scene(draw), draw))
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def write_item(folder: Path, name: str, seen: Crowd, draw: np.random.Generator) -> dict:
    """The row of a question about a scene, whose picture and labels are written to FOLDER/NAME.webp and .labels.png."""
    Image.fromarray(seen.picture).save(folder / f"{name}.webp", lossless=True, method=6)
    Image.fromarray(seen.labels).save(folder / f"{name}.labels.png", optimize=True)
    return {
        "problem": points.problem(seen, draw), "problem_type": SEGMENTATION, "image": f"{name}.webp", "mask": rle_of_mask(seen.labels == 1),
        "box": list(seen.box), "points": [[round(each, 1) for each in seen.point]], "size": [SIZE, SIZE],
    }  # fmt: skip
