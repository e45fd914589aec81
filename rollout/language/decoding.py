"""Which token comes next, and how likely it was: the distribution that sampling and recompute share, and sampling with a cache."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from rollout.language.prompted import Batch, hidden


@dataclass(frozen=True)
class Distribution:
    """softmax(logits / temperature) over the tokens that are allowed. top_k: only so many, 0 = all. forbidden: ids that are never sampled."""

    temperature: float
    top_k: int
    forbidden: Tensor

    def scaled(self, logits: Tensor) -> Tensor:
        """float32 of logits [...,V], -inf where forbidden."""
        return (logits.float() / self.temperature).index_fill(-1, self.forbidden, -torch.inf)

    def support(self, scaled: Tensor) -> Tensor | None:
        """The ids [...,k] that are sampled of, None for all."""
        return scaled.topk(self.top_k, sorted=False).indices if 0 < self.top_k < scaled.shape[-1] else None

    def log_prob(self, scaled: Tensor, tokens: Tensor, support: Tensor | None) -> Tensor:
        """Of `tokens` [...], among those of `support` where it is given: the sampler's own, so that a change of weights moves the
        likelihood of a token and never what it was compared with."""
        among = scaled if support is None else scaled.gather(-1, support)
        return scaled.gather(-1, tokens[..., None])[..., 0] - among.logsumexp(-1)

    def pick(self, scaled: Tensor, uniform: Tensor, support: Tensor | None) -> Tensor:
        """Ids [B], by the inverse of the cumulative distribution at `uniform` float64 [B] in [0, 1), in float64."""
        if support is not None:
            scaled = torch.full_like(scaled, -torch.inf).scatter(-1, support, scaled.gather(-1, support))
        cumulative = scaled.double().softmax(-1).cumsum(-1)
        whole = cumulative[:, -1:].contiguous()
        picked = torch.searchsorted(cumulative, uniform[:, None] * whole, right=True)
        return torch.minimum(picked, torch.searchsorted(cumulative, whole))[:, 0]  # the last that has any probability


@dataclass(frozen=True)
class Decoded:
    """`tokens` [B,T], `mask` True up to and with the end; `log_probs` as the cached passes saw them; `support` [B,T,k] or None."""

    tokens: Tensor
    mask: Tensor
    log_probs: Tensor
    support: Tensor | None


def decode(
    language_model: nn.Module, head: Callable[[Tensor], Tensor], prompts: Batch, repeats: int, uniforms: Tensor, distribution: Distribution,
    ends: tuple[int, ...], pad: int,
) -> Decoded:  # fmt: skip
    """Answers of at most T tokens to `prompts`, each `repeats` times. uniforms: float64 [B x repeats, T], one number a token."""
    from transformers import DynamicCache

    embed, cache = language_model.embed_tokens, DynamicCache(config=language_model.config)
    last = hidden(language_model, prompts, cache)[:, -1].repeat_interleave(repeats, dim=0)
    cache.batch_repeat_interleave(repeats)
    after, rows = prompts.after.repeat_interleave(repeats), len(uniforms)
    seen = None if prompts.seen is None else prompts.seen.repeat_interleave(repeats, dim=0)
    stops, going = torch.tensor(ends, device=last.device), torch.ones(rows, dtype=torch.bool, device=last.device)
    made: list[tuple] = []
    for step in range(uniforms.shape[1]):
        scaled = distribution.scaled(head(last))
        support = distribution.support(scaled)
        token = distribution.pick(scaled, uniforms[:, step], support)
        made.append((torch.where(going, token, pad), going, distribution.log_prob(scaled, token, support), support))
        going = going & ~torch.isin(token, stops)
        if step + 1 == uniforms.shape[1] or not going.any():
            break
        seen = None if seen is None else nn.functional.pad(seen, (0, 1), value=True)
        batch = Batch(embed(made[-1][0][:, None]), (after + step).expand(3, -1)[..., None], after, seen, None, [])
        last = hidden(language_model, batch, cache)[:, -1]
    tokens, mask, log_probs, supports = zip(*made)
    stacked = [torch.stack(parts, dim=1) for parts in (tokens, mask, log_probs)]
    return Decoded(*stacked, torch.stack(supports, dim=1) if supports[0] is not None else None)


def uniforms(seeds: list[tuple[int, ...]], count: int) -> np.ndarray:
    """float64 [len(seeds), count] in [0, 1): a function of the seed of an answer and the place in it, whoever draws."""
    return np.stack([np.random.Generator(np.random.Philox(np.random.SeedSequence(seed))).random(count) for seed in seeds])
