"""A KIT-ML model of random weights in the official format goes through the whole project as a HumanML3D one does."""

import numpy as np
import pytest
from PIL import Image

from learner.main import main
from learner.report.content import content_of
from rewards.inspect.__main__ import main as inspect
from rollout.motion import export, sample
from rollout.motion.checkpoint import open_checkpoint
from rollout.motion.skeleton import KIT
from tests.end_to_end.conftest import Run
from tests.tiny import FRAMES, write_run_config

PARTS = ("foot_skate", "jerk", "root_drift", "feature_consistency", "diversity")


@pytest.fixture(scope="module")
def config_file(tmp_path_factory):
    components = {"tmr": {"path": "tmr.cosine"}, **{name: {"path": name, "weight": 0.1} for name in PARTS}}
    return write_run_config(tmp_path_factory.mktemp("kit"), KIT, reward={"components": components})


@pytest.fixture(scope="module")
def trained(config_file, runs, head):
    done = head.run(main, "--config", config_file, "--run_dir", runs / "kit", "--evaluate.every", 1)
    return Run(runs / "kit", done)


def test_it_learns_is_judged_and_is_recorded(trained):
    assert (trained.done.returncode, trained.summary["max_log_prob_gap"]) == (0, 0)
    (told,) = trained.done.stderr.splitlines()
    assert "feature_consistency, foot_skate, jerk, root_drift: of KIT-ML no real motion was measured" in told
    assert all(row["mean_ratio"] == 1 and row["grad_norm"] > 0 and np.isfinite(row["heldout_judge"]) for row in trained.metrics)
    for row in (row for rollout in trained.rollouts for row in rollout):
        assert row["motion"].shape == (FRAMES, 251) and set(row["components"]) == {"tmr", *PARTS}
        assert np.isfinite([row["reward"], *row["components"].values()]).all()
    assert trained.summary["heldout"]["foot_skate"].keys() >= {"before", "after"}
    assert Image.open(trained.folder / "before_after.gif").n_frames == FRAMES


def test_its_page_draws_bodies_of_its_own(trained):
    (run,) = content_of([trained.folder])["runs"]
    assert run["shown"]["fps"] == 12.5 and run["shown"]["names"] == KIT.names and run["shown"]["feet"] == [(18, 20), (13, 15)]
    assert run["shown"]["real"] == {} and run["shown"]["format"] == "KIT-ML"  # and not where HumanML3D's lies
    assert run["outputs"] and run["verdict"]["defects"] == []


def test_its_adapter_samples_and_exports_and_its_motions_are_inspected(trained, config_file, tmp_path, capsys):
    folder, models = config_file.parent, ["--model", str(config_file.parent / "mdm"), "--adapter", str(trained.folder / "adapter")]
    sampled, frames = tmp_path / "sampled", ["--frames", str(FRAMES), "--dataset", "kit"]
    assert sample.main([*models, *frames, "--prompts", str(folder / "heldout.txt"), "--samples", "4", "--out", str(sampled)]) == 0
    assert np.load(sampled / "000.joints.npy").shape == (FRAMES, 21, 3)
    assert "Frame Time: 0.080000" in (sampled / "000.bvh").read_text()
    assert export.main([*models, "--out", str(tmp_path / "exported")]) == 0
    assert open_checkpoint(tmp_path / "exported").format is KIT
    evaluators = ["--reward.tmr_path", str(folder / "tmr"), "--reward.t2m_path", str(folder / "t2m")]
    picture = ["--picture", str(tmp_path / "inspection.png")]
    assert inspect([str(sampled), *evaluators, *picture, "--reward.components.slide.path", "foot_skate"]) in (0, 1)  # 1: faults were found
    assert "slide: no real motion of KIT-ML was measured, these motions" in capsys.readouterr().out
    assert inspect([str(sampled), *picture]) == 2
    assert "tmr: motions of 251 features, the evaluator reads 263" in capsys.readouterr().err
