"""Standard output and error that may go away: a closed pipe, a full disk or a closed terminal ends the printing and not the work."""

import contextlib
import os
import sys
from collections.abc import Iterator


class Enduring:
    """A stream like the one it is given, until that fails: from then on, what is written goes nowhere."""

    def __init__(self, stream):
        # None: it was closed from the beginning, and the next file that is opened would take its place.
        self._stream = stream or open(os.devnull, "w")

    def write(self, text: str) -> int:
        self._attempt(lambda: self._stream.write(text))
        return len(text)

    def flush(self) -> None:
        self._attempt(self._stream.flush)

    def _attempt(self, do) -> None:
        try:
            do()
        except OSError:
            with contextlib.suppress(OSError), open(os.devnull, "w") as nowhere:
                os.dup2(nowhere.fileno(), self._stream.fileno())

    def __getattr__(self, name):
        return getattr(self._stream, name)


@contextlib.contextmanager
def enduring() -> Iterator[None]:
    """Makes both of this process so, for as long as this lasts."""
    with contextlib.redirect_stdout(Enduring(sys.stdout)) as out, contextlib.redirect_stderr(Enduring(sys.stderr)) as err:
        try:
            yield
        finally:
            out.flush()
            err.flush()
