"""A language model that judges answers, behind an OpenAI-compatible address: `judge`, `context`, `reasoning`, and free-form accuracy.

The address is in the environment variable API (…/v1/chat/completions, or …/v1), its key in API_KEY, as in the originals;
USE_API_REWARD=false switches it off. Options name other variables; settings, logs and messages never hold the key. What was not
judged (an outage, an answer that is no number of the scale) is NaN and counted, and the component is dropped for that group.
"""

import json
import os
import re
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from rewards.endpoint import Endpoint
from rewards.language.answers import Answers, part_of
from rewards.options import count, number
from rewards.reward import Told
from rollout.io.credentials import redacted
from rollout.io.errors import InputError, RunFailed

MARGIN = 0.9  # of the deadline: after it, the actor that waits would be taken for lost
MOST_BYTES = 200_000  # of a reply
SHOWN = 4000  # characters of a part that the judge reads
NUMBER = re.compile(r"(?:[^:：\d]{0,40}\d{0,4}\s{0,4}[:：])?\s*(\d{1,3}(?:\.\d{1,6})?)\s*(?:/\s*(\d{1,3}))?\s*\.?", re.ASCII)


class Api:
    """Asks for numbers; all questions of one call end within `MARGIN` of `deadline_s`."""

    ABSENT = "the environment has no judge: set API to its address (and API_KEY), and USE_API_REWARD not to false"

    def __init__(
        self, deadline_s: float = 300.0, model: str = "qwen2.5-72b-instruct", timeout: float = 15.0, tries: int = 5, concurrency: int = 8,
        use_env: str = "USE_API_REWARD", address_env: str = "API", token_env: str = "API_KEY",
    ):  # fmt: skip
        """model: as the server names it; timeout: seconds a try may take; tries: of one question; concurrency: questions at once;
        *_env: the environment variables, as the scoring process sees them. InputError without an address or for a bad number."""
        for key, name in (("use_env", use_env), ("address_env", address_env), ("token_env", token_env)):
            if not isinstance(name, str) or not re.fullmatch(r"[A-Z_][A-Z0-9_]*", name):
                raise InputError(f"{key}: expected the name of an environment variable in capitals, such as API_KEY, not a value")
        if not self.there(use_env, address_env):
            absent = self.ABSENT.replace("USE_API_REWARD", use_env).replace("API_KEY", token_env)
            raise InputError(absent if address_env == "API" else absent.replace("set API ", f"set {address_env} "))
        address, token = os.environ[address_env].strip(), os.environ.get(token_env, "").strip()
        if not address.startswith(("http://", "https://")) or redacted(address) != address:
            raise InputError(f"{address_env}: the environment variable is no plain http(s) address, expected one without credentials")
        if token and not (token.isascii() and token.isprintable()):
            raise InputError(f"{token_env}: the environment variable is no token")
        address = f"{address.rstrip('/')}/chat/completions" if address.rstrip("/").endswith("/v1") else address
        if not isinstance(model, str) or not model:
            raise InputError(f"model: found {model!r}, expected the name of a model")
        self.endpoint = Endpoint(address, "application/json", number("timeout", timeout, above=0), count("tries", tries), token or None)
        self.model, self.concurrency, self.patience_s = model, count("concurrency", concurrency), MARGIN * deadline_s

    @staticmethod
    def there(use_env: str = "USE_API_REWARD", address_env: str = "API") -> bool:
        off = os.environ.get(use_env, "").strip().lower() in ("false", "0", "no", "off")
        return bool(os.environ.get(address_env, "").strip()) and not off

    @staticmethod
    def cut(text: str) -> str:
        return text if len(text) <= SHOWN else f"{text[:SHOWN]} ..."

    def fill(self, found: Told, questions: Mapping[int, str], scale: int) -> None:
        """Puts reply / scale in the place of each question, or NaN and the reason."""
        until = time.monotonic() + self.patience_s

        def ask(question: str) -> float | str:
            try:
                return self.ask(question, scale, until)
            except (InputError, RunFailed) as error:
                return str(error)

        with ThreadPoolExecutor(self.concurrency) as pool:
            for i, said in zip(questions, pool.map(ask, questions.values())):
                found.values[i] = np.nan if isinstance(said, str) else said
                if isinstance(said, str):
                    found.reasons[i] = said

    def ask(self, question: str, scale: int, until: float) -> float:
        """0..1. RunFailed for an outage, InputError for a reply that is no number from 0 to `scale`."""
        body = {"model": self.model, "messages": [{"role": "user", "content": question}], "temperature": 0}
        answer = self.endpoint.ask(json.dumps(body).encode(), until, MOST_BYTES)
        try:
            text = json.loads(answer)["choices"][0]["message"]["content"]
            said = NUMBER.fullmatch(text.strip())
        except (ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError):
            raise InputError(f"{self.endpoint.address}: replied {self.endpoint.shown(answer)!r}, expected a chat completion") from None
        if not said or float(said[1]) > scale or (said[2] and int(said[2]) != scale):
            raise InputError(f"{self.endpoint.address}: said {self.endpoint.shown(text.encode())!r}, expected a number from 0 to {scale}")
        return float(said[1]) / scale

    def probe(self) -> None:
        """One question, before a run, so that a wrong key or address is told at once. Raises as `ask`."""
        self.ask("How much is two and one? Reply with the number alone.", 5, time.monotonic() + self.patience_s)


class Judge:
    """Base of the judges of one answer. float32 [N], 0..1; NaN, with the reason, for what was not judged."""

    scale = 5

    def __init__(self, deadline_s: float = 300.0, **api):
        """api: see `Api`."""
        self.judge = Api(deadline_s, **api)

    def __call__(self, answers: Answers) -> Told:
        found, questions = Told(np.full(len(answers), np.nan, np.float32)), {}
        for i in range(len(answers)):
            asked = self.question(answers.completions[i], answers.items[i].solution)
            if isinstance(asked, str):
                questions[i] = asked
            elif asked is None:
                found.reasons[i] = "the solution has no <context> to compare with"
            else:
                found.values[i] = asked
        self.judge.fill(found, questions, self.scale)
        return found

    def question(self, completion: str, solution: str) -> str | float | None:
        """What the judge is asked; or the score that needs no judge; or None where there is nothing to compare with."""
        raise NotImplementedError

    def read(self, text: str, tag: str) -> str:
        return self.judge.cut(part_of(text, tag) or "")


class PeopleJudge(Judge):
    """`judge`: how much the think part attends to people, 0 to 10, over 10; 0 without one."""

    scale = 10

    def question(self, completion: str, solution: str) -> str | float:
        think = self.read(completion, "think")
        return PEOPLE.format(think=think) if think else 0.0


class ContextJudge(Judge):
    """`context`: how much of the context in the solution the context part covers, 0 to 5, over 5; 0 without one."""

    def question(self, completion: str, solution: str) -> str | float | None:
        truth, context = self.read(solution, "context"), self.read(completion, "context")
        return None if not truth else CONTEXT.format(truth=truth, context=context) if context else 0.0


class ReasoningJudge(Judge):
    """`reasoning`: how many of five criteria the think part meets, given the context part, over 5; 0 without one of them."""

    def question(self, completion: str, solution: str) -> str | float:
        context, think = self.read(completion, "context"), self.read(completion, "think")
        return REASONING.format(context=context, think=think) if context and think else 0.0


PEOPLE = """\
How much does this reasoning attend to the people in what it describes: to what they do, their faces, bodies and dealings?
10: nearly all of it. 7 to 9: most of it. 4 to 6: as much as to places and things. 1 to 3: hardly. 0: not at all.

Reasoning: {think}

Reply with the number alone."""
CONTEXT = """\
How much of what is important in the first text does the second cover? Other words and further details are no fault.
5: the main themes, clearly and rightly. 4: some important ones. 2: a visible connection, but shallow. 1: hardly any. 0: none.

First text: {truth}

Second text: {context}

Reply with the number alone."""
REASONING = """\
Give this reasoning one point for each of: it uses evidence from the image, video or sound; it checks itself or looks again; it is
logical; it works on the question that was asked; it adds nothing to the evidence and does not contradict it.

Context: {context}

Reasoning: {think}

Reply with the number of points, 0 to 5, alone."""
