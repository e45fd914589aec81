"""A reward component that a server of the user computes: motions out by HTTP, scores back.

One POST a group, or as many as `request_size` makes of it. The body is an npz file (`numpy.load(io.BytesIO(body))`, nothing
pickled) of

    features float32 [G, T, F]     joints float32 [G, T, 22, 3], metres     lengths int [G]     prompts str [G]

as `rewards.motion.motions.Motions` has them. The answer is JSON `{"scores": [G numbers]}`, null for a motion that cannot be
scored. Timeouts, refused connections and the statuses 429 and 5xx are tried again, later each time; any other answer is
an error at once.
"""

import http.client
import io
import json
import os
import re
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from rewards.deadline import TooLate, within
from rewards.motion.motions import Motions
from rewards.options import count, number
from rollout.io.errors import InputError, RunFailed

FIRST_PAUSE_S = 0.5  # doubled after every further failure
MARGIN = 0.9  # of the deadline: after it, the actor that waits would be taken for lost
MOST_BYTES = 100_000  # of an answer, and
BYTES_PER_SCORE = 100


class Served:
    """Scores by the server at `address`; all requests of one call end within `MARGIN` of `deadline_s`."""

    def __init__(
        self, address: str, deadline_s: float, timeout: float = 30.0, tries: int = 5, concurrency: int = 4,
        request_size: int | None = None, token_env: str | None = None,
    ):  # fmt: skip
        """timeout: seconds a try may take; tries: of one request; concurrency: requests at once; request_size: the most motions
        of one, None for whole groups; token_env: the environment variable of a bearer token, as the scoring process sees it.

        Raises InputError for a number that makes no sense, and for a token that is not there.
        """
        self.address, self.patience_s, self.timeout = address, MARGIN * deadline_s, number("timeout", timeout, above=0)
        self.tries, self.concurrency = count("tries", tries), count("concurrency", concurrency)
        self.request_size = None if request_size is None else count("request_size", request_size)
        self.token_env, self.token = token_env, None if token_env is None else _token(token_env)

    def __call__(self, motions: Motions) -> np.ndarray:
        """float32 [N]. RunFailed for a server that is out, InputError for one whose answers are no scores."""
        until, requests = time.monotonic() + self.patience_s, []
        for group in np.unique(motions.groups):
            members = np.flatnonzero(motions.groups == group)
            size = self.request_size or len(members)
            requests += [members[first : first + size] for first in range(0, len(members), size)]
        scores = np.full(len(motions), np.nan, np.float32)
        with ThreadPoolExecutor(self.concurrency) as pool:
            for rows, found in zip(requests, pool.map(lambda rows: self._ask(motions.rows(rows), until), requests)):
                scores[rows] = found
        return scores

    def _ask(self, motions: Motions, until: float) -> np.ndarray:
        body, prompts = io.BytesIO(), np.array(motions.prompts, str)
        np.savez(body, features=motions.features, joints=motions.joints, lengths=motions.lengths, prompts=prompts)
        started, reason, tried = time.monotonic(), "no time was left", 0
        while tried < self.tries:
            pause = FIRST_PAUSE_S * 2 ** (tried - 1) if tried else 0.0
            left = until - time.monotonic() - pause
            if left <= 0:
                break
            time.sleep(pause)
            tried += 1
            try:
                status, answer = within(min(self.timeout, left), lambda: self._post(body.getvalue(), len(motions)))
            except TooLate:  # a socket's own timeout starts anew with every byte
                reason = "timed out"
            except (OSError, http.client.HTTPException) as error:  # URLError and timeouts are OSErrors
                reason = str(getattr(error, "reason", error)) or type(error).__name__
            else:
                if status == 200:
                    return self._read(answer, len(motions))
                reason = f"status {status} ({self._shown(answer)})"
                if status != 429 and status < 500:
                    raise InputError(f"{self.address}: answered with {reason}, expected 200 and scores")
        over = f"in {tried} tries over {time.monotonic() - started:.1f} s"
        raise RunFailed(f"{self.address}: no scores {over}, the last time: {reason}")

    def _post(self, body: bytes, samples: int) -> tuple[int, bytes]:
        """Status and content of the answer, of which one that is too long is cut."""
        request = urllib.request.Request(self.address, body, {"Content-Type": "application/x-npz"})
        if self.token:
            request.add_unredirected_header("Authorization", f"Bearer {self.token}")  # another host does not get it
        try:
            answer = urllib.request.urlopen(request, timeout=self.timeout)
        except urllib.error.HTTPError as error:
            answer = error
        with answer:
            content = answer.read(MOST_BYTES + BYTES_PER_SCORE * samples)
            if answer.status == 200 and answer.read(1):
                raise InputError(f"{self.address}: answered with more than {len(content)} bytes, expected the scores of {samples} motions")
            if getattr(answer, "length", None):
                raise http.client.IncompleteRead(content, answer.length)
            return answer.status, content

    def _read(self, answer: bytes, samples: int) -> np.ndarray:
        try:
            scores = json.loads(answer)["scores"]
            found = np.array([np.nan if score is None else score for score in scores], np.float32)
        except (ValueError, TypeError, KeyError, OverflowError, RecursionError):
            expected = f'JSON {{"scores": [{samples} numbers or null]}}'
            raise InputError(f"{self.address}: answered {self._shown(answer)!r}, expected {expected}") from None
        if found.shape != (samples,):
            raise InputError(f"{self.address}: gave scores of shape {found.shape}, expected ({samples},)")
        return found

    def _shown(self, answer: bytes) -> str:
        """The beginning of an answer in one line, without the token if the server repeats it."""
        text = " ".join(answer.decode(errors="replace").split())
        return (text.replace(self.token, "***") if self.token else text)[:120]


def _token(name: str) -> str:
    """The value of an environment variable, which no message shows; nor `name`, unless it is one."""
    if not isinstance(name, str) or not re.fullmatch(r"[A-Z_][A-Z0-9_]*", name):
        raise InputError("token_env: expected the name of an environment variable in capitals, such as REWARD_TOKEN, not a token")
    token = os.environ.get(name, "").strip()
    if not (token.isascii() and token.isprintable() and token):
        raise InputError(f"token_env: the environment variable {name} is {'no token' if token else 'not set'}, expected the server's token in it")
    return token
