"""The kinds of component that read motion, the evaluators they read it with, and the reward of a run that asks for none."""

from rewards.components import Component
from rewards.registry import Kind, Kinds

KINDS = Kinds(
    {
        "tmr.cosine": Kind(None, "tmr"),
        "tmr.matching": Kind("rewards.motion.matching:Matching", "tmr"),
        "tmr.diversity": Kind("rewards.motion.diversity:EmbeddingDiversity", "tmr"),
        "t2m.matching": Kind("rewards.motion.matching:T2MMatching", "t2m"),
        "t2m.r_precision": Kind("rewards.motion.r_precision:RPrecision", "t2m"),
        "t2m.combined": Kind("rewards.motion.r_precision:Combined", "t2m"),
        "t2m.diversity": Kind("rewards.motion.diversity:EmbeddingDiversity", "t2m"),
        "foot_skate": Kind("rewards.motion.real_band:FootSkate"),
        "ground_penetration": Kind("rewards.motion.real_band:GroundPenetration"),
        "floating": Kind("rewards.motion.real_band:Floating"),
        "jerk": Kind("rewards.motion.real_band:Jerk"),
        "smoothness": Kind("rewards.motion.real_band:Smoothness"),
        "root_drift": Kind("rewards.motion.real_band:RootDrift"),
        "feature_consistency": Kind("rewards.motion.real_band:FeatureConsistency"),
        "diversity": Kind("rewards.motion.diversity:Diversity"),
    },
    served=Kind("rewards.motion.served:Served"),
)
EVALUATORS = ("tmr", "t2m")
# Sliding costs its excess, m/s, over 0.035: the mean of real val and test clips. Below that nothing is to be had.
DEFAULT = {
    "tmr": {"path": "tmr.cosine", "weight": 1.0},
    "foot_skate": {"path": "foot_skate", "weight": 0.5, "low": 0.0, "high": 0.035, "scale": 1.0},
}


def evaluators_of(components: dict[str, Component]) -> list[str]:
    """Names of the evaluators that components read: these train the model, so they cannot judge it."""
    read = {KINDS.of(name, component.path).evaluator for name, component in components.items()}
    return [name for name in EVALUATORS if name in read]


def choose_judge(components: dict[str, Component], given: str | None) -> tuple[str, bool]:
    """The evaluator that judges, and whether no component reads it: `given`, else T2M unless a component reads only it."""
    read = evaluators_of(components)
    judge = given or ("tmr" if read == ["t2m"] else "t2m")
    return judge, judge not in read
