"""One address that is posted to until it answers: tries, pauses that double, one deadline over all of them."""

import http.client
import time
import urllib.error
import urllib.request

from rewards.deadline import TooLate, within
from rollout.io.errors import InputError, RunFailed

FIRST_PAUSE_S = 0.5  # doubled after every further failure


class Endpoint:
    """address: http(s); kind: of content that is sent; timeout: seconds a try may take; tries: of one request; token: a secret that
    goes to this host alone, as a bearer token, and into no message."""

    def __init__(self, address: str, kind: str, timeout: float, tries: int, token: str | None = None):
        self.address, self.kind, self.timeout, self.tries, self.token = address, kind, timeout, tries, token

    def ask(self, body: bytes, until: float, most: int) -> bytes:
        """The content of the answer with status 200, at most `most` bytes. Timeouts, refused connections and the statuses 429 and 5xx
        are tried again; RunFailed when that is in vain by `until` (of time.monotonic()). InputError for any other answer."""
        started, reason, tried = time.monotonic(), "no time was left", 0
        while tried < self.tries:
            pause = FIRST_PAUSE_S * 2 ** (tried - 1) if tried else 0.0
            left = until - time.monotonic() - pause
            if left <= 0:
                break
            time.sleep(pause)
            tried += 1
            try:
                status, answer = within(min(self.timeout, left), lambda: self._post(body, most))
            except TooLate:  # a socket's own timeout starts anew with every byte
                reason = "timed out"
            except (OSError, http.client.HTTPException) as error:  # URLError and timeouts are OSErrors
                reason = str(getattr(error, "reason", error)) or type(error).__name__
            else:
                if status == 200:
                    return answer
                reason = f"status {status} ({self.shown(answer)})"
                if status != 429 and status < 500:
                    raise InputError(f"{self.address}: answered with {reason}, expected 200")
        over = f"in {tried} tries over {time.monotonic() - started:.1f} s"
        raise RunFailed(f"{self.address}: no answer {over}, the last time: {reason}")

    def _post(self, body: bytes, most: int) -> tuple[int, bytes]:
        request = urllib.request.Request(self.address, body, {"Content-Type": self.kind})
        if self.token:
            request.add_unredirected_header("Authorization", f"Bearer {self.token}")  # another host does not get it
        try:
            answer = urllib.request.urlopen(request, timeout=self.timeout)
        except urllib.error.HTTPError as error:
            answer = error
        with answer:
            content = answer.read(most)
            if answer.status == 200 and answer.read(1):
                raise InputError(f"{self.address}: answered with more than {most} bytes")
            if getattr(answer, "length", None):
                raise http.client.IncompleteRead(content, answer.length)
            return answer.status, content

    def shown(self, answer: bytes) -> str:
        """The beginning of an answer in one line, without the token if the server repeats it."""
        text = " ".join(answer.decode(errors="replace").split())
        return (text.replace(self.token, "***") if self.token else text)[:120]
