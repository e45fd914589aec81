"""What scores and judges motion: the evaluators, the reward made of them, and the evaluations of a run. Cheap to import."""

from typing import ClassVar, Literal

from rewards.components import Component, parse_components
from rewards.evaluate_settings import Evaluate
from rewards.motion.kinds import DEFAULT, KINDS, choose_judge
from rollout.io.errors import InputError
from rollout.io.settings import FilePath, HubName, Section, option


class Evaluators(Section):
    """The networks that read motions: TMR, T2M, and a TMR that reads joints."""

    beside: ClassVar[tuple[str, ...]] = ("joints",)  # that judge beside the judge
    t2m_path: FilePath | None = option(
        None, "T2M evaluator: a finest.tar, or the MDM checkout around it with glove folder and statistics; null = the shipped one"
    )
    tmr_path: FilePath | None = option(
        None, "TMR evaluator: a run folder with config.json, last_weights and stats; null = the shipped one"
    )
    joints_path: FilePath | None = option(
        None, "TMR that reads joints, or the 67 features that determine them, and judges beside the judge: a run folder; "
        "null = the shipped one, none beside evaluators of yours"
    )  # fmt: skip
    tmr_stats: FilePath | None = option(
        None, "folder of TMR's mean.pt and std.pt; null = stats in its run folder, or where config.json says"
    )
    text_encoder: HubName | None = option(
        None, "DistilBERT that TMR reads text with, a folder or a hub name; null = distilbert-base-uncased in the hub cache"
    )
    tmr_text_encoder_path: FilePath | None = option(
        None, "weights file of TMR's text encoder, instead of tmr_path; one file may hold both encoders", flags=("--tmr_text_encoder_path", "--tmr_checkpoint_path")
    )
    tmr_motion_encoder_path: FilePath | None = option(
        None, "weights file of TMR's motion encoder, instead of tmr_path", flags=("--tmr_motion_encoder_path",)
    )
    tmr_movement_encoder_path: FilePath | None = option(
        None, "checked and not used by the score: TMR has no movement encoder; its motion_decoder.pt may be given",
        flags=("--tmr_movement_encoder_path",),
    )  # fmt: skip

    def check(self) -> None:
        if self.tmr_path and (given := self.tmr_files()):
            raise InputError(f"reward.tmr_path: given together with --{given[0]}, expected the run folder or its single files")

    def tmr_files(self) -> list[str]:
        """Names of the single TMR files that are given."""
        return [name for name in Evaluators.model_fields if name.endswith("_encoder_path") and getattr(self, name)]

    def custom(self, evaluator: str) -> bool:
        """Whether `evaluator` ("tmr", "t2m" or one of `beside`) is another than the shipped one."""
        return any(getattr(self, name) for name in type(self).model_fields if name.startswith(evaluator))

    def evaluators(self) -> tuple[str, ...]:
        """Those that there are, by name. What ships of `beside` knows the words and motions of the others that ship, and is none beside
        other evaluators."""
        shipped = not (self.custom("tmr") or self.custom("t2m"))
        return ("tmr", "t2m", *(name for name in self.beside if shipped or self.custom(name)))


class RewardTerms(Evaluators):
    """What a motion is scored by: a weighted sum of components."""

    components: dict = option(
        DEFAULT, "terms of the reward by name: path, weight, normalise, options; none = TMR cosine, less sliding feet"
    )

    def check(self) -> None:
        super().check()
        for name, component in self.parsed().items():
            KINDS.of(name, component.path)

    def parsed(self) -> dict[str, Component]:
        """The components as rewards read them."""
        return parse_components(self.components)


class JudgedTerms(RewardTerms):
    """Of an evaluation, which has a second judge of joints; in a run it would say again what the first says."""

    beside: ClassVar[tuple[str, ...]] = ("joints", "essential")

    essential_path: FilePath | None = option(
        None, "TMR that reads the 67 features that determine the joints, a second judge of them: a run folder; null = the shipped one, "
        "none beside evaluators of yours"
    )  # fmt: skip


class Reward(RewardTerms):
    """The reward of a run. The judge reports and never trains."""

    judge: Literal["tmr", "t2m"] | None = option(None, "evaluator that judges; null = the one that no component reads")

    def chosen_judge(self) -> tuple[str, bool]:
        """The evaluator that judges, and whether no component reads it."""
        return choose_judge(self.parsed(), self.judge)


SECTIONS = {"reward": Reward, "evaluate": Evaluate}
