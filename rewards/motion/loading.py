"""The reward and the judge of a run, built from its settings."""

import functools

from rewards.components import Component
from rewards.motion.evaluators import Evaluator, load_evaluator
from rewards.motion.settings import Evaluators
from rewards.motion.texts import Embedded
from rewards.registry import build, evaluators_of
from rewards.scoring import Scorer


def load_reward_and_judge(
    components: dict[str, Component], judge: str, paths: Evaluators, device: str = "cpu", texts: Embedded | None = None
) -> tuple[Scorer, Evaluator]:
    """Both of a run; an evaluator that several read is loaded once. Raises InputError for what cannot be loaded."""
    evaluator = functools.cache(lambda name: load_evaluator(name, paths, device, texts))
    built = {name: build(name, component, evaluator) for name, component in components.items()}
    return Scorer(components, built, {name: evaluator(name) for name in evaluators_of(components)}), evaluator(judge)
