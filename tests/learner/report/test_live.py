"""A run is shown while it trains: what it is at, read from its folder and never written into it."""

import contextlib
import json
import os
import socket
import threading
import urllib.error
import urllib.request

import pytest

from learner.report.__main__ import main
from learner.report.live import state_of
from learner.report.serve import _expected, server

ENDED = "1999999"  # a process that there is not: beyond what Linux numbers by default


@pytest.fixture
def training(copied):
    """As the folder is while the second of its two iterations goes on, in this very process."""
    (copied / "summary.json").unlink()
    (copied / ".lock").write_text(f"process {os.getpid()} on {socket.gethostname()}")
    lines = (copied / "metrics.jsonl").read_text().splitlines(keepends=True)
    row = json.loads(lines[0]) | {f"seconds_{stage}": 2.0 for stage in ("rollout", "reward", "update", "publish", "evaluate")}
    (copied / "metrics.jsonl").write_text(json.dumps(row) + "\n")
    (copied / "rollouts" / "000001.parquet").rename(copied / "later.parquet")
    for path in copied.iterdir():
        os.utime(path, (1000, 1000))
    return copied


@contextlib.contextmanager
def served(run, host="127.0.0.1"):
    with server(run, host, 0) as listening:
        thread = threading.Thread(target=listening.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{listening.server_address[1]}"
        finally:
            listening.shutdown()
            thread.join()


@pytest.mark.parametrize(
    "passed, tone, words",
    [
        (5, "running", "Iteration 2 of 2 is under way for 5.0 s; one takes 10 s."),
        (45, "slow", "Iteration 2 of 2 is under way for 45 s; one takes 10 s. That is slow"),
        (300, "stuck", "Iteration 2 of 2 is under way for 5 min; one takes 10 s. So long no sign of life is a stall"),
    ],
)  # fmt: skip
def test_a_slow_step_and_a_hung_one_look_different(training, passed, tone, words):
    state = state_of(training, 1000 + passed)
    assert state.tone == tone and state.words.startswith(words)


def present(run, at=1050, doing="score", quiet=0.5, actors=(("sampler 0", 1.5, 5.0),)):
    told = [{"actor": actor, "what": "sample", "seconds": seconds, "usual": usual} for actor, seconds, usual in actors]
    (run / "present.json").write_text(json.dumps({"at": at, "doing": doing, "done": 7, "of": 12, "quiet": quiet, "actors": told}))
    return run


SEVEN, SECOND = "7 of 12 groups of the rollout are sampled.", ("sampler 1", 40.0, 5.0)


@pytest.mark.parametrize(
    "passed, told, tone, words",
    [
        (5, {}, "running", f"Iteration 2 of 2 is under way for 5.0 s; one takes 10 s. {SEVEN}"),
        (5, {"doing": "gradient"}, "running", "Iteration 2 of 2 is under way for 5.0 s; one takes 10 s. 7 of 12 gradients are in."),
        (5, {"doing": ""}, "running", "Iteration 2 of 2 is under way for 5.0 s; one takes 10 s."),
        (5, {"actors": [("sampler 0", 1.0, 5.0), SECOND]}, "slow", f"{SEVEN} Slow: sampler 1 for 40 s at what takes 5.0 s."),
        (5, {"actors": [("sampler 1", 61.0, 5.0), ("reward 0", 16.0, 5.0)]}, "stuck",
         f"{SEVEN} Stuck: sampler 1 for 61 s at what takes 5.0 s: one that hangs is replaced after 900 s. Slow: reward 0 for 16 s"),
        (5, {"actors": [("sampler 1", 1.9, 0.1), ("learner", 500.0, None)]}, "running", SEVEN),  # too short, and nobody knows
        (45, {}, "slow", f"{SEVEN} That is slow"),
        (300, {}, "slow", f"{SEVEN} That is slow"),  # such as a long evaluation, in which groups come in
        (300, {"quiet": 61.0}, "stuck", "So long no sign of life is a stall"),
        (300, {"at": 1280}, "stuck", "So long no sign of life is a stall"),  # the driver itself
    ],
)  # fmt: skip
def test_what_is_in_and_who_is_slow_is_told_inside_an_iteration(training, passed, told, tone, words):
    state = state_of(present(training, **{"at": 1000 + passed - 1, **told}), 1000 + passed)
    assert state.tone == tone and words in state.words


HALF = '{"at": 1004, "done": 1, "of": 2, "doing": [], "quiet": 0, "actors": [{}]}'


@pytest.mark.parametrize("content", ["", "3", "{}", '{"at": "x"}', HALF, "[" * 9000])
def test_what_is_no_present_says_nothing(training, content):
    before = state_of(training, 1005)
    (training / "present.json").write_text(content)
    assert state_of(training, 1005) == before


def test_a_run_whose_process_is_gone_is_told_from_one_that_ended(training, run):
    (training / ".lock").write_text(f"process {ENDED} on {socket.gethostname()}")
    assert state_of(training, 1001)[:2] == ("gone", f"The process is gone and left no summary. Its log last said: {last(training)}")
    (training / "summary.json").write_text((run / "summary.json").read_text())
    assert state_of(training, 1001)[:2] == ("over", "The run has ended: finished.")


def last(run):
    return (run / "log.txt").read_text().splitlines()[-1]


@pytest.mark.parametrize("lock", [None, "process 1 on another-machine", "nonsense", "process 99999999999999999999999 on {here}"])
def test_of_a_process_that_cannot_be_asked_nothing_is_said(training, lock):
    (training / ".lock").unlink()
    if lock:
        (training / ".lock").write_text(lock.format(here=socket.gethostname()))
    assert state_of(training, 1001).tone == "running"


def test_nothing_is_written_into_the_run(training):
    def everything():
        return {path: (path.stat().st_mtime_ns, path.stat().st_size) for path in [training, *training.rglob("*")]}

    before = everything()
    with served(training) as address:
        assert json.loads(urllib.request.urlopen(f"{address}/state").read())["tone"] in ("slow", "stuck")
        text = urllib.request.urlopen(address).read().decode()
        assert "connect-src 'self'" in text and 'data-live="live"' in text
    assert everything() == before


@pytest.mark.parametrize(
    "path, host, status",
    [("/config.yaml", None, 404), ("/../run.json", None, 404), ("/", "evil.example", 403), ("/state", "evil.example:80", 403)],
)
def test_only_the_page_is_served_and_only_to_those_who_asked_for_it(training, path, host, status):
    with served(training) as address:
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(urllib.request.Request(f"{address}{path}", headers={"Host": host} if host else {}))
        assert refused.value.code == status
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(urllib.request.Request(address, data=b"x"))
        assert refused.value.code == 501  # only asked, never told


def test_a_server_for_the_network_answers_to_names_and_on_its_own_machine_to_its_own(training):
    with served(training, "0.0.0.0") as address:
        for name in (f"{socket.gethostname().upper()}:80", "localhost", "10.1.2.3:8000", "[::1]:80"):
            assert urllib.request.urlopen(urllib.request.Request(f"{address}/state", headers={"Host": name})).status == 200
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(urllib.request.Request(f"{address}/state", headers={"Host": "evil.example"}))
        assert refused.value.code == 403
    reached = {"10.1.2.3": True, "2001:db8::7": True, "127.0.0.1": False, "127.0.1.1": False, "::1": False}
    assert {at: _expected("gpu-box.lab:8000", "0.0.0.0", at) for at in reached} == reached


@pytest.mark.parametrize(
    "words, message",
    [
        (["nowhere", "--serve"], "nowhere: not found, expected a run folder"),
        (["{run}", "{run}", "--serve"], "--serve: found 2 runs beside it, expected one run and no file"),
        (["{run}", "--serve", "--out", "x"], "--serve: found --out beside it"),
        (["{run}", "--serve", "--votes", "x"], "--serve: found --votes beside it"),
        (["{run}", "--serve", "--port", "70000"], "--serve: cannot listen on 127.0.0.1 port 70000"),
    ],
)
def test_bad_input_is_one_line(run, capsys, words, message):
    assert main([word.format(run=run) for word in words]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and message in error


def alive(chromium, kind):
    """How many of a class are not yet garbage."""
    prototype = chromium.call("Runtime.evaluate", expression=f"{kind}.prototype")["result"]["objectId"]
    found = chromium.call("Runtime.queryObjects", prototypeObjectId=prototype)["objects"]["objectId"]
    length = "function () { return this.length; }"
    return chromium.call("Runtime.callFunctionOn", objectId=found, functionDeclaration=length, returnByValue=True)["result"]["value"]


def test_the_page_takes_up_an_iteration_without_losing_ones_place(chromium, training, run):
    chromium.errors.clear()
    with served(training) as address:
        chromium.look()
        chromium.open(address)
        assert "1 of 2 iterations are done" in chromium.text("h1")
        assert "is under way for" in chromium.wait("document.querySelector('.live')?.innerText")
        chromium.set("#watch-prompt", 1)
        chromium.set("#watch select[aria-label=Speed]", 0.25)
        chromium.run("document.querySelectorAll('.group')[1].click()")
        prompt = chromium.text("#opened h3")
        chromium.run("document.querySelector('#curves details:not([open])').open = document.querySelector('#opened details').open = true")
        chromium.wait("Boolean(document.querySelector('#opened .chart').painted)")
        turn = "dispatchEvent(new KeyboardEvent('keydown', {key: 'ArrowLeft'}))"
        chromium.run(f"document.querySelector('#watch canvas').{turn}; document.querySelector('#watch .play').click()")
        chromium.run("document.querySelector('#blind .play').click()")
        chromium.wait("document.querySelectorAll('#blind canvas').length === 2")
        pair = chromium.text("#blind h3")
        chromium.run("window.mine = document.querySelector('h1'); document.querySelector('#opened .play').focus()")
        opened, camera = "details[open] > summary", "document.querySelector('#watch .player').player.camera"
        before = chromium.run(f"[...document.querySelectorAll('{opened}')].map((each) => each.innerText)"), chromium.run(camera)
        top = chromium.run("document.querySelector('#opened').getBoundingClientRect().top")
        (training / "later.parquet").rename(training / "rollouts" / "000001.parquet")
        (training / "metrics.jsonl").write_text((run / "metrics.jsonl").read_text())
        chromium.wait("document.querySelector('h1').innerText.includes('2 of 2 iterations are done')")
        assert chromium.run("mine.isConnected") is False and chromium.text("#groups .clock") == "iteration 2"  # which is the last
        assert "2 of 2 iterations are done" in chromium.text(".heard")
        assert chromium.run("document.querySelector('#watch-prompt').value") == "1"
        assert chromium.text("#opened h3") == prompt and chromium.text("#blind h3") == pair != ""
        assert chromium.run("document.activeElement === document.querySelector('#opened .play')")
        assert chromium.run("document.querySelector('#opened').getBoundingClientRect().top") == pytest.approx(top, abs=2)
        assert (chromium.run(f"[...document.querySelectorAll('{opened}')].map((each) => each.innerText)"), chromium.run(camera)) == before
        assert chromium.text("#watch .play").endswith("Pause")
        assert chromium.run("document.querySelector('#watch [aria-label=Speed]').value") == "0.25"
        chromium.run("mine = null; document.querySelector('#curves .chart').scrollIntoView({block: 'center', behavior: 'instant'})")
        chromium.wait("[...document.querySelectorAll('#curves .chart')].some((each) => each.painted)")
        chromium.wait("Bokeh.documents.length === [...document.querySelectorAll('.chart')].filter((each) => each.painted).length")
        assert alive(chromium, "Player") == chromium.run("document.querySelectorAll('.player').length")  # nothing of the page of before
        assert chromium.errors == []
        assert all(request.startswith(address) for request in chromium.requests)
    chromium.wait("document.querySelector('.live').innerText.includes('does not answer')")
    chromium.call("Page.navigate", url="about:blank")
    chromium.errors.clear()
