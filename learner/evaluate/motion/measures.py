"""What evaluation reads off motions, and the metrics of one replication that follow from it.

The T2M evaluator reads generated features as the official evaluation does: raw, with what the model produced past the
length. TMR and the physics read the skeleton that a person would see, as training does (`learner/watch/examination.py`).
"""

from dataclasses import dataclass, fields

import numpy as np

from learner.evaluate.motion.settings import POOL
from learner.evaluate.rows import Metric
from rewards.motion.evaluators import load_evaluators
from rewards.motion.metrics import diversity, fid_to, matching_score, multimodality, r_precision, statistics
from rewards.motion.physics import PHYSICS
from rewards.motion.settings import Evaluators
from rewards.motion.space import cosine
from rewards.motion.t2m import T2MReward
from rewards.motion.tmr import TMRReward
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
    "foot_skate": Metric("foot skate m/s", "→", 4),
    "ground_penetration": Metric("penetration m", "→", 4),
    "floating": Metric("float m", "→", 4),
    "jerk": Metric("jerk m/s³", "→", 1),
}
T2M_METRICS = list(METRICS)[: list(METRICS).index("tmr_score")]


@dataclass(frozen=True)
class Measured:
    """N motions as both evaluators and the physics read them: embeddings [N, D] of each evaluator, [N, 0] without a TMR; the rest
    [N], float32."""

    t2m: np.ndarray
    tmr: np.ndarray
    foot_skate: np.ndarray
    ground_penetration: np.ndarray
    floating: np.ndarray
    jerk: np.ndarray

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


def measure(features: np.ndarray, lengths: np.ndarray, tmr: TMRReward | None, t2m: T2MReward, keep_tail: bool = False) -> Measured:
    """Raw features [N, T, F] and lengths [N], whole fours of frames in 8..T, as evaluation reads them.

    keep_tail: whether T2M sees what lies past a length, as officially for generated motion; real motion is padded with 0.
    """
    joints = joints_in_metres(features)
    return Measured(
        t2m.embed_motion(features, lengths, keep_tail),
        tmr.embed_motion(*rederived_motions(features, lengths)) if tmr else np.empty((len(lengths), 0), np.float32),
        **{name: of(joints, lengths) for name, of in PHYSICS.items()},
    )


class Reader:
    """`measure` by the evaluators in `paths`, for the actor that reads what samplers generate."""

    def __init__(self, paths: Evaluators, device: str):
        self.tmr, self.t2m = load_evaluators(paths, device)

    def __call__(self, features: np.ndarray, lengths: np.ndarray, keep_tail: bool) -> Measured:
        return measure(features, lengths, self.tmr, self.t2m, keep_tail)


class Texts:
    """Both evaluators' embeddings of captions, each caption embedded once."""

    def __init__(self, prompts: list[MotionPrompt], tmr: TMRReward | None, t2m: T2MReward):
        """Raises InputError for a caption that an evaluator cannot read."""
        distinct = dict.fromkeys((prompt.text, prompt.tokens) for prompt in prompts)
        self._row = {key: row for row, key in enumerate(distinct)}
        texts, tokens = zip(*distinct)
        self._t2m, self._tmr = (each.embed_text(texts, tokens) if each else np.empty((len(texts), 0)) for each in (t2m, tmr))

    def of(self, prompts: list[MotionPrompt]) -> tuple[np.ndarray, np.ndarray]:
        """T2M [N, D] and TMR [N, E] embeddings; E is 0 without a TMR."""
        rows = [self._row[prompt.text, prompt.tokens] for prompt in prompts]
        return self._t2m[rows], self._tmr[rows]


def replication_metrics(prompts: list[MotionPrompt], measured: Measured, texts: Texts, seed: int) -> dict[str, float]:
    """All metrics of one replication but FID and MultiModality. Row i of `measured` was made for prompt i, in consecutive pools."""
    t2m_text, tmr_text = texts.of(prompts)
    precision = r_precision(t2m_text, measured.t2m, 3, POOL)
    return {
        **{f"r_at_{k}": float(precision[k - 1]) for k in (1, 2, 3)},
        "mm_dist": matching_score(t2m_text, measured.t2m),
        "diversity": diversity(measured.t2m, seed=seed),
        **({"tmr_score": float((cosine(tmr_text, measured.tmr) / 2 + 0.5).mean())} if measured.tmr.size else {}),
        **{name: float(getattr(measured, name).mean()) for name in PHYSICS},
    }


class Reference:
    """Real motion of a replication, for the FID of others to it: of T2M's embeddings as they are, as published, and at length 1, where
    only their direction counts."""

    def __init__(self, t2m: np.ndarray):
        """t2m: [N, D]."""
        self._statistics = {name: statistics(of(t2m)) for name, of in VIEWS.items()}

    def fids(self, t2m: np.ndarray) -> dict[str, float | str]:
        """By metric; see `fid_to`."""
        return {name: fid_to(self._statistics[name], of(t2m)) for name, of in VIEWS.items()}


def _at_length_1(t2m: np.ndarray) -> np.ndarray:
    return t2m / np.linalg.norm(t2m, axis=1, keepdims=True)


VIEWS = {"fid": np.asarray, "fid_unit": _at_length_1}


def repeats_spread(repeats: list[Measured], seed: int) -> float:
    """MultiModality of R rounds of motions of the same N captions."""
    return multimodality(np.stack([measured.t2m for measured in repeats], axis=1), seed=seed)
