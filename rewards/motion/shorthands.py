"""The flags of the original implementation that stand for components."""

from typing import Literal

from rewards.component_flags import Components, Shorthands
from rewards.motion.kinds import DEFAULT
from rollout.io.errors import InputError
from rollout.io.settings import option

OPTIONS = {"tmr_similarity_type": "similarity", "tmr_normalization": "mapping", "tmr_max_distance": "max_distance", "tmr_scale": "scale"}
TYPES = {"tmr": ("cosine", "matching"), "t2m": ("matching", "r_precision", "combined")}


class MotionShorthands(Shorthands):
    """Flags of the original implementation, which make components."""

    reward_model_type: Literal["tmr", "mdm", "t2m"] | None = option(None, "evaluator that the reward is made of; mdm and t2m are one")
    reward_type: Literal["cosine", "matching", "r_precision", "combined"] | None = option(None, "how its embeddings become a score")
    tmr_similarity_type: Literal["cosine", "euclidean"] | None = option(None, "of TMR's matching")
    tmr_normalization: Literal["linear", "exponential", "sigmoid"] | None = option(None, "how TMR's matching maps a distance to a score")
    tmr_max_distance: float | None = option(None, "distance that scores 0 in the linear mapping")
    tmr_scale: float | None = option(None, "scale of the exponential and sigmoid mappings")

    @classmethod
    def read(cls, given: dict[str, str]) -> Components:
        if not given:
            return {}
        try:
            asked = cls(**{flag.removeprefix("--"): text for flag, text in given.items()})
        except InputError as error:
            raise InputError(f"--{error}") from None
        evaluator = "tmr" if asked.reward_model_type in (None, "tmr") else "t2m"
        options = {OPTIONS[name]: value for name, value in asked if name in OPTIONS and value is not None}
        kind = asked.reward_type or ("cosine" if evaluator == "tmr" and not options else "matching")
        if kind not in TYPES[evaluator]:
            raise InputError(f"--reward_type: found {kind!r}, {evaluator} has {', '.join(TYPES[evaluator])}")
        if options and (evaluator, kind) != ("tmr", "matching"):
            flag = next(flag for flag in given if flag.removeprefix("--") in OPTIONS)
            raise InputError(f"{flag}: found with {evaluator}.{kind}, expected --reward_model_type tmr --reward_type matching")
        return {evaluator: {"path": f"{evaluator}.{kind}", "weight": 1.0, **options}, "foot_skate": dict(DEFAULT["foot_skate"])}
