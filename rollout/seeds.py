"""What noise is for. Every random draw of a run follows from (seed of the run, purpose, which one), never from who draws it."""

from enum import IntEnum


class Purpose(IntEnum):
    """The second word of every seed."""

    TRAINING = 0  # iteration, prompt
    HELDOUT = 1  # prompt
    TRAINED_AGAIN = 2  # prompt
    ORDER = 3  # how often the prompts were shuffled
    REAL = 4  # replication of an evaluation; so are those below
    GENERATED = 5
    NOISE = 6
    MULTIMODAL = 7
    PAIRS = 8
    ANSWERS = 9  # data or general, item, sample


class Stream(IntEnum):
    """Streams of a group beside those of its samples, which are (*seed, sample): the spawn key."""

    SHARED_NOISE = 0  # x_T, when the samples of a group start from the same; sample 0's own stream
    TRAINED_STEPS = 1
    STOCHASTIC_STEPS = 3  # which steps of its chain add noise, where not all do
    NOISE_LEVELS = 2  # at which a forward objective looks at clean outputs, and the noise there
    WINDOW = 4  # a window after the first: with its number, two more words of the seed


def seed_of(run: int, purpose: Purpose, *which: int) -> tuple[int, ...]:
    """The words of a seed, as plain numbers."""
    return (run, int(purpose), *which)
