"""The kinds of reward component that ship: `path` of a component to the class that is built for it."""

from typing import NamedTuple


class Kind(NamedTuple):
    """`where`: "module:Class", built with the options of the component; None: the evaluator itself is the component.

    evaluator: "tmr" or "t2m", an instance of which the constructor is given first; None for a class that needs neither.
    """

    where: str | None
    evaluator: str | None = None


KINDS = {
    "tmr.cosine": Kind(None, "tmr"),
    "t2m.matching": Kind(None, "t2m"),
    "foot_skate": Kind("rewards.foot_skate:FootSkate"),
}
