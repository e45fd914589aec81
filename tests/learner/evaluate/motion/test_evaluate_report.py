"""What an evaluation leaves behind: rows with means, intervals and every value."""

import dataclasses
import json

import numpy as np
import pytest
from mlflow import MlflowClient
from PIL import Image

from learner.config.settings import Tracking
from learner.evaluate.motion.evaluation import _by_metric, chosen
from learner.evaluate.motion.measures import METRICS, Measured
from learner.evaluate.motion.report import EvaluationReport, Row, table
from learner.evaluate.motion.settings import EvaluateConfig
from learner.run.progress import Progress
from learner.run.tracking import Tracker


def row(name: str, source: str | None = None, shift: float = 0.0, **extra) -> Row:
    values = {metric: [1.0 + shift, 3.0 + shift] for metric in METRICS if metric != "multimodality"}
    return Row(name, source, "ab" * 32 if source else None, values | extra)


@pytest.fixture
def report(tmp_path):
    config = EvaluateConfig(tracking=Tracking(uri=f"sqlite:///{tmp_path / 'mlflow.db'}"))
    folder = tmp_path / "out"
    folder.mkdir()
    return EvaluationReport(config, folder, Progress(4), Tracker.start(config, folder), ["a note"])


def content(report) -> dict:
    return json.loads((report.folder / "evaluation.json").read_text())


def test_every_value_its_mean_and_its_interval_are_kept(report):
    report.add(row("ground truth"))
    assert content(report)["status"] == "running"  # what is finished is on disk while the rest goes on
    report.add(row("tuned+1", "runs/tuned/adapter", 2.0, multimodality=[5.0], fid=[np.nan, 2.0]))
    report.close("finished")
    found = content(report)
    assert (found["status"], found["seed"], found["replications"], found["samples"]) == ("finished", 0, 20, 1024)
    assert found["notes"] == ["a note"] and found["settings"]["model"]["frames"] == 40
    real, tuned = found["rows"]
    assert real["metrics"]["mm_dist"] == {"mean": 2.0, "ci95": pytest.approx(1.96 / np.sqrt(2)), "values": [1.0, 3.0]}
    assert "multimodality" not in real["metrics"]
    assert tuned["metrics"]["multimodality"] == {"mean": 5.0, "ci95": None, "values": [5.0]}
    assert tuned["metrics"]["fid"]["mean"] == "nan"
    assert (tuned["adapter"], tuned["adapter_sha256"]) == ("runs/tuned/adapter", "ab" * 32)
    text = (report.folder / "table.md").read_text()
    assert "| tuned+1" in text and "* a note" in text
    assert Image.open(report.folder / "evaluation.png").size[0] > 1000

    client = MlflowClient(report.tracker.uri)
    run = client.get_run(report.tracker.run_id)
    assert run.info.status == "FINISHED"
    assert run.data.metrics["ground truth/mm_dist"] == 2.0 and run.data.metrics["tuned_1/multimodality"] == 5.0
    assert run.data.params["model.frames"] == "40"
    assert {file.path for file in client.list_artifacts(report.tracker.run_id)} == {"evaluation.json", "evaluation.png", "table.md"}


def test_a_stopped_evaluation_keeps_the_rows_it_finished(report):
    report.add(row("ground truth"))
    report.close("killed")
    assert content(report)["status"] == "killed" and len(content(report)["rows"]) == 1


def test_a_fid_of_too_few_motions_is_told_in_words(report):
    report.add(row("ground truth", fid=[]))
    report.close("finished")
    assert content(report)["rows"][0]["metrics"]["fid"] == "too few motions"
    assert "| too few motions |" in (report.folder / "table.md").read_text()
    assert "ground truth/fid" not in MlflowClient(report.tracker.uri).get_run(report.tracker.run_id).data.metrics


def test_one_stopped_before_its_first_row_still_says_so(report):
    report.close("killed")
    assert content(report)["rows"] == []
    assert MlflowClient(report.tracker.uri).get_run(report.tracker.run_id).info.status == "KILLED"


def test_the_table_has_a_line_for_each_row_in_aligned_columns():
    lines = table([row("ground truth"), row("base", multimodality=[4.0])])
    first, second = lines[:4], lines[5:]
    assert lines[4] == "" and len(second) == 4
    for part in (first, second):
        assert len({len(line) for line in part}) == 1
        assert [line.count("|") for line in part] == [part[0].count("|")] * 4
    assert first[2].startswith("| ground truth | 2.000 ± 1.386 |")
    assert first[2].endswith("| -               |") and first[3].endswith("| 4.000           |")


def test_a_metric_without_numbers_is_no_value_of_any_replication():
    found = [{"fid": "too few motions", "mm_dist": 1.0, "multimodality": 4.0}, {"fid": "too few motions", "mm_dist": 2.0}]
    assert _by_metric(found) == {"fid": [], "mm_dist": [1.0, 2.0], "multimodality": [4.0]}


def test_an_adapter_stands_beside_the_best_of_the_base(report):
    report.add(row("ground truth"))
    report.add(row("base"))
    report.add(Row("base best of 4", None, "ab" * 32, {"fid": [], "mm_dist": [5.0, 6.0], "joints_score": [0.7, 0.8]}))
    report.add(Row("tuned", "runs/tuned/adapter", "ab" * 32, {"fid": [], "mm_dist": [4.5, 5.5], "joints_score": [0.6, 0.7]}))
    told = "tuned beside base best of 4: MM-Dist -0.500 ± 0.000, better; joints score -0.1000 ± 0.0000, worse"
    assert content(report)["notes"][-1] == told and f"* {told}" in (report.folder / "table.md").read_text()


def test_an_adapter_without_anything_to_stand_beside_has_no_notes(report):
    report.add(row("base", multimodality=[5.0]))
    report.add(Row("tuned", "runs/tuned/adapter", "ab" * 32, {"mm_dist": [4.5]}))
    assert content(report)["notes"] == ["a note"]


def test_what_the_reward_likes_best_is_chosen_for_each_motion():
    def of(rewards) -> Measured:
        return Measured(*(np.array(rewards, np.float32) + 10 * i for i in range(9)))

    rewards = [[1, 5, np.nan], [2, 4, 3], [0, np.nan, 1]]
    found = chosen([dataclasses.replace(of(each), reward=np.array(each, np.float32)) for each in rewards])
    np.testing.assert_array_equal(found.reward, [2, 5, 3])
    np.testing.assert_array_equal(found.tmr, [12, 15, 13])
