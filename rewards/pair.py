"""The reward of a run and its judge: two evaluators of different kind, trained apart, one of which never trains anything."""

from pathlib import Path

from rewards.foot_skate import FootSkatePenalty
from rewards.paths import EvaluatorPaths
from rewards.reward import Reward
from rewards.t2m import T2MReward
from rewards.texts import Embedded
from rewards.tmr import TMRReward

SHIPPED = Path(__file__).parent / "assets"


def load_reward_and_judge(
    kind: str, paths: EvaluatorPaths, device: str, foot_skate: float = 0.0, texts: Embedded | None = None
) -> tuple[Reward, Reward]:
    """`kind` ("tmr" or "t2m") names the reward; the other one judges.

    `foot_skate` > 0 puts a penalty of that weight on the reward; see `FootSkatePenalty`. The evaluators keep their text
    embeddings in `texts`: what it holds they never encode, and what they encode is added to it.
    """
    if paths.tmr_files():
        files = paths.tmr_text_encoder_path, paths.tmr_motion_encoder_path, paths.tmr_movement_encoder_path
        tmr = TMRReward.load_files(*files, device, paths.tmr_stats, paths.text_encoder)
    else:
        tmr = TMRReward.load(paths.tmr_path or SHIPPED / "tmr", device, paths.tmr_stats, paths.text_encoder)
    t2m = T2MReward.load(paths.t2m_path or SHIPPED / "t2m", device)
    for evaluator in (tmr, t2m):
        if texts is not None:
            evaluator.texts.known = texts.setdefault(evaluator.name, {})
    reward, judge = (tmr, t2m) if kind == "tmr" else (t2m, tmr)
    return (FootSkatePenalty(reward, foot_skate) if foot_skate else reward), judge
