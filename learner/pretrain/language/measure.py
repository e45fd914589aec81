"""What the people model answers to held-out questions: how often it is right, and how often in the form that is asked for."""

from pathlib import Path

import numpy as np
import torch
from transformers import AutoModelForImageTextToText, AutoTokenizer

from learner.pretrain.language.teach import chat, inputs
from rewards.language.answers import Answers
from rewards.language.format import Format
from rollout.language.items import read_items
from rollout.language.media import read_frames

LONGEST = 64  # tokens of an answer


@torch.no_grad()
def measured(folder: Path, seed: int = 0) -> dict[str, dict[str, float]]:
    """`sampled` at temperature 1 and `greedy`, of FOLDER/heldout.jsonl: accuracy of the first letter between answer tags, whatever
    the form; `answered`, the share that has one; `named`, the share that says
    in words what is done; `format`, the share that is well-formed."""
    network, tokenizer = AutoModelForImageTextToText.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)
    items = read_items(folder / "heldout.jsonl")
    asked = [tokenizer.encode(chat(tokenizer, item.text, True), add_special_tokens=False) for item in items]
    videos = torch.tensor(np.stack([np.stack([np.asarray(image) for image in read_frames(item.media[0][1], 8).images]) for item in items]))
    found = {}
    for name, kind in (("sampled", {"do_sample": True, "top_k": 0, "top_p": 1.0}), ("greedy", {"do_sample": False})):
        torch.manual_seed(seed)
        texts = [""] * len(items)
        for length in sorted({len(ids) for ids in asked}):  # questions of one length need no padding
            rows = [row for row, ids in enumerate(asked) if len(ids) == length]
            ids = torch.tensor([asked[row] for row in rows])
            given = inputs(network, ids, videos[rows], tokenizer.convert_tokens_to_ids("<|video_pad|>"))
            del given["position_ids"]  # `generate` makes its own
            given["second_per_grid_ts"] = torch.full((len(rows),), 0.5)
            answers = network.generate(input_ids=ids, max_new_tokens=LONGEST, **kind, **given)
            for row, answer in zip(rows, answers):
                texts[row] = tokenizer.decode(answer[length:]).split(tokenizer.eos_token)[0]
        letters = [text.partition("<answer>")[2].partition("</answer>")[0].strip() for text in texts]
        right = [item.solution.partition("<answer>")[2].partition("</answer>")[0] for item in items]
        well_formed = Format()(Answers(texts, np.zeros(len(items), int), items, texts))
        named = [f" is {option.partition('. ')[2]}," in text for text, option in zip(texts, (item.options["ABCD".index(a)] for item, a in zip(items, right)))]
        found[name] = {
            "named": float(np.mean(named)),
            "accuracy": float(np.mean([a == b for a, b in zip(letters, right)])), "answered": float(np.mean([a != "" for a in letters])),
            "format": float(np.mean(well_formed)),
        }  # fmt: skip
    return found
