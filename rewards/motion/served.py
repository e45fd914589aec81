"""A reward component that a server of the user computes: motions out by HTTP, scores back.

One POST a group. The body is an npz file (`numpy.load(io.BytesIO(body))`, nothing pickled) of

    features float32 [G, T, F]     joints float32 [G, T, 22, 3], metres     lengths int [G]     prompts str [G]

as `rewards.reward.Motions` has them. The answer is JSON `{"scores": [G numbers]}`, null for a motion that cannot be
scored. Timeouts, refused connections and the statuses 429 and 5xx are tried again, later each time; any other answer is
an error at once.
"""

import http.client
import io
import json
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from rewards.motion.motions import Motions
from rewards.options import count, number
from rollout.io.errors import InputError

FIRST_PAUSE_S = 0.5  # doubled after every further failure


class Served:
    """Scores by the server at `address`."""

    def __init__(self, address: str, timeout: float = 30.0, tries: int = 5, concurrency: int = 4):
        """timeout: seconds a request may wait for bytes; tries: of one request; concurrency: requests at once.

        Raises InputError for a number that makes no sense.
        """
        self.address, self.timeout = address, number("timeout", timeout, above=0)
        self.tries, self.concurrency = count("tries", tries), count("concurrency", concurrency)

    def __call__(self, motions: Motions) -> np.ndarray:
        members = [np.flatnonzero(motions.groups == group) for group in np.unique(motions.groups)]
        scores = np.full(len(motions), np.nan, np.float32)
        with ThreadPoolExecutor(self.concurrency) as pool:
            for rows, found in zip(members, pool.map(lambda rows: self._ask(motions.rows(rows)), members)):
                scores[rows] = found
        return scores

    def _ask(self, motions: Motions) -> np.ndarray:
        body, prompts = io.BytesIO(), np.array(motions.prompts, str)
        np.savez(body, features=motions.features, joints=motions.joints, lengths=motions.lengths, prompts=prompts)
        started = time.monotonic()
        for tried in range(self.tries):
            if tried:
                time.sleep(FIRST_PAUSE_S * 2 ** (tried - 1))
            try:
                return _read(self.address, self._post(body.getvalue()), len(motions))
            except urllib.error.HTTPError as error:
                reason = f"status {error.code} ({' '.join(error.read(300).decode(errors='replace').split())[:120]})"
                if error.code != 429 and error.code < 500:
                    raise InputError(f"{self.address}: answered with {reason}, expected 200 and scores") from None
            except (OSError, http.client.HTTPException) as error:  # URLError and timeouts are OSErrors
                reason = str(getattr(error, "reason", error)) or type(error).__name__
        waited = time.monotonic() - started
        raise InputError(f"{self.address}: no scores in {self.tries} tries over {waited:.1f} s, the last time: {reason}")

    def _post(self, body: bytes) -> bytes:
        headers = {"Content-Type": "application/x-npz"}
        with urllib.request.urlopen(urllib.request.Request(self.address, body, headers), timeout=self.timeout) as answer:
            return answer.read()


def _read(address: str, answer: bytes, samples: int) -> np.ndarray:
    try:
        scores = json.loads(answer)["scores"]
        found = np.array([np.nan if score is None else score for score in scores], np.float32)
    except (ValueError, TypeError, KeyError):
        text = " ".join(answer.decode(errors="replace").split())[:120]
        raise InputError(f'{address}: answered {text!r}, expected JSON {{"scores": [{samples} numbers or null]}}') from None
    if found.shape != (samples,):
        raise InputError(f"{address}: gave scores of shape {found.shape}, expected ({samples},)")
    return found
