"""Random weights at official sizes in the official layouts: `python -m benchmarks.official_files DIR`.

DIR becomes an MDM checkout as people have it (checkpoint, T2M evaluator, glove, a small HumanML3D folder), beside a TMR run
folder and Hugging Face folders of a CLIP and a DistilBERT text tower. Every number in it is random; every format is real.
"""

import json
import pickle
import sys
from pathlib import Path

import numpy as np
import torch

from rewards.motion.t2m import BiGRUEncoder, MovementEncoder, TextEncoder
from rewards.motion.tmr import ActorDecoder, ActorEncoder
from rewards.motion.words import CATEGORIES
from rollout.motion.checkpoint import MotionCheckpoint, save_checkpoint
from rollout.motion.mdm import MDM, MDMShape

WORDS = "a person man walks walk runs run jumps jump sits sit turns turn kicks kick forward backward left right slowly quickly then".split()
CAPTIONS = [
    "a person walks forward then sits", "a man runs left", "a person jumps forward", "a man kicks right slowly",
    "a person turns left", "a person walks backward slowly", "a man sits then jumps", "a person runs quickly",
]  # fmt: skip
PART_OF_SPEECH = {"a": "DET", "person": "NOUN", "man": "NOUN", "then": "ADV", "slowly": "ADV", "quickly": "ADV"}
ARGS = {
    "arch": "trans_enc", "batch_size": 64, "cond_mask_prob": 0.1, "context_len": 0, "dataset": "humanml", "diffusion_steps": 1000,
    "emb_trans_dec": False, "lambda_vel": 0.0, "latent_dim": 512, "layers": 8, "lr": 1e-4, "mask_frames": False, "noise_schedule": "cosine",
    "num_frames": 60, "pos_embed_max_len": 5000, "pred_len": 0, "sigma_small": True, "text_encoder_type": "clip", "unconstrained": False,
    "use_ema": False,
}  # fmt: skip


def write_mdm(root: Path) -> None:
    torch.manual_seed(0)
    humanml = root / "dataset" / "HumanML3D"
    mean, std = np.zeros(263, np.float32), np.ones(263, np.float32)
    mean[3], std[:] = 0.95, 0.1
    denoiser = MDM(MDMShape(features=263, latent=512, feedforward=1024, layers=8, text=512)).eval()
    save_checkpoint(root / "save" / "humanml_trans_enc_512", 475000, MotionCheckpoint(denoiser, ARGS, None, mean, std))
    rng = np.random.default_rng(0)
    for folder in ("new_joint_vecs", "texts"):
        (humanml / folder).mkdir(parents=True, exist_ok=True)
    names = [f"{i:06d}" for i in range(len(CAPTIONS))]
    for name, caption in zip(names, CAPTIONS):
        tokens = " ".join(f"{word}/{PART_OF_SPEECH.get(word, 'VERB')}" for word in caption.split())
        (humanml / "texts" / f"{name}.txt").write_text(f"{caption}#{tokens}#0.0#0.0\n")
        np.save(humanml / "new_joint_vecs" / f"{name}.npy", rng.normal(size=(196, 263)).astype(np.float32))
    (humanml / "train.txt").write_text("\n".join(names[: len(names) // 2]) + "\n")
    (humanml / "test.txt").write_text("\n".join(names[len(names) // 2 :]) + "\n")
    for name, array in (("Mean", mean), ("Std", std)):
        (root / "save" / "humanml_trans_enc_512" / f"{name}.npy").unlink()  # people have them with the dataset
        np.save(humanml / f"{name}.npy", array)


def write_t2m(root: Path) -> None:
    torch.manual_seed(1)
    folder = root / "t2m" / "text_mot_match" / "model"
    folder.mkdir(parents=True)
    networks = {
        "text_encoder": TextEncoder(300, len(CATEGORIES), 512, 512), "movement_encoder": MovementEncoder(259, 512, 512),
        "motion_encoder": BiGRUEncoder(512, 1024, 512),
    }  # fmt: skip
    torch.save({**{name: network.state_dict() for name, network in networks.items()}, "epoch": 1, "iter": 1}, folder / "finest.tar")
    np.save(root / "dataset" / "t2m_mean.npy", np.zeros(263))
    np.save(root / "dataset" / "t2m_std.npy", np.ones(263))
    words = ["sos", "eos", "unk", *WORDS, *(f"word{i}" for i in range(4199 - 3 - len(WORDS)))]
    glove = root / "glove"
    glove.mkdir()
    np.save(glove / "our_vab_data.npy", np.random.default_rng(1).normal(size=(len(words), 300)))
    (glove / "our_vab_words.pkl").write_bytes(pickle.dumps(words, protocol=2))
    (glove / "our_vab_idx.pkl").write_bytes(pickle.dumps({word: i for i, word in enumerate(words)}, protocol=2))


def write_tmr(folder: Path) -> None:
    torch.manual_seed(2)
    widths = {"latent_dim": 256, "ff_size": 1024, "num_layers": 6, "num_heads": 4}
    parts = {
        "text_encoder": (ActorEncoder, 768), "motion_encoder": (ActorEncoder, 263), "motion_decoder": (ActorDecoder, 263),
    }  # fmt: skip
    (folder / "last_weights").mkdir(parents=True)
    (folder / "stats").mkdir()
    for part, (network, nfeats) in parts.items():
        torch.save(network(nfeats=nfeats, **widths).state_dict(), folder / "last_weights" / f"{part}.pt")
    model = {part: {"nfeats": nfeats, **widths} for part, (_, nfeats) in parts.items()}
    (folder / "config.json").write_text(json.dumps({"model": model}, indent=4))
    torch.save(torch.zeros(263), folder / "stats" / "mean.pt")
    torch.save(torch.ones(263), folder / "stats" / "std.pt")


def write_text_towers(root: Path) -> None:
    """CLIP ViT-B/32's text tower and DistilBERT, with vocabularies of single letters."""
    from transformers import CLIPTextConfig, CLIPTextModelWithProjection, DistilBertConfig, DistilBertModel

    torch.manual_seed(3)
    letters = [chr(c) for c in range(ord("a"), ord("z") + 1)]
    clip = CLIPTextConfig(vocab_size=49408, projection_dim=512, bos_token_id=49406, eos_token_id=49407)
    CLIPTextModelWithProjection(clip).save_pretrained(root / "clip")
    words = [*letters, *(f"{letter}</w>" for letter in letters)]
    words += [f"unused{i}" for i in range(49406 - len(words))] + ["<|startoftext|>", "<|endoftext|>"]
    (root / "clip" / "vocab.json").write_text(json.dumps({word: i for i, word in enumerate(words)}))
    (root / "clip" / "merges.txt").write_text("#version: 0.2\n")
    (root / "clip" / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "CLIPTokenizer"}))
    DistilBertModel(DistilBertConfig()).save_pretrained(root / "distilbert")
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters, *(f"##{letter}" for letter in letters)]
    pieces += [f"[unused{i}]" for i in range(30522 - len(pieces))]
    (root / "distilbert" / "vocab.txt").write_text("\n".join(pieces) + "\n")
    (root / "distilbert" / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "DistilBertTokenizer"}))


def write_all(root: Path) -> Path:
    """Writes everything; what is there already is left as it is."""
    if not (root / "distilbert" / "tokenizer_config.json").exists():
        root.mkdir(parents=True, exist_ok=True)
        write_mdm(root)
        write_t2m(root)
        write_tmr(root / "tmr")
        write_text_towers(root)
    return root


if __name__ == "__main__":
    print(write_all(Path(sys.argv[1])))
