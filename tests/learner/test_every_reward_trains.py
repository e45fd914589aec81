"""Every kind of reward that ships, on the model that ships: sampled, scored, composed and learned from for some iterations."""

import functools

import numpy as np
import pytest

from learner.config.settings import Config
from learner.learner import Learner
from learner.tally import ScoredGroup
from rewards.components import Component
from rewards.compose import Composer
from rewards.motion.evaluators import load_evaluator
from rewards.motion.kinds import KINDS
from rewards.motion.motions import as_motions
from rewards.motion.settings import Evaluators
from rewards.scoring import Scorer
from rollout.adapter import Adapter
from rollout.motion.diffusion_policy import MotionDiffusionPolicy
from rollout.motion.family import MOTION, policy_settings
from rollout.motion.prompts import read_prompts
from rollout.policy import Group, Request
from tests.tiny import prepared

ITERATIONS, STEPS = 2, 1
# Both feet of the model seldom stand while its body travels: a group of four may have no root drift at all.
QUIET = ("root_drift", "floating")


class Demo:
    """The shipped model, two of its training prompts, and what of them every kind may share."""

    def __init__(self):
        config = Config()
        self.policy = MotionDiffusionPolicy(policy_settings(config))
        self.config, self.untrained = config, Adapter.pack(0, self.policy.adapter_state())
        prompts = read_prompts(MOTION.shipped("training"), config.model.frames)
        self.prompts = prepared(self.policy, [next(p for p in prompts if word in p.text) for word in ("walk", "jump")])
        self.evaluator = functools.cache(lambda name: load_evaluator(name, Evaluators()))
        self.first = self.sample(self.untrained)

    def sample(self, adapter: Adapter) -> list[Group]:
        self.policy.load_adapter(adapter)
        iteration = adapter.version
        return [self.policy.sample(Request(c, 4, (0, 0, iteration, i), STEPS)) for i, c in enumerate(self.prompts)]

    def train(self, component: Component) -> list[dict[str, float]]:
        """Metrics of each iteration, from the untrained adapter on."""
        settings = {"it": component}
        scorer = Scorer(settings, {"it": KINDS.build("it", component, self.evaluator)}, {})
        self.policy.load_adapter(self.untrained)
        learner, composer = Learner(self.policy, self.config.objective, self.config.optimizer), Composer(settings)
        metrics = []
        for iteration in range(ITERATIONS):
            groups = self.sample(learner.adapter) if iteration else self.first
            scores = scorer(as_motions(*groups)).split([len(group) for group in groups])
            assert not any(each.failures for each in scores)
            scored = [ScoredGroup(group, total) for group, total in zip(groups, composer.total(scores))]
            metrics.append(learner.update(scored).metrics)
        return metrics


@pytest.fixture(scope="module")
def demo():
    return Demo()


@pytest.mark.parametrize("kind", KINDS.shipped)
def test_every_kind_trains_the_shipped_model(demo, kind):
    metrics = demo.train(Component(kind))
    assert all(np.isfinite([m["loss"], m["grad_norm"], m["mean_reward"]]).all() for m in metrics)
    assert all(m["log_prob_gap"] == 0 and m["failed_samples"] == 0 for m in metrics)
    if kind not in QUIET:
        assert any(m["grad_norm"] > 0 for m in metrics)


@pytest.mark.parametrize("normalise", ["std", "rank", "minmax", "percentile"])
def test_every_normalisation_trains_the_shipped_model(demo, normalise):
    metrics = demo.train(Component("tmr.cosine", normalise=normalise))
    assert all(m["grad_norm"] > 0 and np.isfinite(m["mean_reward"]) for m in metrics)
