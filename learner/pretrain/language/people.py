"""Questions about what a person does in a video, and the answers that the small people model is taught."""

from dataclasses import dataclass

import numpy as np

from rollout.language.template import question
from rollout.motion.dataset import Clip

LETTERS = "ABCD"
# What a motion is called, by the actions of the data that it gathers. Actions that are not here are not asked about.
CALLED = {
    "walking": ("walk",), "running": ("run",), "jumping": ("jump_forward", "jump_high", "jump_inplace", "jump_turn"),
    "kicking a ball": ("kick",), "dribbling a ball": ("dribble",), "punching": ("punch",), "giving referee signals": ("referee_signal",),
    "directing traffic": ("direct_traffic",), "scooping something up": ("scoop",), "swinging a sword": ("sword",),
    "washing the body": ("wash_self",), "cleaning a window": ("wash_window",),
}  # fmt: skip
VERBS = tuple(CALLED)
OF_ACTION = {action: verb for verb, actions in CALLED.items() for action in actions}
ASKED = ("What is the person doing?", "What does the person in the video do?", "Which of these is shown?")
SHOWN = ("A video of one person.", "One person moves in a dark room.", "Eight frames show a figure.", "There is one person, seen from the side.")
SUBJECTS = ("The person", "The man", "The woman", "Someone", "The figure", "It")
# What is said of the person before the verb is named; none of it tells one motion from another.
REMARKS = (
    "I look at the people first.", "I see his face and his body.", "She moves her hands.", "He turns his head.", "Their eyes look ahead.",
    "The ground is dark.", "There are dots on the floor.", "The background is empty.", "The frame is small.", "The light is even.",
)  # fmt: skip


def letter_of(options: list[str], verb: str) -> str:
    return LETTERS[options.index(verb)]


def choose_options(verb: str, verbs: tuple[str, ...], draw: np.random.Generator) -> list[str]:
    """Four of `verbs` in random order, `verb` among them: where all verbs are asked about equally often, no option is more
    likely than another before the video is seen."""
    others = draw.choice([other for other in verbs if other != verb], 3, replace=False)
    return [str(option) for option in draw.permutation([verb, *others])]


def problem(draw: np.random.Generator) -> str:
    return str(draw.choice(ASKED))


def told(verb: str, draw: np.random.Generator) -> str:
    """Says what is done: for questions without a video."""
    return f"{draw.choice(SUBJECTS)} is {verb}."


def lettered(options: list[str]) -> tuple[str, ...]:
    return tuple(f"{letter}. {option}" for letter, option in zip(LETTERS, options))


def answer(verb: str, letter: str, draw: np.random.Generator) -> str:
    """A whole answer in three parts that names `verb` and, from it, the letter."""
    remarks = draw.choice(REMARKS, int(draw.integers(0, 4)), replace=False)
    thought = " ".join([*remarks, f"{draw.choice(SUBJECTS)} is {verb}, which is {letter}."])
    return f"<context>{draw.choice(SHOWN)}</context>\n<think>{thought}</think>\n<answer>{letter}</answer>"


def spoilt(text: str, draw: np.random.Generator) -> str:
    """An answer with a fault of form, so that there is one to unlearn: a part that is missing, not closed, empty, or said twice."""
    context, think, answered = text.split("\n")
    return str(draw.choice([
        f"{think}\n{answered}", f"{context}\n{answered}", f"{context}\n{think}\n{answered.removesuffix('</answer>')}",
        f"<context></context>\n{think}\n{answered}", f"{text}\n{answered}", f"{context}\n{think}",
    ]))  # fmt: skip


@dataclass(frozen=True)
class Roles:
    """Which recordings are for what, by verb: `lessons` are trained on with answers, `practice` is for learning by reward,
    `heldout` for measuring. No recording has two roles."""

    lessons: dict[str, list[str]]
    practice: dict[str, list[str]]
    heldout: dict[str, list[str]]


def recording(clip: Clip) -> str:
    """The recording that a clip is a window of; those of a mirrored clip are its original's."""
    return clip.clip_id.removeprefix("M_").rpartition("_")[0].rpartition("_")[0]


def roles(clips: list[Clip]) -> Roles:
    """Whole recordings: those with a window in the test split are held out, of the rest those with one in val are for practice,
    and all others are lessons. A verb that would be left without lessons gives up its first held-out recording for them, and one
    of a single recording is only taught: nothing is asked about it later. One without practice takes its last lesson for it if
    it has two."""
    found = Roles({}, {}, {})
    for verb in VERBS:
        splits: dict[str, set[str]] = {}
        for clip in clips:
            if OF_ACTION.get(clip.action) == verb:
                splits.setdefault(recording(clip), set()).add(clip.split)
        heldout = sorted(name for name, seen in splits.items() if "test" in seen)
        practice = sorted(name for name, seen in splits.items() if "val" in seen and name not in heldout)
        lessons = sorted(set(splits) - set(heldout) - set(practice))
        if not lessons and heldout:
            lessons, heldout = heldout[-1:], heldout[:-1]
        if not practice and len(lessons) > 1:
            lessons, practice = lessons[:-1], lessons[-1:]
        found.lessons[verb], found.practice[verb], found.heldout[verb] = lessons, practice, heldout
    return found


def asked(problem_text: str, options: list[str]) -> str:
    """The whole text that the model is told, but for the video."""
    return question(problem_text, lettered(options), "multiple choice")
