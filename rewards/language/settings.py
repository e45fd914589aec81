"""What scores the language family's answers, and the evaluations of a run. Cheap to import."""

import dataclasses

from rewards.components import Component, parse_components
from rewards.evaluate_settings import Evaluate
from rewards.language.kinds import DEFAULT, KINDS
from rollout.io.settings import Section, option


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


SECTIONS = {"reward": Reward, "evaluate": Evaluate}
