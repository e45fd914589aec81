"""A reward on a server of the user's: what travels, what is tried again, and what an outage says."""

import io
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from rewards.components import Component
from rewards.motion import served
from rewards.motion.motions import Motions
from rewards.registry import build
from rollout.io.errors import InputError


class Server(ThreadingHTTPServer):
    """Answers each request by `answer(arrays)`: (status, bytes); counts requests, and how many it had at once."""

    daemon_threads = True

    def __init__(self, answer):
        super().__init__(("127.0.0.1", 0), Handler)
        self.answer, self.requests, self.at_once, self.most, self.lock = answer, 0, 0, 0, threading.Lock()

    def handle_error(self, request, client_address):
        pass  # a client that stopped waiting


class Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        with self.server.lock:
            self.server.requests += 1
            self.server.at_once += 1
            self.server.most = max(self.server.most, self.server.at_once)
        body = self.rfile.read(int(self.headers["Content-Length"]))
        status, answer = self.server.answer(dict(np.load(io.BytesIO(body), allow_pickle=False)))
        with self.server.lock:
            self.server.at_once -= 1
        self.send_response(status)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *arguments):
        pass


@pytest.fixture
def serve(monkeypatch):
    """`serve(answer)` is a server and its address."""
    monkeypatch.setattr(served, "FIRST_PAUSE_S", 0.01)
    servers = []

    def serve(answer):
        servers.append(Server(answer))
        threading.Thread(target=servers[-1].serve_forever, args=(0.01,)).start()
        return servers[-1], f"http://127.0.0.1:{servers[-1].server_port}/score"

    yield serve
    for server in servers:
        server.shutdown()
        server.server_close()


def reward(address, **options):
    return build("mine", Component(address, options=options), None)


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


def said(address, motions, **options) -> str:
    with pytest.raises(InputError) as caught:
        reward(address, **options)(motions)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_an_outage_that_lasts_is_one_line(serve, motions):
    server, address = serve(lambda arrays: (503, b"out for\nlunch"))
    assert f"{address}: no scores in 3 tries over " in (line := said(address, motions.rows([0]), tries=3))
    assert line.endswith("the last time: status 503 (out for lunch)") and server.requests == 3


def test_nobody_there_and_nobody_answering_are_one_line(serve, motions):
    assert "Connection refused" in said("http://127.0.0.1:9/", motions, tries=2)
    hold = threading.Event()
    _, address = serve(lambda arrays: (hold.wait(20), heights(arrays))[1])
    assert said(address, motions.rows([0]), tries=2, timeout=0.1).endswith("timed out")
    hold.set()


@pytest.mark.parametrize(
    "answer, message",
    [
        ((404, b"no such page"), "answered with status 404 (no such page), expected 200 and scores"),
        ((200, b"<html>"), """answered '<html>', expected JSON {"scores": [2 numbers or null]}"""),
        ((200, b"[1, 2]"), "answered '[1, 2]', expected JSON"),
        ((200, b'{"scores": ["a", "b"]}'), "expected JSON"),
        ((200, b'{"scores": [1]}'), "gave scores of shape (1,), expected (2,)"),
        ((200, b'{"scores": [[1], [2]]}'), "gave scores of shape (2, 1), expected (2,)"),
    ],
)
def test_an_answer_that_is_no_answer_is_one_line_at_once(serve, motions, answer, message):
    server, address = serve(lambda arrays: answer)
    assert message in said(address, motions.rows([0, 2]))
    assert server.requests == 1
