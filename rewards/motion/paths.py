"""Which evaluators a run reads: one frozen record of every path that names one. Cheap to import."""

from dataclasses import dataclass, fields

from rollout.io.errors import InputError


@dataclass(frozen=True)
class EvaluatorPaths:
    """Paths of the T2M and TMR evaluators; None stands for what ships with the project.

    t2m_path: a folder or a finest.tar, see `rewards/motion/t2m_files.py`
    tmr_path: a TMR run folder; or, instead, its files one by one: tmr_text_encoder_path, tmr_motion_encoder_path and
        tmr_movement_encoder_path, see `rewards/motion/tmr_files.py`
    tmr_stats: folder of TMR's mean.pt and std.pt, when they are not where they are looked for
    text_encoder: DistilBERT that TMR reads text with, a folder or a hub name; None = distilbert-base-uncased

    Raises InputError when the run folder and single files are both given.
    """

    t2m_path: str | None = None
    tmr_path: str | None = None
    tmr_stats: str | None = None
    text_encoder: str | None = None
    tmr_text_encoder_path: str | None = None
    tmr_motion_encoder_path: str | None = None
    tmr_movement_encoder_path: str | None = None

    def __post_init__(self):
        if self.tmr_path and (given := self.tmr_files()):
            raise InputError(f"reward.tmr_path: given together with --{given[0]}, expected the run folder or its single files")

    def tmr_files(self) -> list[str]:
        """Names of the single TMR files that are given."""
        return [item.name for item in fields(self) if item.name.endswith("_encoder_path") and getattr(self, item.name)]

    def custom(self, evaluator: str) -> bool:
        """Whether `evaluator` ("tmr" or "t2m") is another than the shipped one."""
        return any(getattr(self, item.name) for item in fields(self) if item.name.startswith(evaluator))
