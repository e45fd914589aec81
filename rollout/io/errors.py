"""The errors that end a command in one line: what a user can fix, and what stopped a run."""

LONGEST = 400  # characters


class InputError(ValueError):
    """Bad input: a file, field or flag that a person can correct.

    The message is one line: it names the file or field, what was found and what was expected.
    Commands print it without a traceback and exit with code 2. Whatever a file held, the line stays one: what cannot be
    printed is escaped, and of a long text the middle is left out.
    """

    def __init__(self, message: str):
        super().__init__(_cut("".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in _cut(message))))


class RunFailed(RuntimeError):
    """A run cannot go on, and not for what it was given. The message is one line for a person; the command prints it without
    a traceback and exits with code 1. What the run saved before can be resumed."""


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[: LONGEST * 2 // 3]} ... {text[-LONGEST // 4 :]}"
