"""What `learner.diagnose` says of runs that went wrong in known ways, and that nothing it is given makes it fail."""

import json

import numpy as np
import pytest

from learner.config.parse import write_config
from learner.config.settings import Config, Health, Objective, Optimizer
from learner.diagnose.__main__ import main
from learner.diagnose.ratio import expected_log_prob
from learner.watch.health import Monitor
from rollout.io.files import write_json
from rollout.motion.schedule import Schedule
from tests.learner.watch.test_health import healthy

PUBLISHED = {
    "mean_ratio": 485165216, "log-ratio": 197562, "mean_log_prob_current": -833610.3, "mean_log_prob_ref": -1031172.9,
    "mean_advantage": 0, "mean_reward": 0.4971, "std_reward": 0.1766,
}  # fmt: skip
DROPOUT, LOST, STEP_ZERO = "in train mode", "does not reach the sampler", "step t=0 is counted"
REFERENCE = "against the reference, and summed"


@pytest.fixture
def explain(capsys):
    def explained(*argv):
        code = main([str(argument) for argument in argv])
        printed = capsys.readouterr()
        assert (code, printed.err) == (0, "")
        return printed.out

    return explained


@pytest.fixture
def refuse(capsys):
    def refused(*argv):
        code = main([str(argument) for argument in argv])
        printed = capsys.readouterr()
        assert (code, printed.out) == (2, "") and printed.err.startswith("error: ") and printed.err.count("\n") == 1
        return printed.err

    return refused


def write(path, content):
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def folder(tmp_path, rows, log="", summary=None, **config):
    """A run folder as a run leaves it; without a summary, as a killed one does."""
    path = tmp_path / "run"
    path.mkdir()
    write_config(Config(iterations=60, **config), path / "config.yaml")
    (path / "metrics.jsonl").write_text("".join(json.dumps({"iteration": i, **row}) + "\n" for i, row in enumerate(rows)))
    (path / "log.txt").write_text(log)
    if summary:
        write_json(path / "summary.json", {"iterations": len(rows), "warnings": [], **summary})
    return path


def causes(text):
    """The numbered causes, in order, without their remedies."""
    part = text.partition("Likely causes")[2].partition("\n\n")[0]
    return [line.strip() for line in part.splitlines() if line.strip()[:1].isdigit()]


def test_the_published_numbers_are_explained(tmp_path, explain):
    text = explain(write(tmp_path / "metrics.json", PUBLISHED))
    assert "485165216 is exp(20) = 485165195.4 in float32" in text and "at a clamp of 20" in text
    assert "197562 is the difference of the two log-probs, -833610.3 - -1031172.9 = 197562.6" in text
    assert "a mean advantage of 0 is normal" in text
    assert "the recompute disagrees with the sampler" in text and "a pure function of sigma, 62785 " in text and "896395 nats off" in text
    assert "the reward is not the problem: a standard deviation of 0.1766 around a mean of 0.4971" in text
    found = causes(text)
    assert len(found) == 4 and all(words in cause for words, cause in zip((DROPOUT, LOST, STEP_ZERO, REFERENCE), found))


def test_what_a_right_recompute_must_give_is_what_sampling_gives():
    """Against log-probs of drawn noise, over many dims."""
    schedule = Schedule.create("cosine", 50)
    noise = np.random.default_rng(0).normal(size=(49, 20000))
    sigma = schedule.sigma[1:, None]
    log_probs = (-((sigma * noise) ** 2) / (2 * sigma**2) - np.log(sigma) - 0.5 * np.log(2 * np.pi)).sum(axis=1)
    np.testing.assert_allclose(expected_log_prob(schedule, 20000), log_probs, atol=5 * np.sqrt(20000 / 2))


def test_a_right_recompute_of_the_original_is_not_accused(tmp_path, explain):
    """Its log-probs are what they must be; the ratio is summed and against the reference, and leaves the clamp all the same."""
    row = PUBLISHED | {"mean_ratio": np.exp(np.float32(10)).item(), "log-ratio": 5e3, "mean_log_prob_current": 62e3}
    row["mean_log_prob_ref"] = 57e3
    text = explain(write(tmp_path / "metrics.json", row))
    assert "is exp(10) = 22026.5 in float32" in text and "disagrees" not in text
    for gap in ({"log_prob_gap": 0.0}, {"log_prob_gap": 0.01, "log_prob_tolerance": 0.02}):
        verified = explain(write(tmp_path / "metrics.json", row | gap))
        assert len(causes(verified)) == 1 and REFERENCE in causes(verified)[0]


@pytest.mark.parametrize("ratio", [1.0, 1.02, 484_000_000, 4e8, 3.0])
def test_other_ratios_are_no_clamp_of_twenty(ratio, tmp_path, explain):
    assert "is exp(20)" not in explain(write(tmp_path / "metrics.json", {**PUBLISHED, "mean_ratio": ratio}))


@pytest.mark.parametrize("name", ["m.json", "list.json", "columns.json", "m.jsonl", "m.csv"])
def test_metrics_in_every_form_say_the_same(name, tmp_path, explain):
    rows = [{"step": 0, "mean_ratio": 1.0, "mean_reward": 0.4, "std_reward": 0.2}, {"step": 1, **PUBLISHED}]
    names = list(dict.fromkeys(name for row in rows for name in row))
    lines = [",".join(names), *(",".join(str(row.get(name, "")) for name in names) for row in rows)]
    content = {
        "m.json": PUBLISHED | {"step": 1}, "list.json": rows, "m.jsonl": "\n".join(map(json.dumps, rows)), "m.csv": "\n".join(lines),
        "columns.json": {name: [row.get(name) for row in rows] for name in names},
    }[name]  # fmt: skip
    text = explain(write(tmp_path / name, content))
    assert "iteration 2: the mean ratio 485165216 is exp(20)" in text and len(causes(text)) == 4


def test_a_healthy_run_is_told_to_be_so(tmp_path, explain):
    summary = {"status": "finished", "heldout": {"reward": {"gain": {"mean": 0.03, "ci95": 0.01}}}}
    text = explain(folder(tmp_path, [healthy(i) for i in range(60)], summary=summary))
    assert "it finished after 60 of 60 iterations" in text and "nothing that the monitor watches for" in text
    assert "held-out gain +0.0300 ± 0.0100" in text and "run/config.yaml --adapter" in text and "Likely causes" not in text
    assert "objective grpo (ratio_norm), learning rate 0.0003" in text and "--resume" not in text and "clamp" not in text


def test_a_saturated_reward_leads_to_inspection(tmp_path, explain):
    rows = [healthy(i, zero_std_fraction=1.0 if i > 3 else 0.0, std_reward=0.0 if i > 3 else 0.1, grad_norm=0.0) for i in range(20)]
    text = explain(folder(tmp_path, rows, summary={"status": "finished"}))
    assert "iteration 5: reward_spread" in text and "iteration 7: zero_std: 60% of the groups" in text and "100% of the groups" in text
    assert "saturated" in " ".join(causes(text)) and "python -m rewards.inspect" in text


def test_updates_that_are_all_clipped(tmp_path, explain):
    text = explain(folder(tmp_path, [healthy(i, clip_fraction=1.0) for i in range(8)], summary={"status": "finished"}))
    assert "iteration 1: clip_fraction: 100% of the ratios are clipped" in text and "the clip is too tight" in causes(text)[0]


def test_a_trajectory_run_names_its_ratio_and_trusts_its_checked_recompute(tmp_path, explain):
    rows = [healthy(i, mean_ratio=19755.0 if i else 1.0, clip_fraction=0.6, max_abs_log_ratio=250.0 * i) for i in range(8)]
    del rows[2]["max_abs_log_ratio"]
    text = explain(folder(tmp_path, rows, summary={"status": "finished"}, objective=Objective(kind="trajectory")))
    assert REFERENCE in causes(text)[0] and DROPOUT not in text


def test_nan_is_the_cause_and_would_come_back(tmp_path, explain):
    rows = [healthy(i) for i in range(5)] + [healthy(5, loss="nan", grad_norm="inf")]
    reason = "the gradient norm is nan at adapter version 6; no step was taken"
    path = folder(tmp_path, rows, summary={"status": "failed", "reason": reason})
    (path / "checkpoints").mkdir()
    for iterations in (3, 5):
        (path / "checkpoints" / f"{iterations:06d}.safetensors").touch()
    text = explain(path)
    assert "iteration 6: non_finite: loss and grad_norm are not a finite number [stop]" in text
    assert "it failed after 6 of 60 iterations" in text and "it says: the gradient norm is nan" in text
    assert "an update overflowed" in causes(text)[0] and len(causes(text)) == 1
    assert "would end there again" in text and f"--resume {path}    # goes on after iteration 5" in text


@pytest.mark.parametrize(
    "line, cause",
    [
        ("samplers keep dying (3 restarts each are used up): The actor died unexpectedly", "an actor dies again and again"),
        ("samplers keep dying (3 restarts each are used up): killed by the memory monitor: out of memory", "ran out of memory"),
        ("OSError: [Errno 28] No space left on device: 'rollouts/000007.parquet'", "a disk is full"),
        ("the recomputed log-probs differ from the sampled ones by 0.3 per dim before the first update", "do not compute the same"),
        ("a group was sampled under adapter version 3 (abc), the learner holds version 4 (def)", "other weights than the learner"),
        ("the reward failed on every sample of the iteration", "a reward component raised"),
        ("cluster.samplers: fewer than 4 for 300 s; the cluster offers {'CPU': 3.0}", "less room than the samplers that the run needs"),
        ("the actors did not start within 300 s; the cluster offers {}", "did not start or answer in time"),
    ],
)
@pytest.mark.parametrize("where", ["summary", "log"])
def test_what_ended_a_run_is_the_first_cause(line, cause, where, tmp_path, explain):
    log = "starting Ray\niteration 1/60  reward 0.8\n" + (line + "\nrun failed: iterations 7, seed 0\n" if where == "log" else "")
    summary = {"status": "failed", **({"reason": line} if where == "summary" else {})}
    text = explain(folder(tmp_path, [healthy(i, zero_std_fraction=1.0) for i in range(7)], log, summary))
    assert "it failed after 7 of 60 iterations" in text and f"it says: {line}" in text
    assert cause in causes(text)[0] and "saturated" in causes(text)[1]


def test_a_killed_run_is_told_from_a_stopped_one(tmp_path, explain):
    path = folder(tmp_path, [healthy(i) for i in range(4)], "iteration 4/60  reward 0.8\n")
    with (path / "metrics.jsonl").open("a") as file:
        file.write('{"iteration": 4, "mean_rew')
    text = explain(path)
    assert "killed after 4 of 60 iterations and could not say so" in text and "metrics.jsonl: line 5 is cut off" in text
    assert "SIGKILL" in causes(text)[0] and "--config" in text
    write_json(path / "summary.json", {"status": "killed", "iterations": 4, "warnings": []})
    text = explain(path)
    assert "stopped by a signal" in text and "after 4 of 60 iterations" in text and "Likely causes" not in text


DAMAGE = ["", "{", "\x00\xff\x00", "[" * 2_000, '[1, 2]\n3\nnull\n"a"\n', '{"iteration": 1e999, "kl": "x", "a": [1], "status": 3}']


@pytest.mark.parametrize("left", [["config.yaml"], ["metrics.jsonl"], ["summary.json"], ["log.txt"], []])
@pytest.mark.parametrize("damage", DAMAGE)
def test_what_is_left_is_read_and_damage_is_told(left, damage, tmp_path, explain, refuse):
    for name in left:
        (tmp_path / name).write_bytes(damage.encode("latin-1"))
    said = explain(tmp_path) if left else refuse(tmp_path)
    assert "How it ended" in said if left else "expected a run folder" in said


@pytest.mark.parametrize(
    "name, content, words",
    [
        ("metrics.json", "{", "not valid JSON"),
        ("metrics.json", "[]", "no row of numbers"),
        ("metrics.json", '{"note": "hello", "on": true}', "no row of numbers"),
        ("metrics.jsonl", "\x00\x01", "no row of numbers"),
        ("metrics.csv", "a,b\n", "no row of numbers"),
        ("metrics.csv", 'a\n"1"2', "not a CSV file"),
        ("metrics.txt", "1", "of type .txt, expected a run folder, .json, .jsonl or .csv"),
        (None, None, "cannot be read (No such file or directory)"),
    ],
)
def test_bad_input_is_one_line(name, content, words, tmp_path, refuse):
    path = tmp_path / (name or "nothing")
    if name:
        write(path, content)
    message = refuse(path)
    assert words in message and str(path) in message


def test_unknown_flags_and_unwritable_pictures_are_one_line(tmp_path, refuse):
    path = write(tmp_path / "metrics.json", PUBLISHED)
    assert "--outt" in refuse(path, "--outt", "a.png")
    assert "--out: cannot write" in refuse(path, "--out", tmp_path / "no" / "a.png")
    assert "--out: cannot write" in refuse(path, "--out", tmp_path / "a.strange")


def test_nothing_is_written_without_out_and_a_picture_with_it(tmp_path, explain):
    path = folder(tmp_path, [healthy(i, kl=0.3 if i > 4 else 0.0, loss="nan") for i in range(9)], summary={"status": "finished"})
    before = sorted(path.iterdir())
    explain(path)
    assert sorted(path.iterdir()) == before
    assert f"picture: {tmp_path / 'a.png'}" in explain(path, "--out", tmp_path / "a.png")
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")


def test_a_warning_of_the_run_is_said_once(tmp_path, explain):
    rows = [healthy(0, kl=0.5)]
    (finding,) = Monitor(Health(), Objective(), Optimizer()).observe(0, rows[0])
    path = folder(tmp_path, rows, summary={"status": "finished", "warnings": [finding.words(), "reward and judge part: ..."]})
    text = explain(path, "--out", tmp_path / "a.png")
    assert text.count("the KL to the base model is 0.5") == 1 and "warning: reward and judge part" in text


SLOW = "slow_reward at iteration 5: 53% of an iteration is waited for rewards alone, once all is sampled."


@pytest.mark.parametrize(
    "summary, log",
    [
        ({"status": "finished", "advisories": ["{told}", "full_disk at iteration 2: x"]}, ""),
        (None, "advice: {told}\nadvice: full_disk at iteration 2: x\n"),
    ],
)
def test_advice_is_said_once_whoever_told_it(tmp_path, explain, summary, log):
    """What the metrics say again, and what they do not: of the disk."""
    rows = [healthy(i, seconds_rollout=2.0, seconds_reward=8.0) for i in range(9)]
    told = SLOW + " As the run said it."
    if summary:
        summary = summary | {"advisories": [text.format(told=told) for text in summary["advisories"]]}
    text = explain(folder(tmp_path, rows, log.format(told=told), summary)).partition("What it could do without")[2]
    assert text.count("slow_reward") == 1 and SLOW in text and "more cluster.reward_actors" in text
    assert text.count("full_disk at iteration 2: x") == 1


@pytest.mark.parametrize("value", [3, "x", [], {}, [[1]], None])
def test_a_summary_of_anything_is_read(value, tmp_path, explain):
    names = ("status", "iterations", "reason", "warnings", "advisories", "heldout")
    assert "How it ended" in explain(write(tmp_path / "summary.json", dict.fromkeys(names, value)).parent)


def test_the_gravest_finding_is_the_likeliest_cause(tmp_path, explain):
    rows = [healthy(i, clip_fraction=1.0, log_prob_gap=0.1 if i == 6 else 0.0) for i in range(8)]
    text = explain(folder(tmp_path, rows, summary={"status": "finished"}))
    assert "do not compute the same" in causes(text)[0] and "the clip is too tight" in causes(text)[1]


def test_a_run_without_metrics_has_an_empty_picture(tmp_path, explain):
    assert "killed after 0 iterations" in explain(write(tmp_path / "log.txt", "starting Ray\n").parent, "--out", tmp_path / "a.png")


def test_two_rows_of_an_iteration_are_told(tmp_path, explain):
    path = folder(tmp_path, [healthy(i) for i in range(3)])
    lines = (path / "metrics.jsonl").read_text()
    (path / "metrics.jsonl").write_text(lines + lines.splitlines()[-1] + "\n")
    text = explain(path)
    assert "1 iterations are there twice" in text and "after 3 of 60" in text
