"""What the page is made of: meanings, verdict, samples that fit, time, provenance; and what it does about damage."""

import argparse
import base64
import gzip
import json
import math
import re
import shlex
import shutil
import zlib

import numpy as np
import pyarrow.parquet as pq
import pytest

from learner.config.parse import parse_config
from learner.diagnose.read import read_record
from learner.report.__main__ import main
from learner.report.content import content_of
from learner.report.html import page
from learner.report.meanings import METRICS, OTHER, meaning_of
from learner.report.motion import MOTION
from learner.report.provenance import nearest
from learner.report.samples import Samples, _farthest_first
from learner.report.write import write_report
from learner.run.spans import Span, by_iteration, spans_of, trace
from learner.tally import AVERAGED, IDLE, LOSSES
from rewards.language.family import NAMES, POINTS, RULES
from rewards.motion.family import FIDS, JOINTS
from rewards.motion.physics import ALL_PHYSICS
from rollout.motion.features import features_to_joints
from rollout.motion.model_flags import SAMPLED, add_model_flags, model_of
from rollout.motion.record import COLUMNS, read_rollout
from rollout.motion.settings import Model
from rollout.record import write_rollout


@pytest.fixture(scope="module")
def content(run):
    return content_of([run])["runs"][0]


def test_every_metric_that_a_run_writes_has_a_meaning(content):
    assert [name for name in content["metrics"] if meaning_of(name) is OTHER] == []
    assert all(meaning.sentence.endswith(".") and len(meaning.sentence) > 10 for meaning in METRICS.values())


def test_every_metric_of_any_objective_and_family_has_a_meaning():
    """What a family says of how its samples were made is held where whole runs make them."""
    updates = {*LOSSES, *AVERAGED, *IDLE} - {"reference_lead"}  # which becomes mean_log_prob_ref
    motion = {"judge", JOINTS, *FIDS, "diversity", *ALL_PHYSICS}
    answers = {NAMES.get(name, name) for name in (*RULES, *POINTS)}
    written = updates | {f"heldout_{name}" for name in {"reward", "parted"} | motion | answers}
    assert [name for name in sorted(written) if meaning_of(name) is OTHER] == []


@pytest.mark.parametrize(
    "name, part, word",
    [
        ("component_my_own_mean", "Reward", "one part"), ("heldout_component_foot_skate", "Held-out prompts", "one part"),
        ("heldout_foot_skate", "Physics, held out", "slides"), ("heldout_accuracy_emer_ov_mc", "Answers", "this type"),
        ("heldout_accuracy_official", "Answers", "official"), ("never_heard_of", "Other", "own"),
    ],
)  # fmt: skip
def test_what_a_metric_means(name, part, word):
    assert meaning_of(name).part == part and word in meaning_of(name).sentence


def written(folder, heldout, **summary):
    (folder / "summary.json").write_text(json.dumps({"status": "finished", "iterations": 2, "heldout": heldout, **summary}))
    return content_of([folder])["runs"][0]["verdict"]


def gained(before, gain, half):
    return {"before": {"mean": before}, "after": {"mean": before + gain}, "gain": {"mean": gain, "ci95": half}}


@pytest.mark.parametrize(
    "reward, judge, tone, headline, sentence",
    [
        ((0.1, 0.05), (0.5, 0.2), "good", "It learned: held-out reward 0.500 → 0.600 (+0.100 ± 0.050)", ", agrees: +0.500 ± 0.200"),
        ((0.1, 0.05), (-0.5, 0.2), "good", "It learned", "disagrees: -0.500 ± 0.200. The model may have learned its reward"),
        ((0.1, 0.2), (0.1, 0.2), "unclear", "No clear gain", "sees no clear difference"),
        ((-0.1, 0.05), (-0.5, 0.2), "bad", "It got worse", "disagrees: -0.500 ± 0.200."),
    ],
)
def test_the_verdict_is_in_words(copied, reward, judge, tone, headline, sentence):
    verdict = written(copied, {"reward": gained(0.5, *reward), "judge": gained(-9.0, *judge), "fid": {"before": 44.0, "after": 40.0}})
    assert verdict["tone"] == tone and verdict["headline"].startswith(headline) and sentence in " ".join(verdict["sentences"])
    assert "nearer to real ones: FID 44 → 40" in " ".join(verdict["sentences"])
    assert [tile["change"] for tile in verdict["tiles"] if tile["name"] == "fid"] == ["better"]
    assert any(line == f"python -m learner.evaluate --config {copied}/config.yaml --adapter {copied}/adapter" for line in verdict["advice"]["What to do next"])


@pytest.mark.parametrize(
    "joints, sentence",
    [
        ((0.0, 0.01), "The judge's score, of all features, rose by +0.500 ± 0.200; the score of the joints alone did not (+0.000 ± 0.010)"),
        ((0.1, 0.01), "The score of the joints alone is better too: +0.100 ± 0.010."),
        ((-0.1, 0.01), "the score of the joints alone did not (-0.100 ± 0.010)"),
    ],
)
def test_a_judge_that_rises_without_the_joints_is_told(copied, joints, sentence):
    found = {"reward": gained(0.5, 0.1, 0.05), "judge": gained(-9.0, 0.5, 0.2), "judge_joints": gained(0.8, *joints)}
    assert sentence in " ".join(written(copied, found)["sentences"])


@pytest.mark.parametrize(
    "gain, said",
    [((0.4, 0.2), "beats (+0.400 ± 0.200)"), ((-0.4, 0.2), "is behind ("), ((0.1, 0.2), "is not clearly apart from (")],
)
def test_whether_training_beats_choosing_is_told(copied, gain, said):
    chosen = {"samples": 4, "reward": gained(0.9, 0, 0.1), "judge": gained(-8.5, *gain)}
    told = " ".join(written(copied, {"reward": gained(0.5, 0.1, 0.05)}, best_of_base=chosen)["sentences"])
    assert f"Best of 4 of the base, chosen by the reward without training: judge -8.500, which the tuned model {said}" in told


def test_measures_that_only_share_their_values_are_all_told(copied):
    nothing, some = gained(0.0, 0.0, 0.0), gained(0.25, 0.125, 0.1)
    found = {"reward": nothing, "floating": nothing, "accuracy": some, "accuracy_official": some, "iou_gain": some}
    parts = {"format": nothing, "accuracy": some}
    told = [tile["name"] for tile in written(copied, {**found, "components": parts})["tiles"]]
    assert told == ["reward", "accuracy", "floating", "iou_gain", "component_format"]
    told = [tile["name"] for tile in written(copied, {**found, "components": {"format": nothing}})["tiles"]]
    assert told == ["reward", "accuracy", "floating", "iou_gain"]  # of which the reward is made


LESS = [None, [], {"reward": 3}, {"reward": {"before": "too few", "after": None}}, {"reward": gained(math.nan, 1, 1)}]


@pytest.mark.parametrize("heldout", LESS)
def test_a_summary_that_says_less_has_a_page_too(copied, heldout):
    verdict = written(copied, heldout)
    assert verdict["tiles"] == [] and verdict["sentences"][0].startswith("Mean reward on training prompts: ")


def test_a_run_that_trains_is_said_to_whatever_an_earlier_end_was(run):
    verdict = content_of([run], {})["runs"][0]["verdict"]
    assert (verdict["tone"], verdict["headline"]) == ("running", "Training: 2 of 2 iterations are done") and verdict["tiles"] == []
    assert verdict["advice"]["How it ended"] == [] and "--serve" in verdict["advice"]["What to do next"][0]
    told = [sentence.partition(":")[0] for sentence in verdict["sentences"]]
    assert told == ["Mean reward on training prompts", "Held-out reward", "Judge, held out"]


def test_a_gain_that_is_no_number_is_that_of_the_means(copied):
    (tile,) = written(copied, {"reward": {**gained(0.5, 0.25, 0.1), "gain": {"mean": "nan", "ci95": "nan"}}})["tiles"]
    assert (tile["gain"], tile["half"], tile["change"]) == (0.25, None, "better")
    assert content_of([copied, copied])["across"]["gains"]["reward"]["mean"] == 0.25


def test_several_runs_have_a_band_where_each_has_a_number(run, copied, tmp_path):
    nothing = shutil.copytree(copied, tmp_path / "nothing")
    (nothing / "metrics.jsonl").unlink()
    own = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    changed = {"mean_reward": own[1]["mean_reward"] + 1, "heldout_reward": own[1]["heldout_reward"] + 2, "heldout_judge": "nan"}
    (copied / "metrics.jsonl").write_text(json.dumps(own[1] | changed) + "\n")
    curves = content_of([run, copied, nothing])["across"]["curves"]
    reward, heldout = curves["mean_reward"], curves["heldout_reward"]
    assert (reward["runs"], reward["iterations"]) == (2, [2]) and heldout["iterations"] == [0, 2]
    assert reward["mean"] == [pytest.approx(own[1]["mean_reward"] + 0.5)] and reward["half"] == [pytest.approx(12.706 / 2, rel=1e-4)]
    assert heldout["mean"][1] == pytest.approx(own[1]["heldout_reward"] + 1) and heldout["half"] == pytest.approx([0, 12.706], rel=1e-4)
    assert curves["heldout_judge"]["iterations"] == [0] and "heldout_component_tmr" in curves and "kl" not in curves
    assert content_of([run, nothing])["across"]["curves"] == {}


def test_the_curve_of_held_out_prompts_reaches_the_end_of_a_run_that_finished(copied):
    rows = [json.loads(line) for line in (copied / "metrics.jsonl").read_text().splitlines()]
    summary = json.loads((copied / "summary.json").read_text())
    rows[-1] = {name: value for name, value in rows[-1].items() if not name.startswith("heldout_")}  # it is evaluated more seldom
    (copied / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    reached = content_of([copied])["runs"][0]["metrics"]["heldout_reward"]["values"]
    assert reached == [rows[0]["heldout_reward"], summary["heldout"]["reward"]["after"]["mean"]]
    (copied / "summary.json").write_text(json.dumps({**summary, "status": "stopped"}))  # maybe rolled back to older weights
    assert content_of([copied])["runs"][0]["metrics"]["heldout_reward"]["values"] == [rows[0]["heldout_reward"], None]


def test_what_a_run_without_an_end_was_warned_of_is_read_from_its_log(copied):
    (copied / "summary.json").unlink()
    (copied / "log.txt").write_text("warning: kl at iteration 2\niteration 2/2\nwarning: kl at iteration 2\nwarning: the disk\n")
    assert content_of([copied])["runs"][0]["verdict"]["warnings"] == ["kl at iteration 2", "the disk"]


def test_what_the_base_was_is_read_from_the_checkpoint_of_a_run_without_an_end(content, copied):
    (copied / "summary.json").unlink()
    found = content_of([copied])["runs"][0]
    assert found["before"] == {**content["before"], "heldout_parted": 0.0} and "heldout_component_tmr" in found["before"]
    assert (content["final"], found["final"]) == (True, False)
    for checkpoint in (copied / "checkpoints").iterdir():
        checkpoint.write_bytes(b"\0" * 100)
    assert content_of([copied])["runs"][0]["before"] == {}


def test_the_verdict_has_the_advice_of_the_run(copied):
    (copied / "summary.json").unlink()
    (copied / "log.txt").write_text("advice: full_disk at iteration 2: soon\n")
    advice = content_of([copied])["runs"][0]["verdict"]["advice"]
    assert advice["What it could do without"] == ["full_disk at iteration 2: soon"]


def test_groups_have_every_number_of_the_record(content, run):
    for entry in content["rollouts"]:
        rows = read_rollout(run / "rollouts" / f"{entry['iteration']:06d}.parquet")
        for g, group in enumerate(entry["groups"]):
            own = [row for row in rows if row["group"] == g]
            assert group["rewards"] == pytest.approx([row["reward"] for row in own], rel=1e-4)
            assert group["advantages"] == pytest.approx([row["advantage"] for row in own], rel=1e-4)
            assert group["components"]["tmr"] == pytest.approx([row["components"]["tmr"] for row in own], rel=1e-4)
            for row, output in zip(own, group["outputs"], strict=True):  # so small a run fits whole
                assert content["actions"][output]["ratio"] == pytest.approx(np.exp(row["log_ratio"]).tolist(), rel=1e-4)
                kl = content["actions"][output].get("kl", [None] * len(row["kl"]))
                assert [value is None for value in kl] == np.isnan(row["kl"]).tolist()
                assert content["actions"][output]["log_probs"] == pytest.approx(row["log_probs"].tolist(), rel=1e-4)


def unpacked(output: str) -> np.ndarray:
    """As page/outputs.js does."""
    planes = np.frombuffer(zlib.decompress(base64.b64decode(output)), np.uint8).reshape(2, 66, -1).astype(np.uint16)
    bits = planes[0] | planes[1] << 8
    steps = np.cumsum((bits >> 1).astype(np.int16) ^ -(bits & 1).astype(np.int16), axis=1, dtype=np.int16)
    joints = steps.T.reshape(-1, 22, 3) * 2e-3
    return np.concatenate([joints[:, :1], joints[:, 1:] + joints[:, :1]], axis=1)


def test_a_packed_motion_is_within_two_millimetres(content, run):
    motion = read_rollout(run / "rollouts" / "000001.parquet")[3]["motion"]
    found = unpacked(content["outputs"][content["rollouts"][1]["groups"][0]["outputs"][3]])
    np.testing.assert_allclose(found, features_to_joints(motion), atol=2.1e-3)


def outputs_of(folder, room):
    samples = Samples(MOTION, None, room)
    return samples, samples.iterations(folder / "rollouts")


def test_where_room_is_short_best_and_worst_of_every_iteration_come_first(run):
    whole, _ = outputs_of(run, 10**7)
    one = np.mean([len(output) + 12 * len(actions["log_probs"]) for output, actions in zip(whole.outputs, whole.actions)])
    _, iterations = outputs_of(run, int(4.5 * one))
    for entry in iterations:
        rewards = [reward for group in entry["groups"] for reward in group["rewards"]]
        kept = [reward for group in entry["groups"] for reward, output in zip(group["rewards"], group["outputs"]) if output is not None]
        assert sorted(kept) == [min(rewards), max(rewards)]
    _, iterations = outputs_of(run, int(8.5 * one))
    for group in iterations[1]["groups"]:  # then of every group, the last iteration's first
        kept = [reward for reward, output in zip(group["rewards"], group["outputs"]) if output is not None]
        assert {min(group["rewards"]), max(group["rewards"])} <= set(kept)


@pytest.mark.parametrize("room, kept", [(10**7, 2), (0, 1)])
def test_of_many_evaluations_the_page_has_some_the_ends_whole_and_those_between_where_there_is_room(run, tmp_path, monkeypatch, room, kept):
    monkeypatch.setattr("learner.report.samples.MOST_STOPS", 3)
    for number in range(9):
        shutil.copy(run / "evaluations" / "000000.parquet", tmp_path / f"{number:06d}.parquet")
    found = Samples(MOTION, None, room).evaluations(tmp_path)
    assert [(entry["iterations"], entry["skipped"]) for entry in found] == [(0, 0), (4, 3), (8, 3)]
    for entry, count in zip(found, (2, kept, 2)):
        assert {sum(output is not None for output in group["outputs"]) for group in entry["groups"]} == {count}


@pytest.mark.parametrize("count, order", [(0, []), (1, [0]), (2, [1, 0]), (5, [4, 0, 2, 1, 3]), (6, [5, 0, 3, 2, 4, 1])])
def test_iterations_are_taken_as_far_apart_as_can_be(count, order):
    found = _farthest_first(list(range(count)))
    assert found[:3] == order[:3] and sorted(found) == sorted(order)


def test_a_long_run_shows_as_many_iterations_as_fit_the_first_and_last_among_them(run, tmp_path, monkeypatch):
    monkeypatch.setattr("learner.report.samples.MOST_ITERATIONS", 3)
    for number in range(9):
        rows = [row | {"iteration": number} for row in read_rollout(run / "rollouts" / "000000.parquet")]
        write_rollout(tmp_path / f"{number:06d}.parquet", rows, COLUMNS)
    assert [entry["iteration"] for entry in Samples(None, None, 0).iterations(tmp_path)] == [0, 4, 8]


@pytest.mark.parametrize("damage", ["cut", "empty", "other"])
def test_damage_is_told_and_takes_away_no_more_than_its_file(copied, damage):
    path = copied / "rollouts" / "000000.parquet"
    if damage == "other":
        pq.write_table(pq.read_table(path).drop_columns("reward"), path)
    else:
        path.write_bytes(path.read_bytes()[: {"cut": 1000, "empty": 0}[damage]])
    (copied / "run.json").write_text("{")
    (copied / "spans.jsonl").write_text('{"actor": 3}\nnonsense\n')
    for checkpoint in (copied / "checkpoints").iterdir():
        checkpoint.write_bytes(b"\0" * 100)
    found = content_of([copied])["runs"][0]
    assert [entry["iteration"] for entry in found["rollouts"]] == [1]
    assert len([line for line in found["verdict"]["defects"] if str(path) in line]) == 1
    assert page({"runs": [found], "across": None})


def test_a_family_without_samples_to_show_has_all_numbers(copied):
    config = (copied / "config.yaml").read_text()
    (copied / "config.yaml").write_text(config.replace("family: motion", "family: nobody_knows"))
    found = content_of([copied])["runs"][0]
    assert found["shown"] is None and found["outputs"] == [] and len(found["rollouts"]) == 2 and found["metrics"]


SPANS = [
    Span("sampler 0", "sample", 0, 0.0, 4.0), Span("sampler 1", "sample", 0, 0.0, 2.0), Span("reward", "score", 0, 2.0, 3.0),
    Span("reward", "score", 0, 4.0, 5.0), Span("learner", "gradient", 0, 5.0, 9.0), Span("sampler 0", "publish", 0, 9.0, 10.0),
]  # fmt: skip


def test_idle_share_and_critical_path_of_spans():
    (found,) = by_iteration(SPANS)
    assert found["seconds"] == 10 and found["idle"] == {"sampler 0": 0.5, "sampler 1": 0.8, "reward": 0.8, "learner": 0.6}
    assert [step["what"] for step in found["critical"]] == ["sample", "score", "gradient", "publish"]
    assert sum(step["seconds"] for step in found["critical"]) == 10


def test_the_verdict_is_given_in_markdown(copied, tmp_path):
    """As MLflow shows it beside a run."""
    said = write_report([copied], tmp_path / "page.html").split("\n\n")
    assert said[0].startswith("**") and "held-out reward" in said[0] and said[-1] == "All of it: the artifact report.html."


def test_spans_that_were_measured_go_before_the_seconds_of_the_metrics(run, copied):
    (copied / "spans.jsonl").write_text("".join(json.dumps(span._asdict()) + "\n" for span in SPANS) + '{"actor": "cut o')
    assert spans_of(copied, []) == (SPANS, True)
    own, measured = spans_of(run, [])
    assert {"examine"} <= {span.what for span in own if span.iteration == 2}  # after training
    assert measured and own[0].start >= 0 == min(span.start for span in own) and {span.iteration for span in own} == {0, 1, 2}
    done = {(span.actor, span.what) for span in own}
    assert done >= {("sampler 0", "sample"), ("reward 0", "score"), ("sampler 0", "gradient"), ("learner", "step"), ("driver", "evaluate"), ("driver", "record")}
    (copied / "spans.jsonl").unlink()
    spans, measured = spans_of(copied, [{"iteration": 0.0, "seconds_rollout": 2.0, "seconds_update": 1.0, "seconds_reward": math.nan}])
    assert (spans, measured) == ([Span("samplers", "rollout", 0, 0.0, 2.0), Span("samplers, learner", "update", 0, 2.0, 3.0)], False)


def test_the_trace_is_chromes_format():
    events = trace(SPANS)["traceEvents"]
    names = {event["tid"]: event["args"]["name"] for event in events if event["ph"] == "M"}
    whole = [(names[event["tid"]], event["name"], event["args"]["iteration"], event["ts"] / 1e6) for event in events if event["ph"] == "X"]
    assert whole == [(span.actor, span.what, span.iteration, span.start) for span in SPANS]


def test_where_it_comes_from(content, run):
    assert content["provenance"]["recipe"] == "demo" and nearest(parse_config(["--config", "people", "--iterations", "9"]))[0] == "people"
    settings = {key: (value, usual) for key, value, usual, _ in content["provenance"]["settings"]}
    assert settings["iterations"] == ("2", "60") and settings["seed"] == ("0", "0") and "run_dir" not in settings
    first_same = next(i for i, (_, value, usual, _) in enumerate(content["provenance"]["settings"]) if value == usual)
    assert all(value == usual for _, value, usual, _ in content["provenance"]["settings"][first_same:])
    facts = content["provenance"]["facts"]
    assert facts["digests"]["adapter"] == json.loads((run / "summary.json").read_text())["adapter_sha256"]
    assert len(facts["digests"]["training prompts"]) == 64 and {"python", "torch"} <= facts["versions"].keys() and facts["machine"]["cpus"]
    commands = [command for _, command in content["provenance"]["commands"]]
    assert f"python -m learner.main --config {run}/config.yaml --run_dir NEW" in commands
    assert f"python -m learner.evaluate --config {run}/config.yaml --adapter {run}/adapter" in commands
    model = read_record(run).config.model
    (sampled,) = [shlex.split(command)[3:] for command in commands if "rollout.sample" in command]
    assert sampled[:6] == ["--prompts", "prompts.txt", "--out", "out", "--adapter", f"{run}/adapter"]
    parser = argparse.ArgumentParser()
    add_model_flags(parser, *SAMPLED)
    assert model_of(parser.parse_args(sampled[6:])) == model != Model()


def test_the_page_holds_its_content_and_lets_nothing_else_run_or_load(content):
    text = page({"runs": [content], "across": None}).decode()
    packed = re.search(r'id="content">([A-Za-z0-9+/=]+)</script>', text)[1]
    assert json.loads(gzip.decompress(base64.b64decode(packed)))["runs"][0]["name"] == content["name"]
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', text)[1]
    assert "default-src 'none'" in policy and "connect-src 'none'" in policy and "unsafe-eval" not in policy
    assert "'unsafe-inline'" not in re.search(r"script-src [^;]+", policy)[0]
    ours = text[: text.index('id="content"')]
    assert not re.search(r"(src|href)=\"?(https?:)?//", ours)


def test_the_command_writes_the_page_and_a_trace(run, tmp_path, capsys):
    assert main([str(run), "--out", str(tmp_path / "page.html")]) == 0
    assert capsys.readouterr().out.startswith(f"{tmp_path / 'page.html'} (")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["page.html", "page.trace.json"]
    assert main([str(run), str(run), "--out", str(tmp_path / "both.html")]) == 0


@pytest.mark.parametrize(
    "words, message",
    [
        (["nowhere"], "nowhere: not found, expected a run folder"),
        (["{run}/config.yaml"], "config.yaml: found a file, expected a run folder"),
        (["{tmp}"], "found none of config.yaml, metrics.jsonl, summary.json, log.txt, expected a run folder"),
        (["{run}", "{run}"], "--out: not given, expected a file for the page of 2 runs"),
        (["{run}", "--out", "{tmp}/no/such/page.html"], "--out: cannot write {tmp}/no/such/page.html (No such file or directory)"),
        (["{run}", "--oot", "x"], "unknown flag --oot (did you mean --out?)"),
        (["{run}", "--votes", "x.json"], "--votes: found no --out beside it, expected one run and a file to write"),
        (["{run}", "{run}", "--votes", "x.json", "--out", "x.jsonl"], "--votes: found 2 runs beside it"),
        (["{run}", "--votes", "x.json", "--out", "x.json"], "--out: found x.json, expected a name that ends in .jsonl"),
        (["{run}", "--votes", "x.json", "--out", "x.jsonl"], "x.json: file not found"),
    ],
)
def test_bad_input_is_one_line(run, tmp_path, capsys, words, message):
    assert main([word.format(run=run, tmp=tmp_path) for word in words]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and error.startswith("error: ") and message.format(tmp=tmp_path) in error
    assert list(tmp_path.iterdir()) == []
