"""What scores the language family's answers, and the evaluations of a run. Cheap to import."""

import dataclasses
from typing import Literal

from rewards.components import Component, parse_components
from rewards.language.kinds import DEFAULT, KINDS
from rollout.io.settings import FilePath, Section, option, refuse


class Reward(Section):
    """What an answer is scored by: a weighted sum of components."""

    components: dict = option(
        DEFAULT, "terms of the reward by name: path, weight, normalise, options; none = accuracy, and a little for form and people"
    )

    def check(self) -> None:
        self.parsed()

    def parsed(self) -> dict[str, Component]:
        """The components as rewards read them. InputError for a kind that this family has not."""
        parsed = parse_components(self.components)
        return {name: dataclasses.replace(part, optional=KINDS.of(name, part.path).optional) for name, part in parsed.items()}


class Evaluate(Section):
    """The same questions and noise, base model beside tuned. Always before and after training."""

    every: int = option(0, "iterations between evaluations during training; 0 = only before and after", minimum=0)
    prompts: int = option(64, "held-out questions, never trained on; and at most as many training questions", minimum=1)
    samples_per_prompt: int = option(4, "answers sampled for each of them", minimum=1)
    patience: int = option(3, "evaluations in a row with the reward risen and the judge fallen, beyond noise, after which the run warns", minimum=1)
    on_divergence: Literal["warn", "stop"] = option("warn", "what that does: warn, or stop = end the run there, its adapter saved; needs evaluate.every")
    heldout: FilePath | None = option(None, "file of held-out questions; null = those that ship with the project")

    def check(self) -> None:
        if self.on_divergence == "stop" and not self.every:
            refuse("on_divergence", "stop", "evaluate.every above 0 beside it: without evaluations nothing is seen to diverge")


SECTIONS = {"reward": Reward, "evaluate": Evaluate}
