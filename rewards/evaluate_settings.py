"""The settings of a run's evaluations, of any family."""

from typing import Literal

from rollout.io.settings import FilePath, Section, option, refuse


class Evaluate(Section):
    """The same prompts and noise, base model beside tuned. Always before and after training."""

    every: int = option(25, "iterations between evaluations during training; 0 = only before and after", minimum=0)
    prompts: int = option(64, "held-out prompts, never trained on; and at most as many training prompts", minimum=1)
    samples_per_prompt: int = option(4, "samples of each of them", minimum=1)
    patience: int = option(3, "evaluations in a row with the reward risen and the judge fallen, beyond noise, after which the run warns", minimum=1)
    on_divergence: Literal["warn", "stop"] = option("warn", "what that does: warn, or stop = end the run there, its adapter saved; needs evaluate.every")
    heldout: FilePath | None = option(
        None, "file of held-out prompts, or list of clips such as HumanML3D/test.txt; null = those that ship with the project"
    )

    def check(self) -> None:
        if self.on_divergence == "stop" and not self.every:
            refuse("on_divergence", "stop", "evaluate.every above 0 beside it: without evaluations nothing is seen to diverge")
