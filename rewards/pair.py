"""The reward of a run and its judge: two evaluators of different kind, trained apart, one of which never trains anything."""

from pathlib import Path

from rewards.foot_skate import FootSkatePenalty
from rewards.reward import Reward
from rewards.t2m import T2MReward
from rewards.tmr import TMRReward

SHIPPED = Path(__file__).parent / "assets"


def load_reward_and_judge(
    kind: str, tmr_path: str | None, t2m_path: str | None, device: str, foot_skate: float = 0.0
) -> tuple[Reward, Reward]:
    """`kind` ("tmr" or "t2m") names the reward; the other one judges. None stands for the evaluator that ships.

    `foot_skate` > 0 puts a penalty of that weight on the reward; see `FootSkatePenalty`.
    """
    tmr = TMRReward.load(Path(tmr_path or SHIPPED / "tmr"), device)
    t2m = T2MReward.load(Path(t2m_path or SHIPPED / "t2m"), device)
    reward, judge = (tmr, t2m) if kind == "tmr" else (t2m, tmr)
    return (FootSkatePenalty(reward, foot_skate) if foot_skate else reward), judge
