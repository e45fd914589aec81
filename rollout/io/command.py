"""What our commands do around their work: flags, stop signals, exit status, one line for bad input."""

import argparse
import difflib
import errno
import os
import signal
import sys
import tempfile
from collections.abc import Callable, Iterable
from typing import NoReturn

from rollout.io.errors import InputError, RunFailed
from rollout.io.machine import versions
from rollout.io.streams import enduring

# saved: stopped by a signal, and --resume goes on from where it was (EX_TEMPFAIL of sysexits.h); killed: there is nothing to go on from.
EXIT_CODES = {"finished": 0, "failed": 1, "bad input": 2, "stopped": 3, "saved": 75, "killed": 143}

_asked_to_stop = False


class Parser(argparse.ArgumentParser):
    """argparse that raises our one line instead of printing its usage. Every command has --version."""

    def __init__(self, *given, **named):
        super().__init__(*given, **named)
        own = versions(("motion-grpo",)).get("motion-grpo", "that is not installed")
        if "--version" not in self._option_string_actions:  # of a parent
            self.add_argument("--version", action="version", version=f"motion-grpo {own}", help="print the version and exit")

    def error(self, message: str) -> NoReturn:
        raise InputError(message.removeprefix("argument "))

    def parse_args(self, args=None, namespace=None):
        known, unknown = self.parse_known_args(args, namespace)
        if unknown:
            flag = unknown[0].partition("=")[0]
            bare = f"--{flag}" in self._option_string_actions  # the dashes were forgotten
            meant = f" (did you mean --{' '.join(unknown[:2])}?)" if bare else did_you_mean(flag, self._option_string_actions)
            raise InputError(f"unknown flag {flag}{meant}; --help lists them all")
        return known


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Words that follow an unknown name, when one that is known is like it."""
    close = difflib.get_close_matches(name, list(known), n=1)
    return f" (did you mean {close[0]}?)" if close else ""


def exit_code(run: Callable[[], str]) -> int:
    """Runs a command that returns its status; what went wrong is one line on stderr."""
    if os.path.expanduser("~") == "~":  # a user without an entry: MLflow and others do not load without a home
        os.environ["HOME"] = tempfile.gettempdir()
    with enduring():
        try:
            return EXIT_CODES[run()]
        except InputError as error:
            status = "bad input"
            print(f"error: {error}", file=sys.stderr)
        except RunFailed as error:
            status = "failed"
            print(f"error: {error}", file=sys.stderr)
        except OSError as error:
            too_long = error.errno == errno.ENAMETOOLONG
            status = "bad input" if too_long else "failed"
            print(f"error: {f'{str(error.filename)[:100]}...: the name is too long for a file' if too_long else error}", file=sys.stderr)
        except KeyboardInterrupt:
            status = "killed"
        return EXIT_CODES[status]


def stop_on_signals() -> None:
    """SIGTERM, and SIGHUP of a terminal that is closed, end a command as Ctrl-C does; a second one does not disturb the end.

    Under `nohup` SIGHUP stays ignored.
    """
    signals = [signal.SIGTERM] + [signal.SIGHUP] * (signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN)

    def stop(signum, frame):
        global _asked_to_stop
        _asked_to_stop = True
        for number in signals:
            signal.signal(number, signal.SIG_IGN)
        raise KeyboardInterrupt  # of any other exception, Ray's waits make a SystemError

    for number in signals:
        signal.signal(number, stop)


def stop_if_asked() -> None:
    """For whoever waits: raises again what was raised where Python drops it, such as in a callback of Ray's."""
    if _asked_to_stop:
        raise KeyboardInterrupt
