"""Judges behind an address, against a real server on this machine: what is asked, what is read, and what an outage is."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from rewards import endpoint
from rewards.components import Component
from rewards.compose import Composer
from rewards.language.family import make_scorer
from rewards.language.kinds import KINDS
from rollout.io.errors import InputError
from tests.rewards.language.rows import answers, whole

KEY = "sk-s3cret"


class Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        with self.server.lock:
            self.server.asked.append((self.path, dict(self.headers), json.loads(body)))
            self.server.at_once += 1
            self.server.most = max(self.server.most, self.server.at_once)
        status, answer = self.server.answer(json.loads(body)["messages"][0]["content"])
        with self.server.lock:
            self.server.at_once -= 1
        self.send_response(status)
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *arguments):
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, answer):
        super().__init__(("127.0.0.1", 0), Handler)
        self.answer, self.asked, self.at_once, self.most, self.lock = answer, [], 0, 0, threading.Lock()

    def handle_error(self, request, client_address):
        pass  # a client that stopped waiting


@pytest.fixture
def serve(monkeypatch):
    """`serve(answer)`: a server that answers each question by `answer(text)`, a status and bytes; the environment names it."""
    monkeypatch.setattr(endpoint, "FIRST_PAUSE_S", 0.01)
    monkeypatch.delenv("USE_API_REWARD", raising=False)
    servers = []

    def serve(answer):
        servers.append(Server(answer))
        threading.Thread(target=servers[-1].serve_forever, args=(0.01,)).start()
        monkeypatch.setenv("API", f"http://127.0.0.1:{servers[-1].server_port}/v1")
        monkeypatch.setenv("API_KEY", KEY)
        return servers[-1]

    yield serve
    for server in servers:
        server.shutdown()
        server.server_close()


def says(text) -> tuple[int, bytes]:
    return 200, json.dumps({"choices": [{"message": {"role": "assistant", "content": text}}]}).encode()


def component(path, deadline_s=60.0, **options):
    return KINDS.build("it", Component(path, options=options), {"deadline": deadline_s, "device": "cpu"}.__getitem__)


@pytest.mark.parametrize("path, scale", [("judge", 10), ("context", 5), ("reasoning", 5), ("accuracy", 5)])
def test_each_judge_is_asked_about_its_own_part(serve, path, scale):
    server = serve(lambda text: says(str(scale / 2)))
    it = component(path, model="some-model")
    given = answers(whole("MINE", think="THOUGHT", context="SEEN"), problem_type="free-form", solution=whole("TRUE", context="REAL"))
    assert it(given).values.tolist() == [0.5]
    ((where, headers, body),) = server.asked
    assert where == "/v1/chat/completions" and headers["Authorization"] == f"Bearer {KEY}" and body["model"] == "some-model"
    parts = {"judge": ["THOUGHT"], "context": ["SEEN", "REAL"], "reasoning": ["SEEN", "THOUGHT"], "accuracy": ["MINE", "TRUE"]}[path]
    text = body["messages"][0]["content"]
    assert [part for part in ("MINE", "TRUE", "THOUGHT", "SEEN", "REAL") if part in text] == [p for p in ("MINE", "TRUE", "THOUGHT", "SEEN", "REAL") if p in parts]


def test_what_needs_no_judge_is_not_asked(serve):
    server = serve(lambda text: says("5"))
    given = answers("<answer>x</answer>", "", problem_type="free-form", solution=whole("TRUE", context=""))
    assert component("judge")(given).values.tolist() == component("reasoning")(given).values.tolist() == [0, 0]
    told = component("context")(given)
    assert np.isnan(told.values).all() and told.reasons[0] == "the solution has no <context> to compare with"
    assert component("accuracy")(answers("x", problem_type="free-form", solution="y")).values.tolist() == [0]
    assert server.asked == []


@pytest.mark.parametrize(
    "text, value",
    [("9", 0.9), ("9.2", 0.92), (" 10 \n", 1), ("0", 0), ("Score: 7", 0.7), ("答案1: 9.2", 0.92), ("8/10", 0.8), ("7.", 0.7),
     ("11", None), ("-1", None), ("seven", None), ("between 6 and 8", None), ("I give 4 of 5", None), ("4/5", None), ("", None),
     ("nan", None), ("1e1", None), ("__import__('os')", None), (None, None), ([5], None), (5, None), ("٧", None), ("9 " * 20_000, None)],
)  # fmt: skip
def test_a_reply_is_one_number_of_the_scale_or_none(serve, text, value):
    serve(lambda question: says(text))
    told = component("judge")(answers(whole("A")))
    if value is None:
        assert np.isnan(told.values).all() and "\n" not in told.reasons[0] and len(told.reasons[0]) < 500
    else:
        assert told.values.tolist() == [np.float32(value)]


@pytest.mark.parametrize(
    "answer, reason",
    [
        ((500, b"out"), "no answer in 2 tries over "),
        ((429, b"slowly"), "no answer in 2 tries over "),
        ((401, b"no " + KEY.encode()), "answered with status 401 (no ***), expected 200"),
        ((200, b"<html>"), "replied '<html>', expected a chat completion"),
        ((200, b"[" * 100_000), "expected a chat completion"),
        ((200, b'{"choices": []}'), "expected a chat completion"),
        ((200, KEY.encode()), "replied '***', expected a chat completion"),
        ((200, b" " * 10_000_000), "answered with more than 200000 bytes"),
    ],
)
def test_an_outage_is_nan_with_its_reason_and_without_the_key(serve, answer, reason):
    server = serve(lambda text: answer)
    told = component("judge", tries=2)(answers(whole("A")))
    assert np.isnan(told.values).all() and reason in told.reasons[0] and KEY not in told.reasons[0] and "\n" not in told.reasons[0]
    assert len(server.asked) == (2 if answer[0] in (500, 429) else 1)


def test_a_passing_fault_is_tried_again(serve):
    faults = iter([(503, b"busy")] * 2)
    server = serve(lambda text: next(faults, None) or says("5"))
    assert component("judge")(answers(whole("A"))).values.tolist() == [0.5] and len(server.asked) == 3


def test_silence_ends_within_the_deadline_and_nobody_there_is_told(serve, monkeypatch):
    hold = threading.Event()
    serve(lambda text: (hold.wait(60), says("5"))[1])
    told = component("judge", deadline_s=0.5, timeout=50)(answers(*[whole("A")] * 20))
    hold.set()
    assert np.isnan(told.values).all() and told.reasons[0].endswith(("timed out", "no time was left"))
    monkeypatch.setenv("API", "http://127.0.0.1:9/v1")
    assert "Connection refused" in component("judge", tries=1)(answers(whole("A"))).reasons[0]


def test_no_more_questions_at_once_than_allowed_and_scores_return_to_their_answers(serve):
    pair = threading.Barrier(2, timeout=20)
    server = serve(lambda text: (pair.wait(), says(next(str(n) for n in range(8) if f"THOUGHT{n}" in text)))[1])
    told = component("judge", concurrency=2)(answers(*[whole("A", think=f"THOUGHT{n}") for n in range(8)]))
    assert server.most == 2
    np.testing.assert_allclose(told.values, np.arange(8) / 10, rtol=1e-6)


def test_a_huge_answer_is_cut_before_it_is_sent(serve):
    server = serve(lambda text: says("5"))
    component("judge")(answers(whole("A", think="x" * 10_000_000)))
    assert len(server.asked[0][2]["messages"][0]["content"]) < 6000


def test_an_outage_drops_the_component_for_its_group_and_punishes_nobody(serve):
    serve(lambda text: (500, b"") if "BAD" in text else says("8"))
    components = {
        "format": Component("format", 0.5),
        "judge": Component("judge", 2.0, options={"tries": 1}, optional=KINDS.of("judge", "judge").optional),
    }
    scorer = make_scorer(components, "cpu", 60)
    good, bad = scorer(answers(whole("A"), "<think>x</think>")), scorer(answers(whole("A"), "<think>BAD</think>"))
    assert bad.failures.keys() == {1} and "status 500" in bad.failures[1]
    totals = Composer(components).total([good, bad])
    np.testing.assert_allclose(totals, [[0.5 + 1.6, 1.6], [0.5, 0]], rtol=1e-6)


@pytest.mark.parametrize(
    "changes, options, message",
    [
        ({"API": None}, {}, "the environment has no judge: set API to its address (and API_KEY), and USE_API_REWARD not to false"),
        ({"USE_API_REWARD": "false"}, {}, "the environment has no judge"),
        ({"MY_API": None}, {"address_env": "MY_API"}, "the environment has no judge: set MY_API to its address"),
        ({"API": "ftp://x"}, {}, "API: the environment variable is no plain http(s) address"),
        ({"API": f"http://me:{KEY}@host/v1"}, {}, "API: the environment variable is no plain http(s) address"),
        ({"API_KEY": f"{KEY}\nX: y"}, {}, "API_KEY: the environment variable is no token"),
        ({}, {"token_env": KEY}, "token_env: expected the name of an environment variable in capitals"),
        ({}, {"timeout": 0}, "timeout: found 0, expected a number above 0"),
        ({}, {"tries": 0}, "tries: found 0"),
    ],
)
def test_a_judge_that_cannot_be_asked_is_one_line_without_the_key(serve, monkeypatch, changes, options, message):
    serve(lambda text: says("5"))
    for name, value in changes.items():
        monkeypatch.setenv(name, value) if value is not None else monkeypatch.delenv(name, raising=False)
    with pytest.raises(InputError) as caught:
        component("judge", **options)
    assert str(caught.value).startswith(f"reward.components.it: {message}") and KEY not in str(caught.value)


def test_no_key_is_needed_and_other_variables_can_be_named(serve, monkeypatch):
    server = serve(lambda text: says("5"))
    monkeypatch.delenv("API_KEY")
    assert component("judge")(answers(whole("A"))).values.tolist() == [0.5] and "Authorization" not in server.asked[0][1]
    monkeypatch.setenv("OTHER_KEY", "k2")
    component("judge", token_env="OTHER_KEY")(answers(whole("A")))
    assert server.asked[1][1]["Authorization"] == "Bearer k2"
