"""What evaluation reads off motions, and the metrics of one replication that follow from it.

The T2M evaluator reads generated features as the official evaluation does: raw, with what the model produced past the
length. TMR, the TMRs of joints, the reward and the physics read the skeleton that a person would see, as training does
(`learner/watch/examination.py`).
"""

from collections.abc import Callable
from dataclasses import dataclass, fields

import numpy as np

from learner.evaluate.motion.settings import POOL
from learner.evaluate.rows import Metric
from rewards.compose import raw_total
from rewards.motion.evaluators import load_evaluator, load_evaluators
from rewards.motion.family import FIDS
from rewards.motion.loading import load_reward_and_judge
from rewards.motion.metrics import diversity, fid_to, matching_score, multimodality, r_precision, statistics
from rewards.motion.motions import Motions
from rewards.motion.physics import PHYSICS
from rewards.motion.settings import JudgedTerms
from rewards.motion.space import Evaluator, cosine
from rewards.motion.texts import Embedded
from rewards.own_class import use_folder
from rollout.motion.features import joints_in_metres, rederived_motions
from rollout.motion.prompts import MotionPrompt

METRICS = {
    "r_at_1": Metric("R@1", "↑", 3),
    "r_at_2": Metric("R@2", "↑", 3),
    "r_at_3": Metric("R@3", "↑", 3),
    "fid": Metric("FID", "↓", 3),
    "fid_unit": Metric("FID unit", "↓", 4),
    "mm_dist": Metric("MM-Dist", "↓", 3),
    "diversity": Metric("Diversity", "→", 3),
    "multimodality": Metric("MultiModality", "↑", 3),
    "tmr_score": Metric("TMR score", "↑", 4),
    "joints_score": Metric("joints score", "↑", 4),
    "essential_score": Metric("essential score", "↑", 4),
    "reward": Metric("reward", "↑", 4),
    "foot_skate": Metric("foot skate m/s", "→", 4),
    "ground_penetration": Metric("penetration m", "→", 4),
    "floating": Metric("float m", "→", 4),
    "jerk": Metric("jerk m/s³", "→", 1),
}
T2M_METRICS = list(METRICS)[: list(METRICS).index("tmr_score")]
TMRS = ("tmr", "joints", "essential")  # those that there may be


@dataclass(frozen=True)
class Measured:
    """N motions as evaluators and physics read them: embeddings [N, D] of each evaluator, [N, 0] of one of `TMRS` that is none; the
    rest [N], float32. reward: NaN where none was asked for."""

    t2m: np.ndarray
    tmr: np.ndarray
    foot_skate: np.ndarray
    ground_penetration: np.ndarray
    floating: np.ndarray
    jerk: np.ndarray
    joints: np.ndarray
    essential: np.ndarray
    reward: np.ndarray

    def __len__(self) -> int:
        return len(self.t2m)

    def arrays(self) -> dict[str, np.ndarray]:
        """By name, for a file; `read` gives it back."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @classmethod
    def read(cls, arrays: dict[str, np.ndarray]) -> "Measured":
        return cls(**arrays)

    @classmethod
    def joined(cls, parts: list["Measured"]) -> "Measured":
        return cls(*(np.concatenate([getattr(part, field.name) for part in parts]) for field in fields(cls)))

    def rows(self, index: np.ndarray) -> "Measured":
        return Measured(*(np.asarray(getattr(self, field.name)[index], np.float32) for field in fields(self)))


def measure(
    features: np.ndarray, lengths: np.ndarray, evaluators: dict[str, Evaluator], keep_tail: bool = False,
    rewarded: Callable[[np.ndarray, np.ndarray], np.ndarray] | None = None,
) -> Measured:  # fmt: skip
    """Raw features [N, T, F] and lengths [N], whole fours of frames in 8..T, as evaluation reads them.

    evaluators: "t2m" and any of `TMRS`.
    keep_tail: whether T2M sees what lies past a length, as officially for generated motion; real motion is padded with 0.
    rewarded: the reward [N] of features and lengths, those that are told by the skeleton.
    """
    placed, told = joints_in_metres(features), rederived_motions(features, lengths)
    absent = np.empty((len(lengths), 0), np.float32)
    return Measured(
        evaluators["t2m"].embed_motion(features, lengths, keep_tail),
        **{name: evaluators[name].embed_motion(*told) if name in evaluators else absent for name in TMRS},
        **{name: of(placed, lengths) for name, of in PHYSICS.items()},
        reward=rewarded(*told) if rewarded else np.full(len(lengths), np.nan, np.float32),
    )


class Reader:
    """`measure` by the evaluators of `reward`, and by its components, for the actor that reads what samplers generate."""

    def __init__(self, reward: JudgedTerms, deadline_s: float, folder: str, texts: Embedded, device: str):
        """deadline_s: of served components; folder: where the modules of the user lie; texts: captions that are embedded already, to
        which others are added. Raises InputError for what cannot be loaded."""
        use_folder(folder)
        tmr, t2m = load_evaluators(reward, device, texts)
        judges = {name: load_evaluator(name, reward, device, texts) for name in reward.evaluators() if name in reward.beside}
        self.evaluators = ({"tmr": tmr} if tmr else {}) | {"t2m": t2m} | judges
        scorer, _ = load_reward_and_judge(reward.parsed(), "t2m", reward, device, texts, deadline_s)
        self.scorer = scorer if scorer.evaluators.keys() <= self.evaluators.keys() else None  # it reads another format than T2M

    def __call__(self, features: np.ndarray, lengths: np.ndarray, keep_tail: bool, prompts: list[MotionPrompt] | None = None) -> Measured:
        """prompts: of the motions, for their reward."""

        def rewarded(*told: np.ndarray) -> np.ndarray:
            motions = Motions(*told, [prompt.text for prompt in prompts], [prompt.tokens for prompt in prompts])
            return raw_total(self.scorer.settings, self.scorer(motions).values)

        return measure(features, lengths, self.evaluators, keep_tail, rewarded if prompts and self.scorer else None)


class Texts:
    """Embeddings of captions by every evaluator, each caption embedded once."""

    def __init__(self, prompts: list[MotionPrompt], evaluators: dict[str, Evaluator]):
        """evaluators: by the field of `Measured` that has their motions. Raises InputError for a caption that one cannot read."""
        distinct = dict.fromkeys((prompt.text, prompt.tokens) for prompt in prompts)
        self._row = {key: row for row, key in enumerate(distinct)}
        self._embedded = {name: evaluator.embed_text(*zip(*distinct)) for name, evaluator in evaluators.items()}

    def of(self, prompts: list[MotionPrompt]) -> dict[str, np.ndarray]:
        """[N, D] by evaluator."""
        rows = [self._row[prompt.text, prompt.tokens] for prompt in prompts]
        return {name: embedded[rows] for name, embedded in self._embedded.items()}


def replication_metrics(prompts: list[MotionPrompt], measured: Measured, texts: Texts, seed: int) -> dict[str, float]:
    """All metrics of one replication but FID and MultiModality. Row i of `measured` was made for prompt i, in consecutive pools."""
    text = texts.of(prompts)
    precision = r_precision(text["t2m"], measured.t2m, 3, POOL)
    scores = {name: float((cosine(text[name], getattr(measured, name)) / 2 + 0.5).mean()) for name in TMRS if name in text}
    return {
        **{f"r_at_{k}": float(precision[k - 1]) for k in (1, 2, 3)},
        "mm_dist": matching_score(text["t2m"], measured.t2m),
        "diversity": diversity(measured.t2m, seed=seed),
        **{f"{name}_score": score for name, score in scores.items()},
        **({"reward": float(np.nanmean(measured.reward))} if np.isfinite(measured.reward).any() else {}),
        **{name: float(getattr(measured, name).mean()) for name in PHYSICS},
    }


class Reference:
    """Real motion of a replication, for the FID of others to it: of T2M's embeddings as they are, as published, and at length 1, where
    only their direction counts."""

    def __init__(self, t2m: np.ndarray):
        """t2m: [N, D]."""
        self._statistics = {name: statistics(of(t2m)) for name, of in FIDS.items()}

    def fids(self, t2m: np.ndarray) -> dict[str, float | str]:
        """By metric; see `fid_to`."""
        return {name: fid_to(self._statistics[name], of(t2m)) for name, of in FIDS.items()}


def repeats_spread(repeats: list[Measured], seed: int) -> float:
    """MultiModality of R rounds of motions of the same N captions."""
    return multimodality(np.stack([measured.t2m for measured in repeats], axis=1), seed=seed)
