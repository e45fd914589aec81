"""How much the reasoning of an answer attends to the people in it, by the words that it uses."""

import re

import numpy as np

from rewards.language.answers import Answers, part_of

# A line is one keyword: its forms count once together.
PEOPLE = (
    "person persons", "people", "man", "men", "woman", "women", "he", "she", "they", "his", "her hers", "their theirs", "him", "them",
    "child children", "boy boys girl girls", "someone somebody", "figure figures", "face faces facial", "expression expressions",
    "smile smiles smiling smiled", "frown frowns frowning frowned", "gesture gestures gesturing", "hand hands", "arm arms", "leg legs",
    "body bodies", "posture", "interaction interactions interacting", "emotion emotions emotional", "feeling feelings feels",
    "mood moods", "tone tones", "voice voices", "eyes eye", "wearing wears", "dressed", "clothing clothes",
    "listening listens", "looking looks", "watching watches", "gazing gazes staring stares",
)  # fmt: skip
ACTIONS = (
    "walk walks walking walked", "run runs running ran", "sit sits sitting sat", "stand stands standing stood",
    "move moves moving moved", "talk talks talking talked", "speak speaks speaking spoke", "say says saying said",
    "ask asks asking asked", "answer answers answering answered", "hold holds holding held", "touch touches touching touched",
    "point points pointing pointed", "wave waves waving waved", "laugh laughs laughing laughed", "cry cries crying cried",
    "nod nods nodding nodded", "shake shakes shaking shook", "turn turns turning turned", "jump jumps jumping jumped",
    "kick kicks kicking kicked", "throw throws throwing threw", "dance dances dancing danced", "reach reaches reaching reached",
)  # fmt: skip
ENVIRONMENT = (
    "background backgrounds", "setting settings", "location locations", "place places", "room rooms", "building buildings",
    "outdoor outdoors", "indoor indoors", "sky", "ground", "wall walls", "floor floors",
)  # fmt: skip
WORD = re.compile(r"[^\W\d_]+")


class PeopleFocus:
    """`people_focus`: (people + actions / 2) / 20 - max(0, environment - 3) / 10, within 0..1, of the think part; 0 without one.

    people, actions, environment: how many of the keywords above stand in it as whole words, each counted once however often and
    in whatever form it comes. float32 [N].
    """

    def __call__(self, answers: Answers) -> np.ndarray:
        return np.array([focus(part_of(text, "think") or "") for text in answers.completions], np.float32)


def focus(text: str) -> float:
    words = {found.group() for found in WORD.finditer(text.casefold())}
    people, actions, environment = (sum(any(form in words for form in key.split()) for key in keys) for keys in (PEOPLE, ACTIONS, ENVIRONMENT))
    return min(1.0, max(0.0, (people + actions / 2) / 20 - max(0, environment - 3) / 10))
