"""The reward and the judge of a run, built from its settings."""

import functools

from rewards.components import Component
from rewards.motion.evaluators import load_evaluator
from rewards.motion.kinds import KINDS, evaluators_of
from rewards.motion.settings import Evaluators
from rewards.motion.space import Evaluator
from rewards.motion.texts import Embedded
from rewards.scoring import Scorer


def load_reward_and_judge(
    components: dict[str, Component], judge: str, paths: Evaluators, device: str = "cpu", texts: Embedded | None = None,
    deadline_s: float = 300.0,
) -> tuple[Scorer, Evaluator]:  # fmt: skip
    """Both of a run; an evaluator that several read is loaded once. deadline_s: what served components have for a call, one
    after the other. Raises InputError for what cannot be loaded."""
    evaluator = functools.cache(lambda name: load_evaluator(name, paths, device, texts))
    served = sum(KINDS.of(name, component.path) is KINDS.served for name, component in components.items())
    built = {name: KINDS.build(name, component, evaluator, deadline_s / max(1, served)) for name, component in components.items()}
    return Scorer(components, built, {name: evaluator(name) for name in evaluators_of(components)}), evaluator(judge)
