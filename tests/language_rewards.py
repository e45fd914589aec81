"""A stand-in for the language family's rewards: how many of an answer's letters are in the first half of the alphabet."""

import numpy as np

from rewards.components import parse_components
from rewards.compose import raw_total
from rewards.family import Examination
from rewards.registry import build
from rewards.scoring import Scorer
from rollout.io.settings import Section, option
from tests.toy_family import Evaluate, Samples


class Reward(Section):
    """What an answer is scored by."""

    components: dict = option({"letters": {"path": "tests.language_rewards:Letters"}}, "terms of the reward by name")

    def parsed(self):
        return parse_components(self.components)


class Letters:
    def __call__(self, samples):
        return np.array([sum(32 <= ord(c) < 80 for c in text) / max(1, len(text)) for text in samples.values], np.float32)


class StandIn:
    """See `rewards.family.Rewards`; it has no judge."""

    def subjects(self, *groups):
        texts = [group.prompt.text for group in groups for _ in range(len(group))]
        answers = np.concatenate([group.columns["text"] for group in groups])
        return Samples(answers, texts, np.repeat(np.arange(len(groups)), [len(group) for group in groups]))

    def load(self, config, device, shared):
        components = config.reward.parsed()
        return Scorer(components, {name: build(name, component, None) for name, component in components.items()}, {}), None

    def check(self, config, prompts):
        self.load(config, "cpu", None)

    def standing(self, config, prompts, shared):
        return {}

    def examine(self, groups, scorer, judge):
        scores = scorer(self.subjects(*groups)).split([len(group) for group in groups])
        return [Examination(raw_total(scorer.settings, each.values), each.values, None, {}) for each in scores]

    def quality(self, config, results):
        return {}


REWARDS, SECTIONS = StandIn(), {"reward": Reward, "evaluate": Evaluate}
