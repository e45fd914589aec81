"""Every setting of an evaluation of motion. Model, evaluators, cluster and tracking are set as in a training run."""

from learner.config.settings import Cluster, Tracking
from learner.evaluate.settings import ADAPTER, FAMILY, OUT
from rewards.motion.metrics import DIVERSITY_PAIRS
from rewards.motion.settings import JudgedTerms
from rollout.io.settings import FilePath, Section, option, refuse
from rollout.motion.settings import Model

SHORTEST = 8  # frames, for the evaluators to read
POOL = 32  # captions among which a motion has to find its own; the batch of the official protocol


class EvaluateConfig(Section):
    """One evaluation."""

    family: str = FAMILY
    adapter: tuple[str, ...] = ADAPTER
    data: FilePath | None = option(None, "HumanML3D or KIT folder, or Parquet file of clips; null = the held-out prompts that ship with the project")
    split: str = option("test", "split of --data that is read")
    prompts: tuple[str, ...] = option(
        (), "file of further prompts, as FILE or NAME=FILE, such as some out of the distribution: a split of its own without real motion, whose "
        "rows stand beside the others; given again, another",
    )  # fmt: skip
    quick: bool = option(False, "5 replications without MultiModality, as the official code's debug mode")
    replications: int | None = option(None, "times that everything is sampled anew; null = 20, or 5 with --quick", minimum=2)
    multimodality: int | None = option(
        None, "replications that measure MultiModality too, with 30 motions of 128 captions; null = 5, or 0 with --quick", minimum=0
    )
    samples: int = option(1000, f"motions of each replication, rounded up to pools of {POOL}", above=DIVERSITY_PAIRS)
    best_of: int = option(
        4, "beside adapters, a row of the base model that makes so many motions of each caption, of which the reward chooses one: "
        "what training has to beat; 1 = no such row", minimum=1,
    )  # fmt: skip
    seed: int = option(0, "captions, crops and noise derive from it, the same for every row", minimum=0)
    out: FilePath | None = OUT
    model: Model = Model()
    reward: JudgedTerms = JudgedTerms()
    cluster: Cluster = Cluster()
    tracking: Tracking = Tracking()

    def check(self) -> None:
        if self.model.frames < SHORTEST:
            refuse("model.frames", self.model.frames, f"at least {SHORTEST} for the evaluators to read")
        if (self.multimodality or 0) > self.rounds:
            refuse("multimodality", self.multimodality, f"at most the {self.rounds} replications")

    @property
    def rounds(self) -> int:
        """Replications."""
        return self.replications or (5 if self.quick else 20)

    @property
    def multimodal_rounds(self) -> int:
        """The first so many of them measure MultiModality."""
        if self.multimodality is not None:
            return self.multimodality
        return 0 if self.quick else min(5, self.rounds)

    @property
    def chooses(self) -> bool:
        """Whether there is a row of the best of several."""
        return bool(self.adapter) and self.best_of > 1

    @property
    def pools(self) -> int:
        """Pools of 32 in each replication."""
        return -(-self.samples // POOL)
