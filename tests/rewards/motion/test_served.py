"""A reward on a server of the user's: what travels, what is tried again, and what an outage says."""

import io
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from rewards import endpoint
from rewards.components import Component
from rewards.motion.kinds import KINDS
from rewards.motion.motions import Motions
from rewards.scoring import Scorer
from rollout.io.errors import InputError, RunFailed


class Server(ThreadingHTTPServer):
    """Answers each request by `answer(arrays)`: (status, bytes, headers); bytes may be an iterator of them, sent as they come.
    Counts requests, and how many it had at once; keeps their headers."""

    daemon_threads = True

    def __init__(self, answer):
        super().__init__(("127.0.0.1", 0), Handler)
        self.answer, self.requests, self.at_once, self.most, self.lock = answer, 0, 0, 0, threading.Lock()
        self.headers: list[dict[str, str]] = []

    def handle_error(self, request, client_address):
        pass  # a client that stopped waiting


class Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        with self.server.lock:
            self.server.requests += 1
            self.server.headers.append(dict(self.headers))
            self.server.at_once += 1
            self.server.most = max(self.server.most, self.server.at_once)
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        status, answer, *headers = self.server.answer(dict(np.load(io.BytesIO(body), allow_pickle=False)) if body else {})
        with self.server.lock:
            self.server.at_once -= 1
        self.send_response(status)
        for name, value in {**({"Content-Length": len(answer)} if isinstance(answer, bytes) else {}), **dict(*headers)}.items():
            self.send_header(name, str(value))
        self.end_headers()
        for part in [answer] if isinstance(answer, bytes) else answer:
            self.wfile.write(part)

    do_GET = do_POST  # what a redirected POST becomes

    def log_message(self, *arguments):
        pass


@pytest.fixture
def serve(monkeypatch):
    """`serve(answer)` is a server and its address."""
    monkeypatch.setattr(endpoint, "FIRST_PAUSE_S", 0.01)
    servers = []

    def serve(answer):
        servers.append(Server(answer))
        threading.Thread(target=servers[-1].serve_forever, args=(0.01,)).start()
        return servers[-1], f"http://127.0.0.1:{servers[-1].server_port}/score"

    yield serve
    for server in servers:
        server.shutdown()
        server.server_close()


def reward(address, deadline_s=300.0, **options):
    return KINDS.build("mine", Component(address, options=options), None, deadline_s)


@pytest.fixture
def motions():
    features = np.random.default_rng(0).normal(0, 0.1, (5, 8, 263)).astype(np.float32)
    return Motions(features, np.array([8, 5, 8, 6, 8]), ["a", "b ö", "c", "d", "e"], groups=np.array([0, 1, 0, 1, 2]))


def ok(scores) -> tuple[int, bytes]:
    return 200, json.dumps({"scores": [None if np.isnan(s) else float(s) for s in scores]}).encode()


def heights(arrays) -> tuple[int, bytes]:
    return ok(arrays["joints"][:, 0, 0, 1])


def test_each_group_is_one_request_and_scores_return_to_their_motions(serve, motions):
    seen = {}

    def answer(arrays):
        seen[len(seen)] = arrays
        return heights(arrays)

    server, address = serve(answer)
    np.testing.assert_array_equal(reward(address)(motions), motions.joints[:, 0, 0, 1])
    assert server.requests == 3
    arrays = next(arrays for arrays in seen.values() if len(arrays["lengths"]) == 2 and arrays["lengths"].tolist() == [5, 6])
    np.testing.assert_array_equal(arrays["features"], motions.features[[1, 3]])
    assert arrays["prompts"].tolist() == ["b ö", "d"] and arrays["joints"].shape == (2, 8, 22, 3)


def test_null_is_a_motion_that_cannot_be_scored(serve, motions):
    _, address = serve(lambda arrays: ok(np.where(arrays["lengths"] < 8, np.nan, 1)))
    np.testing.assert_array_equal(reward(address)(motions), [1, np.nan, 1, np.nan, 1])


@pytest.mark.parametrize("status", [500, 503, 429])
def test_a_passing_fault_is_tried_again(serve, motions, status):
    faults = iter([(status, b"busy")] * 2)
    server, address = serve(lambda arrays: next(faults, None) or heights(arrays))
    one = motions.rows([0, 2])
    np.testing.assert_array_equal(reward(address)(one), one.joints[:, 0, 0, 1])
    assert server.requests == 3


def test_no_more_requests_at_once_than_allowed(serve, motions):
    both = threading.Barrier(2, timeout=20)

    def answer(arrays):
        both.wait()  # goes on only when two requests are here together
        return heights(arrays)

    server, address = serve(answer)
    reward(address, concurrency=2)(motions.rows([0, 1, 2, 3]))
    assert server.most == 2
    free, address = serve(lambda arrays: (time.sleep(0.05), heights(arrays))[1])  # long enough for others to come
    reward(address, concurrency=1)(motions)
    assert free.most == 1


def said(kind, address, motions, **options) -> str:
    with pytest.raises(kind) as caught:
        reward(address, **options)(motions)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_an_outage_that_lasts_is_one_line(serve, motions):
    server, address = serve(lambda arrays: (503, b"out for\nlunch"))
    assert f"{address}: no answer in 3 tries over " in (line := said(RunFailed, address, motions.rows([0]), tries=3))
    assert line.endswith("the last time: status 503 (out for lunch)") and server.requests == 3


def test_nobody_there_and_nobody_answering_are_one_line(serve, motions):
    assert "Connection refused" in said(RunFailed, "http://127.0.0.1:9/", motions, tries=2)
    hold = threading.Event()
    _, address = serve(lambda arrays: (hold.wait(20), heights(arrays))[1])
    assert said(RunFailed, address, motions.rows([0]), tries=2, timeout=0.1).endswith("timed out")
    hold.set()


def forever(part: bytes, pause_s: float):
    while True:
        time.sleep(pause_s)
        yield part


def test_an_answer_that_drips_ends_with_its_try(serve, motions):
    _, address = serve(lambda arrays: (200, forever(b" ", 0.02)))  # each byte comes long before a socket's timeout
    assert said(RunFailed, address, motions.rows([0]), tries=2, timeout=0.2).endswith("timed out")
    _, address = serve(lambda arrays: (503, forever(b" ", 0.02)))
    assert said(RunFailed, address, motions.rows([0]), tries=2, timeout=0.2).endswith("timed out")


def test_an_answer_without_end_is_cut(serve, motions):
    server, address = serve(lambda arrays: (200, forever(b" " * 10_000, 0)))
    assert "answered with more than 100100 bytes" in said(InputError, address, motions.rows([0]))
    assert server.requests == 1


def test_an_answer_that_breaks_off_is_tried_again(serve, motions):
    half = iter([(200, b'{"scores": [', {"Content-Length": 30})])
    server, address = serve(lambda arrays: next(half, None) or heights(arrays))
    one = motions.rows([0, 2])
    np.testing.assert_array_equal(reward(address)(one), one.joints[:, 0, 0, 1])
    assert server.requests == 2


def test_all_tries_of_all_groups_end_before_the_deadline_of_the_reward(serve, motions):
    server, address = serve(lambda arrays: (503, b"busy"))
    assert "status 503" in said(RunFailed, address, motions, deadline_s=0.5, tries=10_000)
    assert server.requests < 100
    hold = threading.Event()
    _, address = serve(lambda arrays: (hold.wait(60), heights(arrays))[1])
    assert said(RunFailed, address, motions, deadline_s=0.5, timeout=50).endswith("timed out")  # 250 s, were it not for the deadline
    hold.set()


def test_a_group_can_be_split_over_requests_that_are_answered_together(serve, motions):
    both = threading.Barrier(2, timeout=20)
    server, address = serve(lambda arrays: (both.wait(), heights(arrays))[1])
    group = motions.rows([0, 2])
    np.testing.assert_array_equal(reward(address, request_size=1, concurrency=2)(group), group.joints[:, 0, 0, 1])
    assert server.requests == server.most == 2


def test_a_token_comes_from_the_environment_and_goes_to_the_server_alone(serve, motions, monkeypatch):
    monkeypatch.setenv("REWARD_TOKEN", "s3cret")
    server, address = serve(heights)
    reward(address, token_env="REWARD_TOKEN")(motions.rows([0]))
    assert server.headers[0]["Authorization"] == "Bearer s3cret"
    reward(address)(motions.rows([0]))
    assert "Authorization" not in server.headers[1]
    other, there = serve(lambda arrays: (200, b"{}"))
    _, address = serve(lambda arrays: (302, b"", {"Location": there}))
    said(InputError, address, motions.rows([0]), token_env="REWARD_TOKEN")
    assert "Authorization" not in other.headers[0]


@pytest.mark.parametrize("answer", [(401, b"not s3cret"), (200, b"s3cret"), (503, b"s3cret?")])
def test_no_message_shows_a_token(serve, motions, monkeypatch, answer):
    monkeypatch.setenv("REWARD_TOKEN", "s3cret")
    _, address = serve(lambda arrays: answer)
    line = said((InputError, RunFailed), address, motions.rows([0]), token_env="REWARD_TOKEN", tries=1)
    assert "***" in line and "s3cret" not in line


@pytest.mark.parametrize("name, value", [("s3cret", "x"), ("sk-S3", "x"), (7, "x"), ("REWARD_TOKEN", None), ("REWARD_TOKEN", " "), ("REWARD_TOKEN", "a\nb: c")])
def test_a_token_that_is_not_there_is_one_line_that_repeats_none(monkeypatch, name, value):
    monkeypatch.delenv("REWARD_TOKEN", raising=False)
    if value is not None:
        monkeypatch.setenv("REWARD_TOKEN", value)
    with pytest.raises(InputError, match="^reward.components.mine: token_env: ") as caught:
        reward("http://127.0.0.1:9/", token_env=name)
    assert "\n" not in str(caught.value) and "b: c" not in str(caught.value)
    assert name == "REWARD_TOKEN" or str(name) not in str(caught.value)


def scorer(address, **options) -> Scorer:
    component = Component(address, options=options)
    return Scorer({"mine": component}, {"mine": KINDS.build("mine", component, None)}, {})


def test_before_a_run_a_bad_answer_is_bad_input_and_later_it_stops_the_run(serve, motions):
    _, address = serve(lambda arrays: (200, b"<html>"))
    with pytest.raises(InputError, match="^reward.components.mine: .*answered '<html>'"):
        scorer(address).check(motions, 30)
    with pytest.raises(RunFailed, match="^reward.components.mine: .*answered '<html>'"):
        scorer(address)(motions)


def test_an_outage_stops_the_run_and_is_not_asked_of_every_motion(serve, motions):
    server, address = serve(lambda arrays: (503, b"busy"))
    for asked in (lambda it: it.check(motions.rows([0, 2]), 30), lambda it: it(motions.rows([0, 2]))):
        with pytest.raises(RunFailed, match="^reward.components.mine: .*no answer in 2 tries"):
            asked(scorer(address, tries=2))
    assert server.requests == 4


@pytest.mark.parametrize(
    "answer, message",
    [
        ((404, b"no such page"), "answered with status 404 (no such page), expected 200"),
        ((200, b"<html>"), """answered '<html>', expected JSON {"scores": [2 numbers or null]}"""),
        ((200, b"[1, 2]"), "answered '[1, 2]', expected JSON"),
        ((200, b'{"scores": ["a", "b"]}'), "expected JSON"),
        ((200, b"[" * 90_000), "expected JSON"),
        ((200, b'{"scores": [1, 1' + b"0" * 400 + b"]}"), "expected JSON"),
        ((200, b'{"scores": [1]}'), "gave scores of shape (1,), expected (2,)"),
        ((200, b'{"scores": [[1], [2]]}'), "gave scores of shape (2, 1), expected (2,)"),
    ],
)
def test_an_answer_that_is_no_answer_is_one_line_at_once(serve, motions, answer, message):
    server, address = serve(lambda arrays: answer)
    assert message in said(InputError, address, motions.rows([0, 2]))
    assert server.requests == 1
