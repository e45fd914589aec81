"""What finished runs say of how far a recipe comes, by the minute."""

import json

import numpy as np
import pytest

from benchmarks.how_far import main


def finished(folder, final):
    """Of 2 iterations of 6 s and 4 samples: the reward .5, then .9, at which it has parted from the judge, then `final`."""
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text("rollout: {prompts_per_iteration: 2, group_size: 2}\n")
    stages = {f"seconds_{name}": 1.5 for name in ("rollout", "reward", "update", "publish")} | {"seconds_evaluate": 99.0}
    rows = [stages | {"heldout_reward": 0.9, "heldout_fid": 4.0, "heldout_parted": 1.0}, stages]
    (folder / "metrics.jsonl").write_text("\n".join(map(json.dumps, rows)))
    heldout = {"reward": {"before": {"mean": 0.5}, "after": {"mean": final}}, "fid": {"before": 5.0, "after": 3.0}}
    heldout["judge"] = {"before": None, "after": None}
    best = {"samples": 4, "reward": {"before": {"mean": 0.7}}}
    (folder / "summary.json").write_text(json.dumps({"heldout": heldout, "best_of_base": best}))


def test_a_recipe_is_its_seeds_by_minute_and_sample(tmp_path):
    for seed, final in enumerate((0.6, 0.8)):
        finished(tmp_path / "mine" / f"seed{seed}", final)
    assert main(["--out", str(tmp_path / "out"), str(tmp_path / "mine")]) == 0
    mine = json.loads((tmp_path / "out" / "how_far.json").read_text())["mine"]
    curve = mine["curve"]
    assert [point["samples"] for point in curve] == [0, 4, 8] and [point["parted"] for point in curve] == [0, 2, 0]
    np.testing.assert_allclose([point["minutes"] for point in curve], [0, 0.1, 0.2])  # evaluations are no training
    assert mine["final"]["reward"] == pytest.approx({"mean": 0.7, "ci95": 12.706 * 0.1}, rel=1e-4)
    assert mine["best"]["reward"]["minutes"] == pytest.approx(0.1) and mine["best"]["fid"]["mean"] == 3 and mine["best_of_base"]["of"] == 4
    assert "judge" not in mine["final"] and "reward and judge part at minute 0.1" in (tmp_path / "out" / "table.md").read_text()
    assert (tmp_path / "out" / "how_far.png").stat().st_size > 10_000


def test_a_run_that_has_not_finished_is_named(tmp_path, capsys):
    finished(tmp_path / "mine", 0.6)
    (tmp_path / "mine" / "summary.json").unlink()
    assert main(["--out", str(tmp_path / "out"), str(tmp_path / "mine")]) == 2
    assert f"{tmp_path / 'mine'}: found no finished run" in capsys.readouterr().err and not (tmp_path / "out").exists()
