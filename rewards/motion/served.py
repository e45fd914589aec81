"""A reward component that a server of the user computes: motions out by HTTP, scores back.

One POST a group, or as many as `request_size` makes of it. The body is an npz file (`numpy.load(io.BytesIO(body))`, nothing
pickled) of

    features float32 [G, T, F]     joints float32 [G, T, J, 3], metres     lengths int [G]     prompts str [G]

as `rewards.motion.motions.Motions` has them. The answer is JSON `{"scores": [G numbers]}`, null for a motion that cannot be
scored. Timeouts, refused connections and the statuses 429 and 5xx are tried again, later each time; any other answer is
an error at once.
"""

import io
import json
import os
import re
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from rewards.endpoint import Endpoint
from rewards.motion.motions import Motions
from rewards.options import count, number
from rollout.io.errors import InputError

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
        self.address, self.patience_s, timeout = address, MARGIN * deadline_s, number("timeout", timeout, above=0)
        tries, self.concurrency = count("tries", tries), count("concurrency", concurrency)
        self.request_size = None if request_size is None else count("request_size", request_size)
        self.endpoint = Endpoint(address, "application/x-npz", timeout, tries, None if token_env is None else _token(token_env))

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
        return self._read(self.endpoint.ask(body.getvalue(), until, MOST_BYTES + BYTES_PER_SCORE * len(motions)), len(motions))

    def _read(self, answer: bytes, samples: int) -> np.ndarray:
        try:
            scores = json.loads(answer)["scores"]
            found = np.array([np.nan if score is None else score for score in scores], np.float32)
        except (ValueError, TypeError, KeyError, OverflowError, RecursionError):
            expected = f'JSON {{"scores": [{samples} numbers or null]}}'
            raise InputError(f"{self.address}: answered {self.endpoint.shown(answer)!r}, expected {expected}") from None
        if found.shape != (samples,):
            raise InputError(f"{self.address}: gave scores of shape {found.shape}, expected ({samples},)")
        return found


def _token(name: str) -> str:
    """The value of an environment variable, which no message shows; nor `name`, unless it is one."""
    if not isinstance(name, str) or not re.fullmatch(r"[A-Z_][A-Z0-9_]*", name):
        raise InputError("token_env: expected the name of an environment variable in capitals, such as REWARD_TOKEN, not a token")
    token = os.environ.get(name, "").strip()
    if not (token.isascii() and token.isprintable() and token):
        raise InputError(f"token_env: the environment variable {name} is {'no token' if token else 'not set'}, expected the server's token in it")
    return token
