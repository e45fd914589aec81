"""The one error type that is a user's to fix."""


class InputError(ValueError):
    """Bad input: a file, field or flag that a person can correct.

    The message is one line: it names the file or field, what was found and what was expected.
    Commands print it without a traceback and exit with code 2.
    """
