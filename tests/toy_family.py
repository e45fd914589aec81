"""A second family: a linear policy over a handful of numbers, in as few lines as a family takes. All that the loop asks of one.

x ~ N(W c, SIGMA^2) with W [F,C] trainable and c one-hot of the prompt; the reward is minus the squared distance to a target.
"""

import json
from pathlib import Path
from typing import Literal

import numpy as np

from rewards.components import parse_components
from rewards.compose import raw_total
from rewards.family import Examination
from rewards.registry import Kinds
from rewards.scoring import Scorer
from rollout.group_settings import GroupSettings
from rollout.io.settings import FilePath, Section, option
from rollout.policy import Conditioning, Prompt
from tests.learner.toy import TARGETS, LinearPolicy

PROMPTS = {"training": ["up", "down"], "heldout": ["mixed"]}


class Empty(Section):
    """A family need not have settings of its own."""


class Rollout(GroupSettings):
    """What is sampled in one iteration."""

    prompts: FilePath | None = option(None, "file of prompts")
    prompts_per_iteration: int = option(2, "groups an iteration")
    group_size: int = option(8, "samples of a prompt")
    trained_steps: int = option(1, "actions of a sample that are trained on")
    keep: Literal["all", "best_worst", "none"] = option("all", "samples that are kept whole")


class Reward(Section):
    """What a sample is scored by."""

    components: dict = option({"near": {"path": "tests.toy_family:Nearness"}}, "terms of the reward by name")

    def parsed(self):
        return parse_components(self.components)


class Evaluate(Section):
    """Base beside tuned."""

    every: int = option(0, "iterations between evaluations")
    prompts: int = option(2, "held-out prompts")
    samples_per_prompt: int = option(4, "samples of each")
    patience: int = option(3, "evaluations in a row")
    on_divergence: Literal["warn", "stop"] = option("warn", "what divergence does")
    heldout: FilePath | None = option(None, "file of held-out prompts")


class Toy:
    """See `rollout.family.Family`; it prepares its own prompts."""

    name = "toy"
    sections = {"model": Empty, "lora": Empty, "rollout": Rollout}

    def columns(self):
        return []

    def preparer(self, config):
        return self

    def read(self, path):
        return [Prompt(text) for text in PROMPTS[Path(path).name]]

    def prepare(self, prompts):
        eye = np.eye(len(TARGETS), dtype=np.float32) + np.float32(0.1)  # each prompt has something of the others
        return [Conditioning(prompt, {"c": eye[list(TARGETS).index(prompt.text)]}) for prompt in prompts]

    def build(self, config):
        return LinearPolicy

    def files(self, config):
        return {}

    def shipped(self, name, config):
        return Path(name)

    def describe(self, config, policy):
        return "linear"

    def draw(self, folder, changes):
        (folder / "changes.json").write_text(json.dumps([[change.before.prompt.text, change.judged_after.reward] for change in changes]))


class Samples:
    """See `rewards.reward.Subjects`."""

    def __init__(self, values, prompts, groups):
        self.values, self.prompts, self.groups = values, prompts, groups

    def __len__(self):
        return len(self.values)

    def rows(self, index):
        index = list(index)
        return Samples(self.values[index].copy(), [self.prompts[i] for i in index], self.groups[index])


class Nearness:
    """Minus the mean squared distance to the prompt's target."""

    def __call__(self, samples):
        return -np.mean((samples.values - np.stack([TARGETS[text] for text in samples.prompts])) ** 2, axis=1)


class ToyRewards:
    """See `rewards.family.Rewards`; it has no judge."""

    def subjects(self, *groups):
        sizes = [len(group) for group in groups]
        texts = [group.prompt.text for group in groups for _ in range(len(group))]
        return Samples(np.concatenate([group.outputs[:, 0] for group in groups]), texts, np.repeat(np.arange(len(groups)), sizes))

    def load(self, config, device, shared):
        components = config.reward.parsed()
        return Scorer(components, {name: Kinds().build(name, component, None) for name, component in components.items()}, {}), None

    def check(self, config, prompts):
        self.load(config, "cpu", None)

    def standing(self, config, prompts, shared):
        return {}

    def examine(self, groups, scorer, judge):
        scores = scorer(self.subjects(*groups)).split([len(group) for group in groups])
        return [Examination(raw_total(scorer.settings, each.values), each.values, None, {}) for each in scores]

    def quality(self, config, results):
        return {"spread": float(np.std([result.reward for result in results]))}

    def measured(self, results):
        return {}


TOY, REWARDS, SECTIONS = Toy(), ToyRewards(), {"reward": Reward, "evaluate": Evaluate}
