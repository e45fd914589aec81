"""How a run's report is closed: its summary comes last, since a run whose summary says that it finished is not gone on with."""

import dataclasses
import io
import json
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from rich.console import Console

from cluster.spans import Timing
from learner.config.parse import parse_config, write_config
from learner.main import Run, supervise
from learner.report.write import write_report
from learner.run.folder import RunFolder
from learner.run.keeper import Keeper
from learner.run.plan import Plan
from learner.run.progress import Progress
from learner.run.report import Report
from learner.run.tracking import Tracker
from learner.update import Update
from rewards.family import Examination
from rewards.scoring import Scores
from rollout.adapter import Adapter
from rollout.io.errors import RunFailed
from rollout.motion.record import read_rollout
from tests.tiny import make_policy, sample_group


@pytest.fixture(scope="module")
def plan(tiny, tmp_path_factory):
    config = parse_config(["--config", str(tiny.write_run_config(tmp_path_factory.mktemp("config"), lora={"enabled": False}))])
    return Plan.make(config)


class Disk(NamedTuple):
    free: int


class Store:
    """In place of MLflow's client: notes what it is given, and whether the run folder had a summary by then."""

    def __init__(self, summary: Path, full: bool = False):
        self.summary, self.full, self.artifacts, self.ended = summary, full, {}, None

    def set_tag(self, run_id: str, name: str, text: str) -> None:
        pass

    def log_artifact(self, run_id: str, path: str) -> None:
        if self.full:
            raise OSError("no space left")
        if Path(path).is_file():
            self.artifacts[Path(path).name] = Path(path).read_text(errors="replace")

    def set_terminated(self, run_id: str, status: str) -> None:
        self.ended = (status, self.summary.exists())


def report_to(plan, tmp_path, **store) -> tuple[Report, Store]:
    folder = RunFolder.create(tmp_path / "run")
    write_config(plan.config, folder.config)  # as the keeper does when training begins
    client = Store(folder.summary, **store)
    progress = Progress(2, Console(file=io.StringIO()))
    return Report(plan, folder, progress, Tracker(client, "1", "sqlite:///mlflow.db", {}), write_report), client


def test_the_summary_is_there_once_everything_else_is(plan, tmp_path):
    report, store = report_to(plan, tmp_path)
    report.folder.show_present({"done": 1})
    report.close("finished")
    assert store.ended == ("FINISHED", False) and not report.folder.present.exists()
    assert store.artifacts == {name: (report.folder.path / name).read_text() for name in ("run.json", "config.yaml", "summary.json", "report.html", "trace.json")}
    assert json.loads(store.artifacts["summary.json"])["status"] == "finished"


def test_a_store_that_fails_takes_no_summary_away(plan, tmp_path):
    report, store = report_to(plan, tmp_path, full=True)
    report.close("failed", "because")
    assert json.loads(report.folder.summary.read_text())["reason"] == "because" and store.ended == ("FAILED", False)


def test_a_page_that_cannot_be_written_ends_no_run_and_is_told(plan, tmp_path):
    report, store = report_to(plan, tmp_path)
    report.folder.page.mkdir()
    report.close("finished")
    assert store.ended == ("FINISHED", False) and json.loads(report.folder.summary.read_text())["status"] == "finished"
    said = report.progress._console.file.getvalue()
    assert f"warning: {report.folder.page} could not be written (IsADirectoryError" in said and "on one page" not in said


def test_a_run_ends_by_saying_where_its_page_is(plan, tmp_path):
    report, _ = report_to(plan, tmp_path)
    report.close("killed")
    assert report.progress._console.file.getvalue().splitlines()[-1] == f"all of it on one page: {report.folder.path / 'report.html'}"


def examined(group) -> tuple[list, list]:
    scores = np.linspace(0, 1, len(group), dtype=np.float32)
    return [group], [Examination(scores, {"tmr": scores / 2}, -scores, {})]


def test_every_evaluation_keeps_what_the_model_made_of_the_watched_prompts(plan, mdm_folder, tmp_path):
    report, _ = report_to(plan, tmp_path)
    group = sample_group(make_policy(mdm_folder), 3, 0)
    report.watcher.heldout.entries.append({})  # as of a run that goes on: nothing is judged here
    report.before(heldout=examined(group))
    rows = read_rollout(report.folder.evaluations / "000000.parquet")
    assert [(row["group"], row["sample"], row["iteration"]) for row in rows] == [(0, 0, 0), (0, 1, 0), (0, 2, 0)]
    assert [row["reward"] for row in rows] == [0, 0.5, 1] and rows[2]["components"] == {"judge": -1, "tmr": 0.5}
    for row, motion in zip(rows, group.outputs, strict=True):
        np.testing.assert_allclose(row["motion"], motion[: row["length"]], atol=1e-3)
    assert report.folder.page.stat().st_size > 10_000  # and can be looked at before the first iteration


@pytest.mark.parametrize("keep, kept", [("all", [0, 1, 2, 3]), ("best_worst", [1, 3]), ("none", [])])
def test_every_sample_has_a_row_and_those_kept_have_a_motion(plan, mdm_folder, tmp_path, keep, kept):
    policy = make_policy(mdm_folder)
    group = sample_group(policy, 4, 3)
    rewards = np.array([0.5, 0.9, 0.6, 0.1], np.float32)
    update = Update({"log_prob_gap": 0.0}, [rewards] * 2, [rewards - 0.5] * 2, Adapter.pack(1, policy.adapter_state()))
    keeping = plan.config.replace(rollout=plan.config.rollout.replace(keep=keep))
    report, store = report_to(dataclasses.replace(plan, config=keeping), tmp_path)
    store.log_batch = lambda *_, **__: None
    recomputed = {"log_ratio": group.log_probs + 1, "kl": group.log_probs + 2}
    report.iteration(0, [group] * 2, [Scores({"tmr": 2 * rewards}, {})] * 2, dataclasses.replace(update, recomputed={0: recomputed}), {})
    rows, untaught = (read_rollout(report.folder.rollouts / "000000.parquet")[part] for part in (slice(4), slice(4, 8)))
    assert [i for i, row in enumerate(rows) if row["motion"] is not None] == kept
    assert all(np.isnan([row["log_ratio"], row["kl"]]).all() for row in untaught)
    for i, row in enumerate(rows):
        assert (row["reward"], row["components"]["tmr"], row["advantage"]) == (rewards[i], 2 * rewards[i], rewards[i] - np.float32(0.5))
        for name, values in {"log_probs": group.log_probs, **recomputed}.items():
            np.testing.assert_array_equal(row[name], values[i])
        if row["motion"] is not None:
            np.testing.assert_allclose(row["motion"], group.outputs[i, : group.lengths[i]], atol=1e-3)


def test_advice_is_told_once_and_kept(plan, mdm_folder, tmp_path, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda path: Disk(free=10**8))
    report, store = report_to(plan, tmp_path)
    store.log_batch = lambda *_, **__: None
    group, rewards = sample_group(make_policy(mdm_folder), 4, 3), np.zeros(4, np.float32)
    for iteration in range(2):
        report.iteration(iteration, [group], [Scores({"tmr": rewards}, {})], Update({"log_prob_gap": 0.0}, [rewards], [rewards], None), {})
    report.close("finished")
    (told,) = json.loads(report.folder.summary.read_text())["advisories"]
    assert told.startswith("full_disk at iteration 1: 1 iterations more") and "the disk has 0.1 GB. Likely cause: " in told
    assert [line for line in report.progress._console.file.getvalue().splitlines() if "full_disk" in line] == [f"advice: {told}"]


def test_what_a_run_that_goes_on_was_advised_is_not_told_again(plan, tmp_path):
    report, store = report_to(plan, tmp_path)
    store.log_batch = lambda *_, **__: None
    row = {"log_prob_gap": 0.0, "mean_reward": 0.5, "seconds_rollout": 1.0, "seconds_reward": 1.0}
    report.resume([{"iteration": i, **row} for i in range(5)], *report.watcher.state())
    assert [text.partition(" at ")[0] for text in report.advisories.told] == ["slow_reward"]
    assert "slow_reward" not in report.progress._console.file.getvalue()


def test_the_live_view_is_told_how_fast_an_iteration_was(plan, mdm_folder, tmp_path, monkeypatch):
    report, store = report_to(plan, tmp_path)
    store.log_batch, told = lambda *_, **__: None, []
    monkeypatch.setattr(report.progress, "iteration", lambda *given: told.append(given[2]))
    group, rewards = sample_group(make_policy(mdm_folder), 4, 3), np.arange(4, dtype=np.float32)
    spans = [Timing("sampler 0", "sample", 5.0, 9.0), Timing("sampler 1", "sample", 5.0, 7.0), Timing("learner", "step", 9.0, 9.0)]
    spent = {"seconds_rollout": 3.0, "seconds_update": 1.0, "seconds_evaluate": 60.0}
    scores, update = [Scores({"tmr": rewards}, {})] * 2, Update({"log_prob_gap": 0.0}, [rewards] * 2, [rewards] * 2, None)
    for metrics, measured in ((spent, spans), ({}, [])):
        report.iteration(0, [group] * 2, scores, update, metrics, measured)
    assert told == ["2 motions/s  samplers idle 25%", ""]


class Interrupted:
    """In place of the actors: SIGTERM comes before they are asked for anything."""

    publish = None

    def adapter(self):
        raise KeyboardInterrupt


def test_a_run_that_is_stopped_where_nothing_can_be_written_says_so_and_how_it_goes_on(plan, tmp_path):
    report, _ = report_to(plan, tmp_path)
    report.folder.summary.mkdir()
    with pytest.raises(RunFailed, match=f"summary.json.*once that is mended, --resume {report.folder.path} goes on"):
        supervise([Run(plan, Interrupted(), report, Keeper(plan, report.folder))])
