"""The evaluators of a run: two networks of different kind, trained apart; what one is trained on, the other can judge."""

from pathlib import Path

from rewards.motion.kinds import EVALUATORS
from rewards.motion.settings import Evaluators
from rewards.motion.t2m import T2MReward
from rewards.motion.texts import Embedded
from rewards.motion.tmr import TMRReward

SHIPPED = Path(__file__).parent.parent / "assets"


def load_evaluator(name: str, paths: Evaluators, device: str = "cpu", texts: Embedded | None = None) -> TMRReward | T2MReward:
    """"tmr" or "t2m". It keeps its text embeddings in `texts`: what that holds it never encodes, what it encodes it adds."""
    evaluator = _tmr(paths, device) if name == "tmr" else T2MReward.load(paths.t2m_path or SHIPPED / "t2m", device)
    if texts is not None:
        evaluator.texts.known = texts.setdefault(name, {})
    return evaluator


def load_evaluators(paths: Evaluators, device: str = "cpu", texts: Embedded | None = None) -> tuple[TMRReward | None, T2MReward]:
    """Both of them. TMR is None where none is given and the one that ships reads another format than this T2M does."""
    tmr, t2m = (load_evaluator(name, paths, device, texts) for name in EVALUATORS)
    return tmr if paths.custom("tmr") or len(tmr.mean) == len(t2m.mean) else None, t2m


def _tmr(paths: Evaluators, device: str) -> TMRReward:
    if paths.tmr_files():
        files = paths.tmr_text_encoder_path, paths.tmr_motion_encoder_path, paths.tmr_movement_encoder_path
        return TMRReward.load_files(*files, device, paths.tmr_stats, paths.text_encoder)
    return TMRReward.load(paths.tmr_path or SHIPPED / "tmr", device, paths.tmr_stats, paths.text_encoder)
