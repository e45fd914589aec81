"""The vision-language policy: answers sampled token by token, and their log-probs with gradient.

Behaviour log-probs are no by-product of decoding, whose cached passes round otherwise: the sampler scores the finished group by
the very code of the recompute, in the same shapes, so that on a CPU the recomputed log-probs equal the sampled ones bit for bit.
"""

import functools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from rollout.io.errors import InputError, RunFailed
from rollout.io.files import replace_file
from rollout.language.checkpoint import READ, open_checkpoint
from rollout.language.decoding import Distribution, decode, uniforms
from rollout.language.processor import levels
from rollout.language.prompted import Batch, Features, PromptReader, hidden
from rollout.language.settings import LORA_TARGETS, Model, Rollout
from rollout.policy import Conditioning, Request, Score, Trajectories
from rollout.trainable import Trainable

# Nats, by which cached decoding may differ from a whole pass: root mean square over a group's tokens, since rounding in bf16 has a long
# tail (.005 on average and .11 for one token in 1,500 on one CPU), where other inputs or weights move every token.
DECODE_GAP = {"fp32": 1e-4, "tf32": 6e-3, "bf16": 5e-2}  # TF32 keeps three bits more than bf16
RECOMPUTE_GAP = {"fp32": 1e-4, "tf32": 6e-3, "bf16": 5e-2}  # the same of two whole passes, where a device may choose another kernel
KL_RANGE, KL_MOST = 20.0, 10.0  # bounds on the log-ratio inside the k3 estimate, and on the estimate


@dataclass(frozen=True)
class LanguageSettings:
    """What defines a language policy, the same in every process of a run. lora_rank 0 trains every weight of the language model
    instead of an adapter."""

    model: Model
    rollout: Rollout
    lora_rank: int = 0
    lora_alpha: float = 1.0
    lora_targets: tuple[str, ...] = LORA_TARGETS
    adapter_seed: int = 0
    activation_checkpointing: bool = False
    precision: str = "fp32"  # see `cluster.precision`


class LanguagePolicy(Trainable):
    """Samples groups and recomputes them with gradient; see `rollout.policy.Policy`."""

    def __init__(self, settings: LanguageSettings, device: str = "cpu"):
        self.settings, self.device = settings, torch.device(device)
        self.tolerance = 0.0 if self.device.type == "cpu" else RECOMPUTE_GAP[settings.precision]
        self.checkpoint = opened = open_checkpoint(settings.model.checkpoint)
        self.tokenizer = opened.tokenizer
        network = opened.network(settings.precision).to(self.device)
        trained = [network.model.language_model, network.lm_head]
        targets = tuple(targets_in(network, settings.lora_targets)) if settings.lora_rank else ()
        if not settings.lora_rank:
            for module in trained:
                module.float()  # what is trained is kept in full, and computes in `precision`
        self.train_part_of(network, settings.lora_rank, settings.lora_alpha, targets, settings.adapter_seed, trained)
        if settings.activation_checkpointing:
            for layer in self.network.model.language_model.layers:
                layer.forward = functools.partial(_checkpointed, layer.forward)
        self.reader = PromptReader(opened.architecture, opened.ids, levels(opened.images), self.device)
        forbidden = torch.tensor(opened.forbidden, dtype=torch.long, device=self.device)
        self.distribution = Distribution(settings.rollout.temperature, settings.rollout.top_k, forbidden)

    # --- sampling ------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def sample(self, request: Request) -> Trajectories:
        """G answers in one batch, and the log-prob of every token of them where the request is trained on.

        `outputs` int32 [G,T]: token ids, padded after the end. `lengths` count the token that ends an answer. `actions`: with
        top-k, `support` [G,T,k]. Raises RunFailed where decoding and scoring differ by more than rounding explains.
        """
        self.require_eval()
        conditioning, size = request.conditioning, request.group_size
        prompt = self.reader(self.network.model, conditioning)
        made = self._decode([prompt], size, [(*request.seed, i) for i in range(size)])
        tokens, mask, lengths = made.tokens.cpu().numpy().astype(np.int32), made.mask.cpu().numpy(), made.mask.sum(1).cpu().numpy()
        truncated = self._truncated(tokens, lengths)
        counted = mask & ~truncated[:, None] if self.settings.rollout.mask_truncated else mask
        measured = {"mean_answer_length": float(lengths.mean()), "truncated_fraction": float(truncated.mean())}
        log_probs, actions = np.empty((size, 0), np.float32), {}
        if request.trained_steps:
            support = None if made.support is None else made.support.cpu().numpy().astype(np.int32)
            actions = {} if support is None else {"support": support}
            scored = torch.cat([self._log_probs(prompt, tokens[rows], support, rows) for rows in self._parts(size)])
            log_probs = torch.where(made.mask, scored, 0.0).cpu().numpy()
            measured["max_decode_gap"] = self._require_same((made.log_probs - scored)[made.mask], conditioning)
        else:
            counted = counted[:, :0]
        columns = {"text": self._texts(tokens, lengths), "truncated": truncated}
        return Trajectories(
            conditioning.prompt, conditioning.digest, tokens, lengths, log_probs, counted, columns, tuple(request.seed), *self.loaded,
            conditioning, actions, measured=measured,
        )  # fmt: skip

    @torch.no_grad()
    def generate(self, conditionings: list[Conditioning], seeds: list[tuple[int, ...]]) -> np.ndarray:
        """An object array [N,2]: one answer to each conditioning, in one batch of mixed prompts, and whether it was cut off."""
        self.require_eval()
        read = {each.digest: self.reader(self.network.model, each) for each in {each.digest: each for each in conditionings}.values()}
        made = self._decode([read[each.digest] for each in conditionings], 1, seeds)
        tokens, lengths = made.tokens.cpu().numpy(), made.mask.sum(1).cpu().numpy()
        return np.stack([self._texts(tokens, lengths), self._truncated(tokens, lengths).astype(object)], axis=1)

    def _decode(self, prompts: list[Features], repeats: int, seeds: list[tuple[int, ...]]):
        model = self.network
        noise = torch.tensor(uniforms(seeds, self.settings.rollout.max_new_tokens), device=self.device)
        with self.computing():
            batch = Batch.of(prompts, model.model.language_model.embed_tokens)
            return decode(
                model.model.language_model, model.lm_head, batch, repeats, noise, self.distribution, self.checkpoint.ends, self.checkpoint.pad
            )

    def _truncated(self, tokens: np.ndarray, lengths: np.ndarray) -> np.ndarray:
        """bool [N]: which answers have no end."""
        return ~np.isin(tokens[np.arange(len(tokens)), lengths - 1], self.checkpoint.ends)

    def _texts(self, tokens: np.ndarray, lengths: np.ndarray) -> np.ndarray:
        """[N] str: what was answered, without the token that ends it."""
        ends = set(self.checkpoint.ends)
        kept = [[int(i) for i in row[:length] if int(i) not in ends] for row, length in zip(tokens, lengths)]
        texts = [self.tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False) for ids in kept]
        return np.array([*texts, None], object)[:-1]

    def _require_same(self, differences: Tensor, conditioning: Conditioning) -> float:
        """The largest difference between a token's log-prob as decoding saw it and as it is trained on."""
        differences, bound = torch.nan_to_num(differences.abs(), nan=torch.inf), DECODE_GAP[self.settings.precision]
        gap = differences.square().mean().sqrt().item()
        if gap > bound:
            raise RunFailed(
                f"decoding with the cache gives log-probs that differ from a whole pass by {gap:.3g} nats (allowed {bound:g} in "
                f"{self.settings.precision}): prompt {conditioning.prompt.text[:80]!r}, adapter version {self.loaded[0]}"
            )
        return differences.max().item()

    # --- recompute -----------------------------------------------------------------------------------------------

    def score(self, trajectories: Trajectories, reference: frozenset[int] = frozenset(), only: int | None = None) -> Iterator[Score]:
        """All tokens of some answers after the other, `micro_batch` at a time, so that memory does not grow with a group.

        One pass gives every token of an answer, so a reference that is wanted of some tokens only is that of one whole part, which
        the first of them chooses.
        """
        self.require_eval()
        group, parts = trajectories, self._parts(len(trajectories))
        prompt = self.reader(self.network.model, group.conditioning)
        everywhere = len(reference) == group.log_probs.shape[1]
        for place, rows in enumerate(parts):
            if only is None or place == only % len(parts):
                yield self._score(prompt, group, rows, bool(reference) and (everywhere or place == min(reference) % len(parts)))

    def _score(self, prompt: Features, group: Trajectories, rows: slice, reference: bool) -> Score:
        """`log_ratio` is that of the tokens' own log-probs; `kl` k3, exp(d) - d - 1 with d = log(reference / current) (Schulman
        2020), both bounded. Where `mask` is False all are 0."""
        tokens, mask = group.outputs[rows], torch.tensor(group.mask[rows], device=self.device)
        old = torch.tensor(group.log_probs[rows], device=self.device)
        support = group.actions.get("support")
        ended = torch.tensor(np.arange(tokens.shape[1]) < group.lengths[rows, None], device=self.device)
        log_prob = torch.where(ended, self._log_probs(prompt, tokens, support, rows), 0.0)
        kl = log_prob_ref = None
        if reference:
            with torch.no_grad(), self.reference():
                log_prob_ref = torch.where(ended, self._log_probs(prompt, tokens, support, rows), 0.0)
            lead = (log_prob_ref - log_prob).clamp(-KL_RANGE, KL_RANGE)
            kl = (lead.exp() - lead - 1).clamp(max=KL_MOST)
        return Score(slice(None), log_prob, torch.where(mask, log_prob - old, 0.0), torch.ones_like(old), kl, log_prob_ref, 1, rows)

    def _parts(self, size: int) -> list[slice]:
        step = self.settings.rollout.micro_batch or size
        return [slice(start, min(start + step, size)) for start in range(0, size, step)]

    # --- the one computation both sides share --------------------------------------------------------------------

    def _log_probs(self, prompt: Features, tokens: np.ndarray, support: np.ndarray | None, rows: slice) -> Tensor:
        """[g,T] of the tokens [g,T] of answers to one prompt, in one pass without a cache."""
        model, answers = self.network, torch.tensor(tokens, dtype=torch.long, device=self.device)
        language_model, count = model.model.language_model, tokens.shape[1]
        with self.computing():
            batch = Batch.of([prompt] * len(tokens), language_model.embed_tokens).followed_by(answers, language_model.embed_tokens)
            logits = model.lm_head(hidden(language_model, batch)[:, -count - 1 : -1])
        among = None if support is None else torch.tensor(support[rows], dtype=torch.long, device=self.device)
        return self.distribution.log_prob(self.distribution.scaled(logits), answers, among)

    # --- files ---------------------------------------------------------------------------------------------------

    def save_adapter(self, folder: Path) -> None:
        """As `Trainable`; where all weights are trained, a whole checkpoint folder that `model.path` may name."""
        super().save_adapter(folder)
        if not self.settings.lora_rank:
            for name in READ:
                if (self.settings.model.checkpoint / name).is_file():
                    replace_file(folder / name, (self.settings.model.checkpoint / name).read_bytes())


def targets_in(network: nn.Module, names: tuple[str, ...]) -> list[str]:
    """The linears whose names are, or end in, one of those in the language model's layers, in full: towers have some of the same names.
    InputError for one that there is not."""
    endings = tuple(f".{name}" for name in names)
    found = [name for name, _ in network.named_modules() if ".language_model.layers." in name and f".{name}".endswith(endings)]
    if absent := [name for name in names if not any(f".{each}".endswith(f".{name}") for each in found)]:
        raise InputError(f"lora.targets: {absent[0]} is no linear of {type(network).__name__}'s language model")
    return found


def _checkpointed(forward, *given, **named):
    """`forward`, whose activations are computed again in the backward pass."""
    return checkpoint(forward, *given, use_reentrant=False, **named) if torch.is_grad_enabled() else forward(*given, **named)
