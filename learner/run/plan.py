"""What a run will do, worked out before anything starts: prompts, requests and their seeds."""

import functools
import logging
import os
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from learner.config.settings import Config
from rewards.family import Examination, Rewards, rewards_of
from rewards.own_class import use_folder
from rollout.family import Family, family
from rollout.io.errors import InputError
from rollout.policy import Conditioning, Preparer, Prompt, Request, arrays_digest
from rollout.seeds import Purpose, seed_of

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Plan:
    """The prompts of a run, encoded, and the requests made of them.

    training: by place in the prompt file, those that this run comes to; of tens of thousands most runs need few. prompts:
    how many there are. examined: the places of those that are evaluated. shared: what the driver worked out for all reward
    actors. prompts_sha256: of the whole file.
    """

    config: Config
    family: Family
    rewards: Rewards
    training: dict[int, Conditioning]
    prompts: int
    examined: list[int]
    heldout: list[Conditioning]
    shared: Any
    prompts_sha256: str

    @classmethod
    def make(cls, config: Config) -> "Plan":
        return cls.of_seeds([config])[0]

    @classmethod
    def of_seeds(cls, configs: list[Config]) -> list["Plan"]:
        """Reads both prompt files and encodes what runs of settings that differ in the seed alone need of them, each prompt once.

        A held-out prompt that is trained on, however it is written, is left out and reported. Raises InputError when none
        is left, and for a model that cannot be trained.
        """
        torch.set_num_threads(1)  # how many there are orders the sums, and so the last bits of what is encoded and embedded here
        config = configs[0]
        own, wanted = family(config.family), config.evaluate.prompts
        preparer = own.preparer(config)
        prompts = preparer.read(config.rollout.prompts or own.shipped("training", config))
        cards = min(config.iterations * config.rollout.prompts_per_iteration, len(prompts))  # then all are out
        examined = [sorted({deal(each.seed, position, len(prompts)) for position in range(min(wanted, len(prompts)))}) for each in configs]
        dealt = [{deal(each.seed, position, len(prompts)) for position in range(cards)} for each in configs]
        places = sorted(set().union(*dealt, *examined))
        encoded = dict(zip(places, preparer.prepare([prompts[place] for place in places])))
        training = [{place: encoded[place] for place in sorted(its.union(judged))} for its, judged in zip(dealt, examined)]
        heldout = [_never_trained_on(config, preparer, own, prompts, its) for its in training]
        rewards = rewards_of(config.family)
        use_folder(os.getcwd())
        shared = rewards.check(config, [c.prompt for c in [*encoded.values(), *sum(heldout, [])]])
        digest = arrays_digest({}, repr(prompts))
        return [
            cls(each, own, rewards, its, len(prompts), judged, kept, shared, digest)
            for each, its, judged, kept in zip(configs, training, examined, heldout)
        ]  # fmt: skip

    def quality(self, results: list[Examination]) -> dict[str, float | str | None]:
        """What the family says of all outputs of an evaluation together."""
        return self.rewards.quality(self.config, results)

    def rollout_requests(self, iteration: int) -> list[Request]:
        """The groups of one iteration: the next prompts of a shuffled deck, reshuffled whenever it runs out."""
        rollout, seed = self.config.rollout, self.config.seed
        first = iteration * rollout.prompts_per_iteration
        dealt = [self.training[deal(seed, first + i, self.prompts)] for i in range(rollout.prompts_per_iteration)]
        seeds = [seed_of(seed, Purpose.TRAINING, iteration, i) for i in range(len(dealt))]
        return [Request(c, rollout.group_size, noise, rollout.trained_steps) for c, noise in zip(dealt, seeds)]

    def heldout_requests(self) -> list[Request]:
        """Prompts never trained on; the same noise whenever it is asked for."""
        return self._evaluation(self.heldout, Purpose.HELDOUT, self.config.evaluate.samples_per_prompt)

    def trained_requests(self) -> list[Request]:
        """Training prompts, the first that the deck deals, under noise that training never uses; at least as many samples
        as held-out ones."""
        wanted = len(self.heldout) * self.config.evaluate.samples_per_prompt
        conditionings = [self.training[place] for place in self.examined]
        return self._evaluation(conditionings, Purpose.TRAINED_AGAIN, max(2, -(-wanted // len(conditionings))))

    def _evaluation(self, conditionings: list[Conditioning], purpose: Purpose, samples: int) -> list[Request]:
        return [Request(c, samples, seed_of(self.config.seed, purpose, i), 0) for i, c in enumerate(conditionings)]


def deal(seed: int, position: int, prompts: int) -> int:
    """The place in the prompt file of card `position` of a deck that is shuffled anew whenever it runs out."""
    return int(_deck(seed, position // prompts, prompts)[position % prompts])


@functools.lru_cache(maxsize=2)
def _deck(seed: int, round_: int, prompts: int) -> np.ndarray:
    return np.random.default_rng(seed_of(seed, Purpose.ORDER, round_)).permutation(prompts)


def _never_trained_on(
    config: Config, preparer: Preparer, own: Family, prompts: list[Prompt], training: dict[int, Conditioning]
) -> list[Conditioning]:  # fmt: skip
    """The first held-out prompts that ask for what no training prompt does, nor what the model is told of it."""
    file = config.evaluate.heldout or own.shipped("heldout", config)
    asked = {prompt.asked for prompt in prompts}
    told = {arrays_digest(conditioning.arrays, conditioning.prompt.apart) for conditioning in training.values()}
    heldout, shared, left = [], [], preparer.read(file)
    while left and (missing := config.evaluate.prompts - len(heldout)):
        some, left = left[:missing], left[missing:]
        for conditioning in preparer.prepare(some):
            known = conditioning.prompt.asked in asked or arrays_digest(conditioning.arrays, conditioning.prompt.apart) in told
            (shared if known else heldout).append(conditioning)
    if not heldout:
        raise InputError(f"evaluate.heldout: every prompt of {file} is a training prompt, such as {shared[0].prompt.text!r}")
    if shared:
        log.warning("evaluate.heldout: left out %d training prompts of %s, such as %r", len(shared), file, shared[0].prompt.text)
    return heldout
