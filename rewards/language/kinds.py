"""The kinds of component that read answers, and the reward of a run that asks for none. Cheap to import."""

from rewards.registry import Kind, Kinds

DEADLINE, DEVICE = "deadline", "device"  # what the constructors are given: seconds for a call, and where networks run
KINDS = Kinds({
    "format": Kind("rewards.language.format:Format"),
    "accuracy": Kind("rewards.language.accuracy:Accuracy", DEADLINE, optional=True),
    "people_focus": Kind("rewards.language.people_focus:PeopleFocus"),
    "judge": Kind("rewards.language.judges:PeopleJudge", DEADLINE, optional=True),
    "context": Kind("rewards.language.judges:ContextJudge", DEADLINE, optional=True),
    "reasoning": Kind("rewards.language.judges:ReasoningJudge", DEADLINE, optional=True),
    "negative_points": Kind("rewards.language.negative_points:NegativePoints", DEVICE),
    "official.format": Kind("rewards.language.format:OfficialFormat"),
    "official.accuracy": Kind("rewards.language.accuracy:OfficialAccuracy"),
    "official.intentbench": Kind("rewards.language.accuracy:OfficialIntentBench"),
})  # fmt: skip
DEFAULT = {
    "format": {"path": "format", "weight": 0.2},
    "accuracy": {"path": "accuracy", "weight": 1.0},
    "people_focus": {"path": "people_focus", "weight": 0.2},
}
