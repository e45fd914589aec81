"""Every setting of an evaluation of answers. Model, reward, cluster and tracking are set as in a training run."""

from learner.config.settings import Cluster, Tracking
from learner.evaluate.settings import ADAPTER, FAMILY, OUT
from rewards.language.settings import Reward
from rollout.io.settings import FilePath, Section, option, refuse
from rollout.language.settings import Model, Rollout


class EvaluateConfig(Section):
    """One evaluation."""

    family: str = FAMILY
    adapter: tuple[str, ...] = ADAPTER
    data: FilePath | None = option(
        None, "items, .json (IntentBench's qa.json), .jsonl, or .yaml of a mix; null = the held-out ones that ship with the project"
    )
    media: FilePath | None = option(
        None, "folder that the media of --data lie in, such as IntentBench/videos; null = that of the file, or as the mix says"
    )
    general: FilePath | None = option(
        None, "general items, files as of --data; accuracy on them is told apart, so that forgetting shows; null = those that ship, if the "
        "held-out ones that ship are asked, else none",
    )  # fmt: skip
    samples: int = option(0, "answers sampled for each item; 0 = the greedy one, as IntentBench has it", minimum=0)
    temperature: float = option(1.0, "of these samples", above=0)
    max_new_tokens: int = option(
        256, "longest answer; one that is longer is cut off there and counted. IntentBench's own evaluation has 2048", minimum=1
    )
    batch: int = option(
        8, "answers that a sampler makes at once; another number rounds otherwise, which may turn an answer that was a tie", minimum=1
    )
    seed: int = option(0, "samples, and draws of a mix, derive from it, the same for every row", minimum=0)
    out: FilePath | None = OUT
    model: Model = Model()
    reward: Reward = Reward()
    cluster: Cluster = Cluster()
    tracking: Tracking = Tracking()

    def check(self) -> None:
        if self.media and (self.data or ".yaml").lower().endswith((".yaml", ".yml")):
            refuse("media", self.media, "--data FILE.json or FILE.jsonl beside it: a mix names the folders of its media itself")

    @property
    def answers(self) -> int:
        """For each item."""
        return self.samples or 1

    @property
    def rollout(self) -> Rollout:
        """How answers are sampled. Of the likeliest token alone the sample is the greedy answer."""
        return Rollout(max_new_tokens=self.max_new_tokens, temperature=self.temperature, top_k=0 if self.samples else 1)
