"""Shows the page of a run that trains, and keeps it up to date: on this machine alone unless told otherwise, and nothing is written."""

import contextlib
import ipaddress
import json
import socket
import threading
import time
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from learner.report.content import content_of
from learner.report.html import packed, page
from learner.report.live import require_run, state_of
from rollout.io.errors import InputError

LIVE_ROOM = 1_000_000  # characters of samples: what is sent again and again is less than the page that is kept
REST = 2.0  # times as long as it took to read a run, nobody has it read again: a run is not to wait for its page


class LivePage:
    """What is sent of one run; read anew when the run has more to show, and not too often."""

    def __init__(self, run: Path):
        self.run, self.content, self._next = run, {}, 0.0
        self._reading = threading.Lock()

    def latest(self) -> dict:
        with self._reading:
            state = state_of(self.run)
            if state.stamp != self.content.get("stamp") and time.monotonic() >= self._next:
                began = time.monotonic()
                trains = state.tone in ("running", "slow", "stuck")
                self.content = {**content_of([self.run], {} if trains else None, LIVE_ROOM), "stamp": state.stamp}
                self._next = time.monotonic() + REST * (time.monotonic() - began)
            return self.content


def server(run: Path, host: str, port: int) -> ThreadingHTTPServer:
    """Ready to `serve_forever`. port: 0 = any that is free. Raises InputError for what is no run folder, and a place that cannot be had."""
    require_run(run)
    shown = LivePage(run.resolve())
    answers: dict[str, Callable[[], tuple[str, bytes]]] = {
        "/": lambda: ("text/html; charset=utf-8", page(shown.latest(), live=True)),
        "/content": lambda: ("text/plain", packed(shown.latest()).encode()),
        "/state": lambda: ("application/json", json.dumps(state_of(shown.run)._asdict()).encode()),
    }

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if not _expected(self.headers.get("Host", ""), host, self.connection.getsockname()[0]):
                return self.send_error(HTTPStatus.FORBIDDEN)
            if self.path not in answers:
                return self.send_error(HTTPStatus.NOT_FOUND)
            try:
                kind, content = answers[self.path]()
            except (InputError, OSError) as error:
                return self.send_error(HTTPStatus.SERVICE_UNAVAILABLE, explain=str(error))
            self.send_response(HTTPStatus.OK)
            for name, value in (("Content-Type", kind), ("Content-Length", str(len(content))), ("Cache-Control", "no-store")):
                self.send_header(name, value)
            self.end_headers()
            with contextlib.suppress(ConnectionError):  # whoever asked has gone
                self.wfile.write(content)

        def log_message(self, *words) -> None:
            pass

    try:
        return ThreadingHTTPServer((host, port), Handler)
    except (OSError, OverflowError) as error:
        raise InputError(f"--serve: cannot listen on {host} port {port} ({getattr(error, 'strerror', None) or error})") from None


def _expected(asked: str, host: str, reached: str) -> bool:
    """Whether a request is for this server: by an address, or by a name that is its own. `reached`: the address here at which it came in.
    From the network any name will do, which whoever let the network in has given; from this machine only its own, since a web page
    elsewhere can have its name lead here."""
    name = (asked.rpartition(":")[0] if asked.rpartition(":")[2].isdecimal() else asked).lower()
    if name in ("localhost", host.lower(), socket.gethostname().lower()) or not ipaddress.ip_address(reached).is_loopback:
        return True
    try:
        return bool(ipaddress.ip_address(name.strip("[]")))
    except ValueError:
        return False
