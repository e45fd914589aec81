"""The page in a real browser: what a person sees, clicks and moves. Skipped where there is no Chromium."""

import base64
import io
import itertools
import json
import re
import shutil
import zlib

import numpy as np
import pytest

from learner.report.__main__ import main
from learner.report.write import write_report
from rollout.motion.bvh import write_bvh
from rollout.motion.features import features_to_joints
from rollout.motion.record import COLUMNS, read_rollout
from rollout.record import write_rollout

SECTIONS = ["verdict", "watch", "groups", "curves", "timeline", "blind", "provenance"]
HOSTILE = "</script><img src=x onerror=alert(1)>{{CONTENT}} ${1} \" ' a person"


@pytest.fixture(autouse=True)
def nothing_goes_wrong(chromium):
    """Of every test: no error or warning in the console, no request but that of the page itself."""
    chromium.errors.clear()
    yield
    assert chromium.errors == []
    assert [address for address in chromium.requests if not address.startswith("file:///")] == [] and len(chromium.requests) <= 1


@pytest.fixture
def page(chromium, run, request):
    chromium.look(*getattr(request, "param", ()))
    chromium.open(run / "report.html")
    return chromium


on_every_screen = pytest.mark.parametrize("page", [(), (390, 800, "dark")], indirect=True, ids=["screen", "dark phone"])


@pytest.mark.parametrize("width", [1200, 390])
@pytest.mark.parametrize("theme, paper", [("light", 255), ("dark", 25)])
def test_every_part_is_there_in_both_themes_and_on_a_phone(chromium, run, theme, paper, width):
    chromium.look(width, 800, theme)
    chromium.open(run / "report.html")
    assert chromium.run("[...document.querySelectorAll('main > section')].map((part) => part.id)") == SECTIONS
    summary = json.loads((run / "summary.json").read_text())["heldout"]["reward"]
    headline = chromium.text("h1")
    assert f"{summary['before']['mean']:.3f} → {summary['after']['mean']:.3f}" in headline
    assert chromium.run("document.documentElement.scrollWidth") <= width  # nothing to be moved sideways
    assert chromium.pixels("h1")[0, 0].mean() == pytest.approx(paper, abs=6)
    chromium.run("document.querySelector('.curve .chart').scrollIntoView({block: 'center', behavior: 'instant'})")
    chromium.wait("document.querySelector('.curve .chart').childElementCount")
    drawn = chromium.pixels(".curve .chart").astype(int)
    ink = {"light": [31, 111, 171], "dark": [98, 176, 234]}[theme]
    assert (np.abs(drawn - ink).sum(axis=-1) < 60).sum() > 200  # a line in the theme's colour


ROLES = {"button", "slider", "combobox", "checkbox", "searchbox", "image", "link", "region"}


def test_whoever_hears_the_page_or_has_no_mouse_finds_everything(page):
    page.run("document.querySelector('.group').click()")
    page.wait("document.querySelectorAll('#opened canvas').length")
    nodes = [node for node in page.call("Accessibility.getFullAXTree")["nodes"] if not node["ignored"]]
    named = [(node["role"]["value"], node.get("name", {}).get("value", "")) for node in nodes if node["role"]["value"] in ROLES]
    assert {role for role, _ in named} == ROLES and [role for role, name in named if not name.strip()] == []
    assert [node["name"]["value"] for node in nodes if node["role"]["value"] == "heading"][0] == page.text("h1")
    texts = [node["name"]["value"] for node in nodes if node["role"]["value"] == "StaticText"]
    meaning = "What an evaluator that trains nothing says of the held-out samples; more is better."
    assert texts.count(meaning) == 2  # of the tile and of the curve
    ids = page.run("[...document.querySelectorAll('[id]')].map((element) => element.id)")
    assert len(ids) == len(set(ids))
    page.run("document.querySelector('#watch canvas').focus()")
    for kind in ("keyDown", "keyUp"):
        page.call("Input.dispatchKeyEvent", type=kind, key=" ", code="Space", windowsVirtualKeyCode=32)
    assert page.text("#watch .play").endswith("Pause")


def test_a_group_has_ratio_and_kl_of_every_step(page):
    page.run("document.querySelector('.group').click()")
    page.wait("document.querySelectorAll('#opened details').length")
    page.run("document.querySelector('#opened details').open = true")
    assert "exactly 1 at every action" in page.text("#opened details")
    labels = "[...document.querySelectorAll('#opened details .chart')].map((chart) => chart.ariaLabel.split(' of ')[0])"
    assert page.run(labels) == ["log-prob, nats", "KL, nats"]


@on_every_screen
def test_a_motion_is_played_scrubbed_and_looked_at_from_another_side(page):
    still = page.pixels("#watch canvas")
    assert still.std() > 5 and (page.pixels("#watch canvas") == still).all()
    heard = "document.querySelectorAll('output, [role=status], [aria-live]').forEach((each) => new MutationObserver(() => heard++).observe("
    page.run(f"window.heard = 0; {heard}each, {{ childList: true, characterData: true, subtree: true }}))")
    page.run("document.querySelector('#watch .play').click()")
    page.wait("Number(document.querySelector('#watch .controls input[type=range]').value) > 1")
    assert page.run("heard") == 0  # nothing that moves is read out
    page.run("document.querySelector('#watch .play').click()")
    assert (page.pixels("#watch canvas") != still).any()
    assert page.text("#watch .play").endswith("Play")
    page.set("#watch .controls input[type=range]", 0)
    assert (page.pixels("#watch canvas") == still).all() and page.text("#watch .controls .clock").startswith("0.0 s")
    page.run("document.querySelector('#watch canvas').dispatchEvent(new KeyboardEvent('keydown', {key: 'ArrowLeft'}))")
    assert (page.pixels("#watch canvas") != still).any()


def test_figures_and_curves_change_with_the_theme(page):
    page.run("document.querySelector('.curve .chart').scrollIntoView({block: 'center', behavior: 'instant'})")
    page.wait("document.querySelector('.curve .chart').childElementCount")
    light = [page.pixels(part) for part in ("#watch canvas", ".curve .chart")]
    page.run("document.querySelector('#theme').click()")
    dark = [page.pixels(part) for part in ("#watch canvas", ".curve .chart")]
    assert all(before.mean() > 200 and after.mean() < 90 for before, after in zip(light, dark))
    page.run("document.querySelector('#theme').click()")
    assert (page.pixels("#watch canvas") == light[0]).all()


def pictures_of(printed):
    """float [H, W, 4] of each image in a PDF of Chromium's, its opacity last."""
    head = rb"/Width (\d+)\s/Height (\d+)\s/ColorSpace /Device(RGB|Gray)\s[^>]*/Filter /FlateDecode\s[^>]*>> stream\r?\n"
    found = []
    for match in re.finditer(head, printed):
        wide, tall, kind = int(match[1]), int(match[2]), match[3]
        plane = np.frombuffer(zlib.decompressobj().decompress(printed[match.end() :]), np.uint8).reshape(tall, wide, -1)
        found.append((kind, plane))
    return [np.dstack([paint, veil]) / 255 for (kind, paint), (_, veil) in itertools.pairwise(found) if kind == b"RGB"]


def test_paper_has_everything_in_light_colours_whatever_the_screen_was(chromium, run):
    chromium.look(theme="dark")
    chromium.open(run / "report.html")
    closed = chromium.run("document.querySelectorAll('details:not([open])').length")
    chromium.run("window.print = () => { window.asked = true; }; document.querySelector('#print').click()")
    chromium.wait("window.asked")
    pictures = pictures_of(base64.b64decode(chromium.call("Page.printToPDF")["data"]))
    assert len(pictures) == chromium.run("document.querySelectorAll('.chart, main canvas').length")
    assert all((picture[..., 3] > 0.5).sum() > 200 for picture in pictures)  # nothing is blank
    charts = [picture[picture[..., 3] > 0.5][:, :3] for picture in pictures if picture.shape[1] > 4 * picture.shape[0]]
    letters = np.array([91, 101, 119]) / 255  # of the light theme
    assert charts and all((np.abs(ink - letters).max(axis=-1) < 0.1).sum() > 100 for ink in charts)
    chromium.call("Emulation.setEmulatedMedia", media="print", features=[{"name": "prefers-color-scheme", "value": "dark"}])
    chromium.run("dispatchEvent(new Event('beforeprint'))")
    for part in ("#run-name", ".group", "#watch-prompt", "#groups .clock", "#provenance details table"):
        assert chromium.run(f"document.querySelector('{part}').offsetHeight"), part
    assert chromium.run("[...document.querySelectorAll('nav, #print, .controls')].some((part) => part.offsetHeight)") is False
    chromium.call("Emulation.setEmulatedMedia", media="", features=[])
    chromium.look(theme="dark")
    chromium.run("dispatchEvent(new Event('afterprint'))")
    assert chromium.run("document.querySelectorAll('details:not([open])').length") == closed > 0
    assert chromium.pixels("#watch canvas").mean() < 90
    chromium.run("window.asked = false; dispatchEvent(new KeyboardEvent('keydown', {key: 'p', ctrlKey: true}))")
    chromium.wait("window.asked")


@pytest.mark.parametrize("screen", [(), (390, 800, "dark")], ids=["screen", "dark phone"])
def test_the_slider_shows_the_model_while_it_learned(chromium, copied, screen):
    shutil.copy(copied / "evaluations" / "000000.parquet", copied / "evaluations" / "000001.parquet")
    write_report([copied], copied / "report.html")
    chromium.look(*screen)
    chromium.open(copied / "report.html")
    page, run = chromium, copied
    titles = "[...document.querySelectorAll('#watch .cell strong')].map((title) => title.innerText)"
    rewards = "[...document.querySelectorAll('#watch .cell .note')].map((note) => note.innerText)"
    page.set("#watch-stop", 1)
    page.wait(f"({titles})[1] === 'after 1 iteration'")
    assert page.run(titles) == ["base", "after 1 iteration", "final, after 2"]
    for note, stop in zip(page.run(rewards), (0, 1, 2), strict=True):
        row = read_rollout(run / "evaluations" / f"{stop:06d}.parquet")[0]
        assert note == f"reward {row['reward']:.3g}, judge {row['components']['judge']:.3g}"
    row = read_rollout(run / "evaluations" / "000000.parquet")[1]
    second = f"reward {row['reward']:.3g}, judge {row['components']['judge']:.3g}"
    page.set("#watch-sample", 1)
    page.wait(f"({rewards})[0] === {json.dumps(second)}")
    assert page.run("document.querySelectorAll('#watch canvas').length") == 3  # the second noise at the middle stop too
    labels = "[...document.querySelector('#watch-stop').list.options].map((stop) => [stop.value, stop.label])"
    assert page.run(labels) == [["0", "base"], ["1", "after 1 iteration"], ["2", "final, after 2"]]
    page.run("content.runs[0].evaluations[2].skipped = 3; content.runs[0].evaluations[1].groups[0].outputs[1] = null; render()")
    assert "3 evaluations between these are not on this page" in page.text("#watch .about")
    assert "room for the first noise alone" in page.text("#watch .about")


def test_what_a_person_did_is_shown_beside_it_on_the_same_clock(chromium, copied):
    rows = read_rollout(copied / "evaluations" / "000000.parquet")
    longer = np.concatenate([rows[0]["motion"]] * 2)
    clip = {**rows[0], "motion": longer, "length": len(longer), "seed": "", "reward": float("nan"), "components": {}}
    write_rollout(copied / "evaluations" / "real.parquet", [clip], COLUMNS)
    write_report([copied], copied / "report.html")
    chromium.look()
    chromium.open(copied / "report.html")
    titles = "[...document.querySelectorAll('#watch .cell strong')].map((title) => title.innerText)"
    assert chromium.wait(titles)[-1] == "real" and chromium.text("#watch .cell:last-child .saves") == ".npy\n.bvh"
    assert f"of {(len(longer) - 1) / 20:.1f}" in chromium.text("#watch .controls .clock")
    assert chromium.pixels("#watch .cell:last-child canvas").std() > 5
    chromium.set("#watch-prompt", 1)
    chromium.wait(f"!({titles}).includes('real')")  # of which no clip is known


@on_every_screen
def test_a_group_opens_with_its_samples_in_order_of_reward(page, run):
    rows = [row for row in read_rollout(run / "rollouts" / "000000.parquet") if row["group"] == 1]
    page.set("#groups-iteration", 0)
    assert page.text("#groups .clock") == "iteration 1"
    page.run("document.querySelectorAll('.group')[1].click()")
    page.wait("Boolean(document.querySelector('#opened tbody'))")
    cells = page.run("[...document.querySelectorAll('#opened tbody tr')].map((row) => [...row.cells].map((cell) => cell.innerText))")
    heads = page.run("[...document.querySelectorAll('#opened th')].map((head) => head.innerText)")
    assert heads == ["rank", "sample", "reward", "advantage", "tmr", "foot_skate", "mean log-prob", "length"]
    expected = sorted(rows, key=lambda row: -row["reward"])
    assert [int(row[1]) for row in cells] == [row["sample"] for row in expected]
    assert [float(row[2]) for row in cells] == pytest.approx([row["reward"] for row in expected], rel=1e-2)
    assert rows[0]["prompt"] in page.text("#opened h3")
    page.wait(f"document.querySelectorAll('#opened canvas').length === {len(rows)}")
    assert page.pixels("#opened canvas").std() > 5


@pytest.mark.parametrize(
    "answer, places",
    [
        ({"negative_points": [[150, 250], [2000, 0], ["x", None], [1]]}, ["left:15%;top:25%"]),  # in the image alone
        ({"negative_points": []}, []),
        ({"negative_points": 5}, None),
        ("B", None),
    ],
)
def test_where_an_answer_points_is_shown_in_the_image(page, answer, places):
    text = f"<think>there</think><answer>{json.dumps(answer)}</answer>"
    dots = f"pointed('data:,', {json.dumps(text)}, 1000)?.querySelectorAll('i')"
    assert page.run(f"{dots} ? [...{dots}].map((dot) => dot.getAttribute('style')) : null") == places
    page.errors.clear()  # of an image that is none


def test_the_critical_path_of_an_iteration_is_told_without_repeating_itself(page):
    steps = [{"actor": "sampler 0", "what": "gradient", "seconds": 0.5}] * 3 + [{"actor": "learner", "what": "step", "seconds": 0.1}]
    assert page.run(f"runsOf({json.dumps(steps)})") == ["3 × gradient (sampler 0) 1.5 s", "step (learner) 0.1 s"]
    page.set("#timeline-iteration", 0)
    assert page.text("#timeline .clock").startswith("iteration 1: ")


def test_every_span_is_in_the_timeline_with_its_seconds(page, run):
    page.set("#timeline-iteration", 0)
    spans = [json.loads(line) for line in (run / "spans.jsonl").read_text().splitlines()]
    own = sorted((span for span in spans if span["iteration"] == 0), key=lambda span: span["start"])
    cells = "[...document.querySelectorAll('#timeline tbody tr')].map((row) => [...row.cells].map((cell) => cell.textContent))"
    found = page.run(cells)
    assert [row[:2] for row in found] == [[span["actor"], span["what"]] for span in own]
    assert [float(row[3]) for row in found] == pytest.approx([span["end"] - span["start"] for span in own], abs=0.006)
    seconds = sum(span["end"] - span["start"] for span in spans if span["what"] == "sample")
    assert f"sample {seconds:.1f} s" in page.text("#timeline .legend")


def test_a_token_has_its_log_prob_beside_it(page):
    text = page.run("tokensOf('#1', {tokens: ['yes', '\\n'], log_probs: [-0.25, null]}).textContent")
    assert text == "#1 yes-0.25↵–"


def test_best_and_worst_answer_stand_with_their_questions(page):
    group = "const group = run.rollouts.at(-1).groups[0]; group.prompt = 'Which?'; group.truth = 'B'; "
    shown = "run.shown = { kind: 'text', tags: ['answer'], points: null }; run.rollouts.at(-1).groups.splice(1); "
    packed = "run.outputs = run.outputs.map(() => 'eJyzScwrLk8tsnO00YeyAD3CBoU='); "
    page.run(f"(() => {{ const run = (content.runs[0] = structuredClone(content.runs[0])); {group}{shown}{packed}render(); }})()")
    page.wait("document.querySelectorAll('#groups .extremes .answer').length === 2")
    words = "[...document.querySelectorAll('#groups .extremes strong')].map((each) => each.innerText)"
    assert page.run(words) == ["best", "B", "worst", "B"]
    assert page.text("#groups .extremes .question") == "Which?"


def test_prompts_are_found_by_their_words(page, run):
    page.set("#groups-search", "JUMPS")
    found = page.run("[...document.querySelectorAll('.group .prompt')].map((prompt) => prompt.innerText)")
    rows = [row for number in range(2) for row in read_rollout(run / "rollouts" / f"{number:06d}.parquet") if row["sample"] == 0]
    assert found == [f"iteration {row['iteration'] + 1}: {row['prompt']}" for row in rows if "jumps" in row["prompt"]] and found


def test_a_motion_is_downloaded_as_numpy_and_as_bvh(page, run, tmp_path):
    joints = features_to_joints(read_rollout(run / "evaluations" / "000000.parquet")[0]["motion"])
    page.run("motionOf(content.runs[0], content.runs[0].evaluations[0].groups[0].outputs[0]).then((motion) => { window.motion = motion; })")
    saved = page.run("new Blob(npy(motion, 22)).arrayBuffer().then((bytes) => [...new Uint8Array(bytes)])")
    kept = np.load(io.BytesIO(bytes(saved)))
    np.testing.assert_allclose(kept, joints, atol=2.1e-3)
    write_bvh(tmp_path / "ours.bvh", kept)
    texts = page.run("bvh(motion, content.runs[0].shown)"), (tmp_path / "ours.bvh").read_text()
    (head, motion), (expected_head, expected) = (text.split("MOTION\n") for text in texts)
    words, expected_words = head.split(), expected_head.split()
    assert len(words) == len(expected_words)
    for word, other in zip(words, expected_words):
        assert word == other or float(word) == pytest.approx(float(other), abs=2e-6)
    found, wanted = (np.array([line.split() for line in part.splitlines()[2:]], float) for part in (motion, expected))
    np.testing.assert_allclose(found[:, :3], wanted[:, :3], atol=2e-6)
    turns = np.radians(found[:, 3:] - wanted[:, 3:])
    np.testing.assert_allclose(np.cos(turns), 1, atol=1e-6)


def pressed(page, selector, count):
    """The mouse on an element, as the click of that number in one place."""
    page.run(f"document.querySelector('{selector}').scrollIntoView({{block: 'center', behavior: 'instant'}})")
    at = page.run(f"(({{x, y}}) => ({{x: x + 5, y: y + 5}}))(document.querySelector('{selector}').getBoundingClientRect())")
    for kind in ("mousePressed", "mouseReleased"):
        page.call("Input.dispatchMouseEvent", type=kind, button="left", clickCount=count, **at)


def test_blind_votes_become_preferences(chromium, copied, tmp_path):
    for path in (copied / "evaluations").iterdir():  # as of 64 held-out prompts, of which two are shown
        write_rollout(path, [row | {"group": 9 * row["group"]} for row in read_rollout(path)], COLUMNS)
    write_report([copied], copied / "report.html")
    chromium.look()
    chromium.open(copied / "report.html")
    page, ready = chromium, "document.querySelectorAll('#blind .vote:enabled').length === 3"
    names = page.run("[...document.querySelectorAll('#blind .cell strong')].map((title) => title.innerText)")
    assert names == []
    page.run("localStorage.clear(); URL.createObjectURL = (blob) => { window.saved = blob.text(); return 'data:,'; }; render()")
    note = "(window.shown ??= []).push(cells.map((cell) => cell.output)); return show.call(this, cells);"
    page.run(f"const show = Player.prototype.show; Player.prototype.show = function (cells) {{ {note} }}")
    page.run("document.querySelector('#blind .play').click()")
    page.wait("document.querySelectorAll('#blind canvas').length === 2")
    assert page.run("[...document.querySelectorAll('#blind .cell')].map((cell) => cell.innerText.trim())") == ["A", "B"]  # and no more
    page.wait(ready)
    pressed(page, "#blind .vote", 1)
    page.wait(ready)
    pressed(page, "#blind .vote", 2)  # the second half of a double click, on a pair that nobody has seen
    page.run("for (const _ of [1, 2]) document.querySelectorAll('#blind .vote')[1].click()")  # before the next pair is there
    page.wait(ready)
    page.run("document.querySelectorAll('#blind .vote')[2].click()")
    page.wait(ready)
    page.run("[...document.querySelectorAll('#blind button')].find((button) => button.innerText.startsWith('Download')).click()")
    (tmp_path / "votes.json").write_text(page.run("window.saved"))
    votes = json.loads((tmp_path / "votes.json").read_text())["votes"]
    assert [vote["chosen"] for vote in votes] == ["left", "neither", "right"]
    kept = [row for number in (0, 2) for row in read_rollout(copied / "evaluations" / f"{number:06d}.parquet")]
    rows = {(row["iteration"], row["group"], row["sample"]): row for row in kept}
    shown = [page.run(f"Promise.all({outputs}.map((place) => motionOf(content.runs[0], place).then((of) => [...of.joints])))")
             for outputs in page.run("window.shown")]  # fmt: skip
    for vote, sides in zip(votes, shown):  # left and right are what stood there
        for side, joints in zip(("left", "right"), sides, strict=True):
            row = rows[vote[side], vote["group"], vote["sample"]]
            np.testing.assert_allclose(np.reshape(joints, (-1, 22, 3)), features_to_joints(row["motion"]), atol=2.1e-3)
    assert main([str(copied), "--votes", str(tmp_path / "votes.json"), "--out", str(tmp_path / "liked.jsonl")]) == 0
    lines = [json.loads(line) for line in (tmp_path / "liked.jsonl").read_text().splitlines()]
    for line, vote, sides in zip(lines, (votes[0], votes[2]), (("left", "right"), ("right", "left")), strict=True):
        assert (line["prompt"], line["iterations"]) == (vote["prompt"], [vote[side] for side in sides])
        for name, side in zip(("chosen", "rejected"), sides):
            row = rows[vote[side], vote["group"], vote["sample"]]
            assert row["prompt"] == vote["prompt"] and (np.load(tmp_path / line[name]) == row["motion"]).all()
    begin = "render(), document.querySelector('#blind .play').innerText"
    assert page.run(begin) == "Go on voting"
    page.run("for (const group of content.runs[0].evaluations.at(-1).groups) group.sha256 = 'of another evaluation'")
    assert page.run(begin) == "Begin"


def rewritten(folder, number, change):
    path = folder / "rollouts" / f"{number:06d}.parquet"
    rows = read_rollout(path)
    for row in rows:
        change(row)
    write_rollout(path, rows, COLUMNS)


def test_whatever_a_prompt_holds_it_stays_text(chromium, copied):
    rewritten(copied, 1, lambda row: row.update(prompt=HOSTILE))
    (copied / "log.txt").write_text(HOSTILE)
    summary = json.loads((copied / "summary.json").read_text())
    (copied / "summary.json").write_text(json.dumps({**summary, "warnings": [HOSTILE], "advisories": [HOSTILE], "status": HOSTILE}))
    named = copied.rename(copied.with_name("<img src=x onerror=alert(2)>"))
    write_report([named], named / "report.html")
    chromium.look()
    chromium.open(named / "report.html")
    assert HOSTILE in chromium.text(".group .prompt") and HOSTILE in chromium.text(".warning")
    assert chromium.text(".advisory") == f"Advice {HOSTILE}"
    chromium.run("document.querySelector('.group').click()")
    assert chromium.wait("document.querySelector('#opened h3')?.innerText") == HOSTILE
    assert chromium.run("document.querySelectorAll('img, [onerror]').length") == 0


def test_the_page_of_a_killed_run_says_so_and_how_it_goes_on(chromium, copied):
    heldout = json.loads((copied / "summary.json").read_text())["heldout"]
    base = {f"heldout_{name}": heldout[name]["before"]["mean"] for name in ("reward", "judge")}
    (copied / "summary.json").unlink()
    first, last = (json.loads(line) for line in (copied / "metrics.jsonl").read_text().splitlines())
    (copied / "metrics.jsonl").write_text(json.dumps(first | {"heldout_judge": "nan"}) + "\n" + json.dumps(last) + "\n")
    write_report([copied], copied / "report.html")
    chromium.look()
    chromium.open(copied / "report.html")
    assert "killed after 2 of 2 iterations, or still running" in chromium.text("h1")
    assert f"python -m learner.main --resume {copied}" in chromium.text("#verdict")
    assert chromium.run("document.querySelectorAll('#watch canvas').length") >= 2
    titles = "[...document.querySelectorAll('#watch .cell strong')].map((title) => title.innerText)"
    assert [chromium.run(titles)[place] for place in (0, -1)] == ["base", "last, after 2"]
    chromium.run("const drawn1 = chart; chart = (given) => { window.given = given; return drawn1(given); }; scatter(content.runs[0])")
    line, *dots = [dict(zip(each["labels"], zip(each["x"], each["y"]))) for each in chromium.run("given.series")]
    ends = {"base": tuple(base.values()), "after 2 iterations": tuple(last[name] for name in base)}
    assert [line, *dots] == [ends, {"after 2 iterations": ends["after 2 iterations"]}, {"base": ends["base"]}]
    for checkpoint in (copied / "checkpoints").iterdir():  # nothing says what the base was
        checkpoint.unlink()
    write_report([copied], copied / "report.html")
    chromium.open(copied / "report.html")
    chromium.run("const drawn1 = chart; chart = (given) => { window.given = given; return drawn1(given); }; scatter(content.runs[0])")
    found = [(each["colour"], each["labels"]) for each in chromium.run("given.series")]
    assert found == [("faint", ["after 2 iterations"]), ("accent", ["after 2 iterations"])]


def test_samples_without_a_reward_are_told_and_break_nothing(chromium, copied):
    lost = {"reward": float("nan"), "components": {"tmr": float("nan"), "foot_skate": -0.1}}
    rewritten(copied, 1, lambda row: row.update(lost) if row["sample"] != 2 else None)
    rewritten(copied, 0, lambda row: row.update(reward=float("nan"), motion=None))
    write_report([copied], copied / "report.html")
    chromium.look()
    chromium.open(copied / "report.html")
    assert "3 failed" in chromium.text(".group")
    chromium.run("document.querySelector('.group').click()")
    chromium.wait("Boolean(document.querySelector('#opened tbody'))")
    assert chromium.run("[...document.querySelectorAll('#opened tbody tr')].map((row) => row.cells[2].innerText)")[1:] == ["–"] * 3
    chromium.set("#groups-iteration", 0)
    assert "No sample of this iteration has a reward." in chromium.text("#groups")


def test_several_runs_share_a_page(chromium, run, copied, tmp_path):
    other = copied.rename(copied.with_name("other"))
    write_report([run, other], tmp_path / "both.html")
    chromium.look()
    chromium.open(tmp_path / "both.html")
    assert "Mean of 2 runs" in chromium.text("#across")
    assert "judge, beside best of 2 of the base" in chromium.run("document.querySelector('#across').textContent")
    labels = chromium.run("[...document.querySelectorAll('#across .chart')].map((chart) => chart.ariaLabel.split(' from')[0])")
    assert labels[:2] == ["mean reward, mean of 2 runs,", "reward, mean of 2 runs,"] and len(labels) > 10
    chromium.run("document.querySelector('#across .curve').scrollIntoView({block: 'center', behavior: 'instant'})")
    chromium.wait("document.querySelector('#across .curve .chart').childElementCount")
    assert chromium.pixels("#across .curve .chart").std() > 5
    chromium.set("#run", 1)
    assert chromium.text("#provenance").count(str(other)) >= 3
