"""The evaluators of a run: two networks of different kind, trained apart; what one is trained on, the other can judge."""

from pathlib import Path
from typing import Protocol

import numpy as np

from rewards.motion.settings import Evaluators
from rewards.motion.t2m import T2MReward
from rewards.motion.texts import Embedded
from rewards.motion.tmr import TMRReward
from rewards.registry import EVALUATORS
from rewards.reward import Reward

SHIPPED = Path(__file__).parent.parent / "assets"


class Evaluator(Reward, Protocol):
    """A network that reads motions and captions into one space; by itself the plainest reward made of it."""

    name: str

    def embed_motion(self, features: np.ndarray, lengths: np.ndarray) -> np.ndarray:
        """Raw features [N, T, F] and lengths [N] to float32 [N, D]."""
        ...

    def embed_text(self, prompts: list[str], tokens: list[tuple[str, ...]] | None = None) -> np.ndarray:
        """float32 [N, D]; InputError when a prompt cannot be read."""
        ...


def load_evaluator(name: str, paths: Evaluators, device: str = "cpu", texts: Embedded | None = None) -> TMRReward | T2MReward:
    """"tmr" or "t2m". It keeps its text embeddings in `texts`: what that holds it never encodes, what it encodes it adds."""
    evaluator = _tmr(paths, device) if name == "tmr" else T2MReward.load(paths.t2m_path or SHIPPED / "t2m", device)
    if texts is not None:
        evaluator.texts.known = texts.setdefault(name, {})
    return evaluator


def load_evaluators(paths: Evaluators, device: str = "cpu", texts: Embedded | None = None) -> tuple[TMRReward, T2MReward]:
    """Both of them."""
    tmr, t2m = (load_evaluator(name, paths, device, texts) for name in EVALUATORS)
    return tmr, t2m


def _tmr(paths: Evaluators, device: str) -> TMRReward:
    if paths.tmr_files():
        files = paths.tmr_text_encoder_path, paths.tmr_motion_encoder_path, paths.tmr_movement_encoder_path
        return TMRReward.load_files(*files, device, paths.tmr_stats, paths.text_encoder)
    return TMRReward.load(paths.tmr_path or SHIPPED / "tmr", device, paths.tmr_stats, paths.text_encoder)
