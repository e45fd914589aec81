"""a, b: what sampling and a gradient take beside the cheapest passes that could give them; CPU seconds of one thread."""

import time

import torch

from benchmarks.speed.models import Size
from benchmarks.speed.side_by_side import medians
from learner.config.settings import Objective
from learner.gradient import Lesson, gradient
from learner.objective import shares
from rollout import lora
from rollout.adapter import Adapter


def of_sampling(size: Size, rounds: int) -> dict[str, float]:
    """The chain of a group, beside as many network passes with the adapter folded in for good: both guidance branches in one pass of
    twice the batch, and in two."""
    policy, plain = size.policy(), size.policy()
    policy.load_adapter(Adapter.pack(0, policy.adapter_state()))
    lora.merge(plain.network)
    (request,) = size.requests(1)
    batch = policy._batch([request.conditioning] * size.group, size.model.frames)
    x, t = torch.randn(size.group, batch.frames, len(policy.mean)), torch.full((size.group,), 3)
    empty = torch.zeros_like(batch.text)
    twice = torch.cat([x, x]), torch.cat([t, t]), torch.cat([batch.text, empty])
    masks = batch.frame_mask, batch.text_mask
    doubled = [None if mask is None else torch.cat([mask, mask]) for mask in masks]
    steps = len(policy.schedule)

    @torch.no_grad()
    def in_one() -> None:
        for _ in range(steps):
            plain.network(*twice, *doubled)

    @torch.no_grad()
    def in_two() -> None:
        for _ in range(steps):
            plain.network(x, t, batch.text, *masks)
            plain.network(x, t, empty, *masks)

    found = medians({"sampler": lambda: policy.sample(request), "one pass": in_one, "two passes": in_two}, rounds, time.process_time)
    return found | {"ratio": found["sampler"] / min(found["one pass"], found["two passes"])}


def of_gradient(size: Size, rounds: int) -> dict[str, float]:
    """A group's gradient, beside forward and backward of the conditional branch alone at every trained step: the unconditional
    one carries no gradient, so that nothing cheaper is known to give it."""
    policy = size.policy()
    policy.load_adapter(Adapter.pack(0, policy.adapter_state()))
    (request,) = size.requests(1)
    group = policy.sample(request)
    objective, advantage = Objective(), torch.linspace(-1, 1, size.group).numpy()
    (share,) = shares([group.counted], objective)
    lesson = Lesson(advantage, objective, share, 1, frozenset([0]), 0, True, policy.loaded[1])
    batch = policy._batch([request.conditioning] * size.group, size.model.frames)
    x, t = torch.randn(size.group, batch.frames, len(policy.mean)), torch.full((size.group,), 3)

    def passes() -> None:
        for _ in range(size.trained_steps):
            c = policy.network(x, t, batch.text, batch.frame_mask, batch.text_mask)
            torch.autograd.grad(c.sum(), policy.parameters())

    found = medians({"gradient": lambda: gradient(policy, group, lesson), "passes": passes}, rounds, time.process_time)
    return found | {"ratio": found["gradient"] / found["passes"]}
