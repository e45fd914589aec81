"""The evaluators of a run: two networks of different kind, trained apart; what one is trained on, the other can judge. And TMRs of
joints, or of the 67 features that determine them, which cannot be told more than a person sees: they judge beside the judge."""

from dataclasses import dataclass
from pathlib import Path

from rewards.motion.kinds import EVALUATORS
from rewards.motion.settings import Evaluators
from rewards.motion.space import Evaluator
from rewards.motion.t2m import T2MReward
from rewards.motion.texts import Embedded
from rewards.motion.tmr import TMRReward
from rollout.io.errors import InputError

SHIPPED = Path(__file__).parent.parent / "assets"


def load_evaluator(name: str, paths: Evaluators, device: str = "cpu", texts: Embedded | None = None) -> TMRReward | T2MReward:
    """One of `paths.evaluators()`. It keeps its text embeddings in `texts`: what that holds it never encodes, what it encodes it adds."""
    load = {"tmr": _tmr, "t2m": lambda paths, device: T2MReward.load(paths.t2m_path or SHIPPED / "t2m", device)}
    evaluator = load[name](paths, device) if name in load else _of_joints(name, paths, device)
    if texts is not None:
        evaluator.texts.known = texts.setdefault(name, {})
    return evaluator


def load_evaluators(paths: Evaluators, device: str = "cpu", texts: Embedded | None = None) -> tuple[TMRReward | None, T2MReward]:
    """Both of them. TMR is None where none is given and the one that ships reads another format than this T2M does."""
    tmr, t2m = (load_evaluator(name, paths, device, texts) for name in EVALUATORS)
    return tmr if paths.custom("tmr") or tmr.width == t2m.width else None, t2m


def _tmr(paths: Evaluators, device: str) -> TMRReward:
    if paths.tmr_files():
        files = paths.tmr_text_encoder_path, paths.tmr_motion_encoder_path, paths.tmr_movement_encoder_path
        return TMRReward.load_files(*files, device, paths.tmr_stats, paths.text_encoder)
    return TMRReward.load(paths.tmr_path or SHIPPED / "tmr", device, paths.tmr_stats, paths.text_encoder)


def _of_joints(name: str, paths: Evaluators, device: str) -> TMRReward:
    given = getattr(paths, f"{name}_path")
    found = TMRReward.load(given or SHIPPED / name, device, text_source=paths.text_encoder if given else None)
    if found.reads is None:
        raise InputError(f"reward.{name}_path: {given} reads {found.width} features, expected a TMR of 66 (joints) or 67")
    return found


@dataclass(frozen=True)
class Judges:
    """What judges a run and never trains. joints: the TMR that reads joints, None beside other evaluators than those that ship."""

    own: Evaluator
    joints: TMRReward | None

    @classmethod
    def beside(cls, own: Evaluator, paths: Evaluators, device: str = "cpu", texts: Embedded | None = None) -> "Judges":
        """Raises InputError for a TMR of joints that cannot be loaded or reads something else."""
        return cls(own, load_evaluator("joints", paths, device, texts) if "joints" in paths.evaluators() else None)
