"""A page in headless Chromium, driven by its DevTools protocol over two pipes: no package between, and no port.

Everything that goes wrong in the page is kept: errors of its console, exceptions, and every request but that of its own file.
"""

import base64
import contextlib
import fcntl
import io
import itertools
import json
import os
import select
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--no-first-run", "--remote-debugging-pipe")
DEADLINE_S = 60


def chromium() -> str:
    """Its path; the test is skipped where there is none."""
    found = next((path for name in NAMES if (path := shutil.which(name))), None)
    if not found:
        pytest.skip("no Chromium on this machine (Debian: apt-get install chromium): the page is not opened")
    return found


class Browser:
    """One Chromium process with one page. `errors` and `requests`: see the head of this file."""

    def __init__(self, to: int, back: int):
        self._to, self._back, self._buffer = to, back, b""
        self._numbers, self._session = itertools.count(1), None
        self.errors: list[str] = []
        self.requests: list[str] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters) -> dict:
        """What Chromium answers; the events before the answer are taken in."""
        number = next(self._numbers)
        message = {"id": number, "method": method, "params": parameters} | ({"sessionId": self._session} if self._session else {})
        os.write(self._to, json.dumps(message).encode() + b"\0")
        end = time.monotonic() + DEADLINE_S
        while time.monotonic() < end:
            for found in self._messages(end - time.monotonic()):
                if found.get("id") == number:
                    assert "error" not in found, f"{method}: {found['error']}"
                    return found["result"]
        raise AssertionError(f"{method}: no answer")

    def _messages(self, wait_s: float) -> Iterator[dict]:
        if select.select([self._back], [], [], max(0, wait_s))[0]:
            part = os.read(self._back, 2**20)
            assert part, "Chromium ended"
            *whole, self._buffer = (self._buffer + part).split(b"\0")
            for text in whole:
                found = json.loads(text)
                self._take(found.get("method"), found.get("params", {}))
                yield found

    def _take(self, method: str | None, event: dict) -> None:
        if method == "Runtime.exceptionThrown":
            details = event["exceptionDetails"]
            self.errors.append(details.get("exception", {}).get("description") or details["text"])
        elif method == "Runtime.consoleAPICalled" and event["type"] in ("error", "warning", "assert"):
            self.errors.append(" ".join(str(part.get("value", part.get("description"))) for part in event["args"]))
        elif method == "Log.entryAdded" and event["entry"]["level"] in ("error", "warning"):
            self.errors.append(event["entry"]["text"])
        elif method == "Network.requestWillBeSent" and not event["request"]["url"].startswith(("data:", "blob:")):
            self.requests.append(event["request"]["url"])

    def look(self, width: int = 1200, height: int = 900, theme: str = "light", still: bool = True) -> None:
        """The screen from now on. still: nothing moves by itself."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600)
        wanted = {"prefers-color-scheme": theme, "prefers-reduced-motion": "reduce" if still else "no-preference"}
        self.call("Emulation.setEmulatedMedia", features=[{"name": name, "value": value} for name, value in wanted.items()])

    def open(self, address: str | Path) -> None:
        """The page, once it says that it is ready."""
        self.requests.clear()
        self.call("Page.navigate", url=address.as_uri() if isinstance(address, Path) else address)
        self.wait("document.body?.dataset.ready")

    def run(self, script: str):
        """What an expression of JavaScript is, a promise's outcome."""
        answer = self.call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True, userGesture=True)
        wrong = answer.get("exceptionDetails")
        assert not wrong, wrong.get("exception", {}).get("description", wrong["text"])
        return answer["result"].get("value")

    def set(self, selector: str, value: str | int) -> None:
        """As if a person had typed, chosen or moved an input to `value`."""
        events = "for (const kind of ['input', 'change']) e.dispatchEvent(new Event(kind));"
        self.run(f"(() => {{ const e = document.querySelector({json.dumps(selector)}); e.value = {json.dumps(value)}; {events} }})()")

    def wait(self, script: str):
        """What the expression is, once that is something."""
        end = time.monotonic() + DEADLINE_S
        while not (found := self.run(script)):
            assert time.monotonic() < end, f"waited in vain for {script}; errors: {self.errors}"
            time.sleep(0.05)
        return found

    def text(self, selector: str) -> str:
        """Of an element, once it is there."""
        self.wait(f"Boolean(document.querySelector({json.dumps(selector)}))")
        return self.run(f"document.querySelector({json.dumps(selector)}).innerText")

    def pixels(self, selector: str) -> np.ndarray:
        """uint8 [H, W, 3] of an element, once it is there, as it is on the screen, which moves to it."""
        self.wait(f"Boolean(document.querySelector({json.dumps(selector)}))")
        box = self.run(
            f"(async () => {{ const e = document.querySelector({json.dumps(selector)});"
            " e.scrollIntoView({block: 'center', behavior: 'instant'}); await new Promise((done) => setTimeout(done, 200));"
            " const b = e.getBoundingClientRect();"
            " return {x: b.x + scrollX, y: b.y + scrollY, width: b.width, height: b.height, scale: 1}; })()"
        )  # fmt: skip
        return self.screen(clip=box)

    def screen(self, **options) -> np.ndarray:
        data = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=True, **options)["data"]
        return np.asarray(Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB"))


@contextlib.contextmanager
def browser() -> Iterator[Browser]:
    path = chromium()
    (read, to), (back, write) = os.pipe(), os.pipe()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        words = [path, *FLAGS, f"--user-data-dir={profile}", "about:blank"]
        ends = [fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 10) for end in (read, write)]  # out of the way of where they go
        places = [(os.POSIX_SPAWN_DUP2, end, place) for end, place in zip(ends, (3, 4))]
        silent = [(os.POSIX_SPAWN_OPEN, place, os.devnull, os.O_WRONLY, 0) for place in (1, 2)]
        process = os.posix_spawn(path, words, os.environ, file_actions=places + silent, setpgroup=0)
        for end in (read, write, *ends):
            os.close(end)
        try:
            yield Browser(to, back)
        finally:
            os.killpg(process, signal.SIGKILL)  # it has nothing to save
            os.waitpid(process, 0)
            os.close(to)
            os.close(back)
