"""Training of the small evaluators that ship with the project: TMR, TMRs that read joints, and T2M, with nothing in common but data.

Both see the train split only; the state that retrieves best on val is kept; test is for the numbers in metrics.json.
"""

import json
import logging
import time
from pathlib import Path
from typing import Callable

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from learner.pretrain.crops import CaptionedCrops
from learner.pretrain.mdm import STD_GROUPS, feature_statistics
from learner.pretrain.retrieval import retrieval, robustness
from rewards.motion.readings import READINGS
from rewards.motion.t2m import BiGRUEncoder, MovementEncoder, T2MReward, TextEncoder
from rewards.motion.tmr import ActorDecoder, ActorEncoder, TMRReward, valid_frames
from rewards.motion.words import CATEGORIES, EOS, SOS, WordTable, encode_caption
from rollout.motion.dataset import Clip
from rollout.motion.skeleton import HUMANML3D
from rollout.motion.vocabulary import Vocabulary

BATCH = 64
SPOILT = ["frozen", "shuffled", "jittered"] * 4
TEMPERATURE = 0.1
MARGIN = 10.0
# What each reads, as wide as `rewards/motion/readings.py` knows it; its latent width; and the groups that share a std.
TMRS = {"tmr": (HUMANML3D.features, 128, STD_GROUPS), "joints": (66, 96, ((0, 3), (3, 66))), "essential": (67, 96, STD_GROUPS[:4])}
TMR_WEIGHTS = {"contrastive": 1.0, "recons": 1.0, "kl": 1e-5, "latent": 1e-5}


def train_tmr(
    clips: list[Clip], features: list[np.ndarray], out_folder: Path, seed: int, steps: int, command: str = "", kind: str = "tmr"
) -> dict:
    """Trains TMR on the clips' train split and writes a folder for `TMRReward.load`. Returns what metrics.json holds.

    Loss: InfoNCE on the latent means (temperature 0.1, both ways; pairs whose captions say the same are no negatives)
    + SmoothL1 reconstruction from both modalities + KL + latent SmoothL1, as in Petrovich et al. 2023, with the
    contrastive term at weight 1 and motions spoilt on purpose as further negatives. kind: of TMRS, what it reads and how wide it is.
    """
    torch.manual_seed(seed)
    width, latent, groups = TMRS[kind]
    reads = READINGS.get(width)
    train, train_features = of_split(clips, features, "train")
    read = [reads(motion) for motion in train_features] if reads else train_features
    mean, of_groups = feature_statistics(read, groups)
    # Per dimension, as TMR does, but a joint that hardly turns in the data must not rule the input.
    std = np.maximum(np.concatenate(read).std(axis=0), of_groups / 4)
    vocabulary = Vocabulary.build([caption for clip in train for caption in clip.captions])
    text_shape = {"nfeats": latent, "latent_dim": latent, "ff_size": 2 * latent, "num_layers": 2, "num_heads": 4}
    motion_shape = {**text_shape, "nfeats": width}
    decoder_shape = {**motion_shape, "num_layers": 1}
    model = nn.ModuleDict(
        {
            "text": ActorEncoder(**text_shape),
            "motion": ActorEncoder(**motion_shape),
            "decoder": ActorDecoder(**decoder_shape),
            "words": nn.Embedding(len(vocabulary), latent, _weight=0.5 * torch.randn(len(vocabulary), latent)),
        }
    )
    crops = CaptionedCrops(train, train_features, mean, std, seed, reads)

    def loss() -> dict[str, Tensor]:
        x_ntf, lengths_n, captions, alike_bn = crops.batch(BATCH, SPOILT, noise=0.1)
        mask_nt = valid_frames(x_ntf.shape[1], lengths_n)
        words = [crops.forget_words(vocabulary.encode(caption), 0.05) for caption in captions]
        words_bl = nn.utils.rnn.pad_sequence([torch.tensor(w) for w in words], batch_first=True)
        text_mask_bl = valid_frames(words_bl.shape[1], torch.tensor([len(w) for w in words]))
        text_mu, text_logvar = model["text"](model["words"](words_bl), text_mask_bl)
        motion_mu, motion_logvar = model["motion"](x_ntf, mask_nt)

        cosine_bn = nn.functional.normalize(text_mu, dim=-1) @ nn.functional.normalize(motion_mu, dim=-1).T
        logits_bn = (cosine_bn / TEMPERATURE).masked_fill(alike_bn, -torch.inf)
        both_ways = logits_bn, logits_bn[:, :BATCH].T
        contrastive = sum(nn.functional.cross_entropy(logits, torch.arange(BATCH)) for logits in both_ways)

        # The VAE terms on a quarter of the batch: reconstruction is costly and here only regularises.
        part = BATCH // 4
        text, motion = (text_mu[:part], text_logvar[:part]), (motion_mu[:part], motion_logvar[:part])
        text_z, motion_z = (mu + torch.randn_like(mu) * (logvar / 2).exp() for mu, logvar in (text, motion))
        decoded = model["decoder"](torch.cat([text_z, motion_z]), mask_nt[:part].repeat(2, 1))
        recons = nn.functional.smooth_l1_loss(decoded, x_ntf[:part].repeat(2, 1, 1)) * 2
        standard = torch.zeros_like(text_z), torch.zeros_like(text_z)
        kl = sum(gaussian_kl(a, b) for a, b in ((text, motion), (motion, text), (text, standard), (motion, standard)))
        latent = nn.functional.smooth_l1_loss(text_z, motion_z)
        return {"contrastive": contrastive / 2, "recons": recons, "kl": kl, "latent": latent}

    def judge(m: nn.ModuleDict) -> TMRReward:
        statistics = torch.tensor(mean), torch.tensor(std)
        return TMRReward(m["text"], m["motion"], *statistics, WordTable("tmr", vocabulary, m["words"].weight).encode)

    best, report = optimise(model, loss, TMR_WEIGHTS, judge, clips, features, steps, kind)
    (out_folder / "last_weights").mkdir(parents=True, exist_ok=True)
    (out_folder / "stats").mkdir(exist_ok=True)
    for part in ("text", "motion"):
        torch.save(dict(best[part].state_dict()), out_folder / "last_weights" / f"{part}_encoder.pt")
    torch.save(torch.tensor(mean), out_folder / "stats" / "mean.pt")
    torch.save(torch.tensor(std), out_folder / "stats" / "std.pt")
    torch.save(best["words"].weight.detach().clone(), out_folder / "word_embeddings.pt")
    vocabulary.save(out_folder / "vocabulary.json")
    parts = {"text_encoder": text_shape, "motion_encoder": motion_shape, "motion_decoder": decoder_shape}
    config = {"model": {**parts, "vae": True, "lmd": TMR_WEIGHTS, "temperature": TEMPERATURE}, "seed": seed}
    (out_folder / "config.json").write_text(json.dumps(config, indent=2))
    return finish(TMRReward.load(out_folder), clips, features, out_folder, {"command": command, "seed": seed, **report})


def train_t2m(clips: list[Clip], features: list[np.ndarray], out_folder: Path, seed: int, steps: int, command: str = "") -> dict:
    """Trains T2M on the clips' train split and writes a folder for `T2MReward.load`. Returns what metrics.json holds.

    Loss: the contrastive margin loss of Guo et al. 2022 (margin 10), squared distance of true pairs and squared
    shortfall below the margin of false ones, over all pairs of the batch that do not say the same, spoilt motions
    included. The movement encoder learns with the rest (officially: before, as an autoencoder), as do the word vectors.
    """
    torch.manual_seed(seed)
    train, train_features = of_split(clips, features, "train")
    mean, std = feature_statistics(train_features)
    std[:4] /= 5  # the official feature bias: root motion counts more
    seen = Vocabulary.build([caption for clip in train for caption in clip.captions])
    vocabulary = Vocabulary([SOS, EOS, *seen.words])
    word_dim, movement, hidden, output = 64, 128, 128, 128
    model = nn.ModuleDict(
        {
            "text": TextEncoder(word_dim, len(CATEGORIES), 96, output),
            "movement": MovementEncoder(HUMANML3D.features - 4, movement, movement),
            "motion": BiGRUEncoder(movement, hidden, output),
            "words": nn.Embedding(len(vocabulary), word_dim),
        }
    )
    crops = CaptionedCrops(train, train_features, mean, std, seed)

    def judge(m: nn.ModuleDict) -> T2MReward:
        statistics = torch.tensor(mean), torch.tensor(std)
        return T2MReward(m["text"], m["movement"], m["motion"], *statistics, WordTable("t2m", vocabulary, m["words"].weight))

    def loss() -> dict[str, Tensor]:
        x_ntf, lengths_n, captions, alike_bn = crops.batch(BATCH, SPOILT, noise=0.1)
        encoded = [encode_caption(vocabulary, caption) for caption in captions]
        words = [torch.tensor([w[0], *crops.forget_words(w[1:-1], 0.05), w[-1]]) for w, _ in encoded]
        words_bl = nn.utils.rnn.pad_sequence(words, batch_first=True)
        kinds_bl = nn.utils.rnn.pad_sequence([torch.tensor(kinds) for _, kinds in encoded], batch_first=True)
        kinds_blc = nn.functional.one_hot(kinds_bl, len(CATEGORIES)).float()
        vectors_blw = nn.functional.dropout(model["words"](words_bl), 0.2)
        text_bd = model["text"](vectors_blw, kinds_blc, torch.tensor([len(w) for w in words]))
        motion_nd = embed(x_ntf, lengths_n)
        squared_bn = (text_bd[:, None] - motion_nd[None]).square().sum(-1)
        false_bn = ~alike_bn & ~torch.eye(*squared_bn.shape, dtype=torch.bool)
        short_bn = (MARGIN - (squared_bn + 1e-6).sqrt()).clamp(min=0).square() * false_bn
        # Averaged over the pairs that are still too close: the many easy ones would drown them.
        close = (short_bn > 0).sum().clamp(min=1)
        return {"positive": squared_bn.diagonal().mean(), "negative": short_bn.sum() / close}

    embed = judge(model).embed_normalised
    best, report = optimise(model, loss, {"positive": 1.0, "negative": 1.0}, judge, clips, features, steps, "t2m")
    out_folder.mkdir(parents=True, exist_ok=True)
    checkpoint = {f"{part}_encoder": dict(best[part].state_dict()) for part in ("text", "motion", "movement")}
    torch.save(checkpoint, out_folder / "finest.tar")
    np.save(out_folder / "mean.npy", mean)
    np.save(out_folder / "std.npy", std)
    np.save(out_folder / "word_vectors.npy", best["words"].weight.detach().numpy())
    vocabulary.save(out_folder / "vocabulary.json")
    return finish(T2MReward.load(out_folder), clips, features, out_folder, {"command": command, "seed": seed, **report})


def optimise(
    model: nn.ModuleDict, loss: Callable[[], dict[str, Tensor]], weights: dict[str, float], judge: Callable, clips: list[Clip],
    features: list[np.ndarray], steps: int, name: str,
) -> tuple[nn.ModuleDict, dict]:  # fmt: skip
    """AdamW on the weighted loss terms; returns the averaged weights that retrieved best on val, and the curves."""
    val, val_features = of_split(clips, features, "val")
    average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.99))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-3, total_steps=steps, pct_start=0.1)
    started, curves, best, best_score, recent = time.perf_counter(), [], None, -1.0, []
    for step in range(1, steps + 1):
        model.train()
        terms = loss()
        total = sum(weights[key] * term for key, term in terms.items())
        optimizer.zero_grad()
        total.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        average.update_parameters(model)
        recent.append([float(total.detach()), *(float(term.detach()) for term in terms.values())])
        if step % 100 and step != steps:
            continue
        logger = logging.getLogger("rewards")
        level = logger.level
        logger.setLevel(logging.ERROR)  # val's unknown words are expected: not again at every validation
        try:
            result = retrieval(judge(average.module), val, val_features)
        finally:
            logger.setLevel(level)
        score = result["r_at_1"] + result["r_at_3"]
        if score > best_score:
            best_score, best = score, {k: v.detach().clone() for k, v in average.module.state_dict().items()}
        means = dict(zip(["loss", *terms], np.mean(recent, axis=0).round(5).tolist()))
        seconds = time.perf_counter() - started
        curves.append({"step": step, **means, "val_r_at_1": result["r_at_1"], "val_r_at_3": result["r_at_3"]})
        print(
            f"{name} step {step}/{steps}  " + "  ".join(f"{key} {value:.4f}" for key, value in means.items()),
            f" val R@1 {result['r_at_1']:.3f} R@3 {result['r_at_3']:.3f}  eta {seconds / step * (steps - step):.0f} s",
            flush=True,
        )
        recent = []
    average.module.load_state_dict(best)
    return average.module, {
        "steps": steps, "batch_size": BATCH, "seconds": round(time.perf_counter() - started, 1), "final": curves[-1],
        "curves": {key: [row[key] for row in curves] for key in curves[0]},
    }  # fmt: skip


def finish(reward, clips: list[Clip], features: list[np.ndarray], out_folder: Path, report: dict) -> dict:
    """Measures the evaluator as it was written, prints and writes metrics.json."""
    for split in ("val", "test"):
        report[f"retrieval_{split}"] = retrieval(reward, *of_split(clips, features, split))
    report["robustness_test"] = robustness(reward, *of_split(clips, features, "test"))
    networks = [value for value in vars(reward).values() if isinstance(value, nn.Module)]
    report["parameters"] = sum(p.numel() for network in networks for p in network.parameters())
    (out_folder / "metrics.json").write_text(json.dumps(report, indent=1))
    print(f"{reward.name} test retrieval {report['retrieval_test']}")
    for case, row in report["robustness_test"].items():
        print(f"{reward.name}  {case:14} score {row['mean']:8.4f}   below own {row['below_own']:.2f}", flush=True)
    return report


def of_split(clips: list[Clip], features: list[np.ndarray], split: str) -> tuple[list[Clip], list[np.ndarray]]:
    """The clips of one split and their features."""
    rows = [i for i, clip in enumerate(clips) if clip.split == split]
    return [clips[i] for i in rows], [features[i] for i in rows]


def gaussian_kl(q: tuple[Tensor, Tensor], p: tuple[Tensor, Tensor]) -> Tensor:
    """Mean KL(q || p) of diagonal Gaussians given as (mean, log-variance)."""
    (q_mu, q_logvar), (p_mu, p_logvar) = q, p
    return 0.5 * (p_logvar - q_logvar + (q_logvar.exp() + (q_mu - p_mu) ** 2) / p_logvar.exp() - 1).mean()
