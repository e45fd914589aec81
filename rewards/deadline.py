"""Waiting for foreign code no longer than a deadline, whatever it does."""

import queue
import threading
from collections.abc import Callable
from typing import Any


class TooLate(Exception):
    """There was no answer within the deadline."""


def within(deadline_s: float, ask: Callable[[], Any]) -> Any:
    """What `ask()` returns or raises; TooLate after `deadline_s`, when nobody listens to it any more."""
    answers: queue.SimpleQueue = queue.SimpleQueue()

    def answer() -> None:
        try:
            answers.put((ask(), None))
        except Exception as error:
            answers.put((None, error))

    threading.Thread(target=answer, daemon=True).start()  # one that sleeps for ever does not keep the command from ending
    try:
        found, error = answers.get(timeout=deadline_s)
    except queue.Empty:
        raise TooLate from None
    if error:
        raise error
    return found
