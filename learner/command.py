"""What our commands do around their work: stop signals, exit status, one line for bad input."""

import signal
import sys
from collections.abc import Callable

from learner.learner import SyncError
from rollout.errors import InputError

EXIT_CODES = {"finished": 0, "failed": 1, "bad input": 2, "killed": 143}


def exit_code(run: Callable[[], str]) -> int:
    """Runs a command that returns its status; what went wrong is one line on stderr."""
    try:
        return EXIT_CODES[run()]
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_CODES["bad input"]
    except SyncError as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_CODES["failed"]
    except KeyboardInterrupt:
        return EXIT_CODES["killed"]


def stop_on_sigterm() -> None:
    """SIGTERM ends a command as Ctrl-C does; a second one does not disturb the end."""

    def stop(signum, frame):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        raise KeyboardInterrupt  # of any other exception, Ray's waits make a SystemError

    signal.signal(signal.SIGTERM, stop)
