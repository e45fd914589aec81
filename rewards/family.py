"""A family's own sections of what scores and judges its runs, by name; imported when they are asked for."""

from rollout.family import find
from rollout.io.settings import Section

SECTIONS = {"motion": "rewards.motion.settings:SECTIONS"}


def sections(name: str) -> dict[str, type[Section]]:
    return find(SECTIONS, name)
