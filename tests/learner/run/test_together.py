"""What several seeds say together."""

import numpy as np
import pytest
from scipy.stats import t

from learner.run.together import table, together


def summary(seed: int, gain: float, half: float, fid: float | None, status: str = "finished") -> dict:
    reward = {"before": {"mean": 0.5, "ci95": 0.01}, "after": {"mean": 0.5 + gain, "ci95": 0.01}, "gain": {"mean": gain, "ci95": half}}
    heldout = {"reward": reward, "components": {"tmr": {"before": 0.5, "after": 0.6 + gain, "gain": {"mean": gain, "ci95": np.nan}}}}
    return {
        "status": status, "iterations": 4 + seed, "seed": seed, "adapter_sha256": f"of{seed}", "max_log_prob_gap": 0.0,
        "warnings": ["odd"] * seed,
        "heldout": {**heldout, "fid": {"before": 40.0, "after": fid}}, "trained": {"reward": reward},
        "best_of_base": {"samples": 4, "reward": reward, "judge": {**reward, "gain": {"mean": gain - 0.4, "ci95": half}}},
    }  # fmt: skip


RUNS = {0: summary(0, 0.1, 0.03, 30.0), 1: summary(1, 0.2, 0.04, 20.0), 2: summary(2, 0.6, 0.05, 10.0, "stopped")}


def test_the_interval_is_over_seeds_and_beside_it_that_of_their_own():
    found = together(RUNS)
    gain = found["heldout"]["reward"]["gain"]
    assert gain["mean"] == pytest.approx(0.3) and gain["ci95"] == pytest.approx(t.ppf(0.975, 2) * np.std([0.1, 0.2, 0.6], ddof=1) / 3**0.5)
    assert gain["ci95_within"] == pytest.approx((0.03**2 + 0.04**2 + 0.05**2) ** 0.5 / 3)
    fid = found["heldout"]["fid"]
    assert (fid["before"]["mean"], fid["after"]["mean"], fid["gain"]["mean"]) == (40, 20, -20) and fid["gain"]["ci95"] > 20
    assert found["heldout"]["components"]["tmr"]["gain"]["mean"] == pytest.approx(0.3)


def test_all_ended_as_the_worst_of_them_and_every_warning_says_whose_it_is():
    found = together(RUNS)
    assert (found["status"], found["iterations"], found["seeds"]) == ("stopped", 4, [0, 1, 2])
    assert found["warnings"] == ["seed 1: odd", "seed 2: odd", "seed 2: odd"] and found["adapters"] == {"0": "of0", "1": "of1", "2": "of2"}


def test_what_one_of_them_has_not_measured_is_not_measured_over_them():
    found = together({**RUNS, 3: summary(3, 0.1, 0.03, None)})
    assert found["heldout"]["fid"]["after"] is None and "gain" not in found["heldout"]["fid"]
    killed = {name: value for name, value in RUNS[0].items() if name not in ("heldout", "best_of_base", "trained")} | {"status": "killed"}
    assert together({**RUNS, 3: killed}).keys() == found.keys() - {"heldout", "best_of_base", "trained"}


def test_the_table_has_a_column_for_every_seed():
    lines = table(together(RUNS), RUNS).splitlines()
    assert lines[0] == "|  | seed 0 | seed 1 | seed 2 | before | after | gain over seeds |"
    of_each = "| held-out reward | +0.100±0.030 better | +0.200±0.040 better | +0.600±0.050 better"
    assert lines[2].startswith(f"{of_each} | 0.500±0.000 | 0.800±0.657 | +0.300±0.657")


def test_beside_the_best_of_the_base_there_is_an_interval_over_seeds_too():
    found = together(RUNS)["best_of_base"]
    gain = found["judge"]["gain"]
    assert found["samples"] == 4 and gain["mean"] == pytest.approx(-0.1)
    assert gain["ci95"] == pytest.approx(t.ppf(0.975, 2) * np.std([0.1, 0.2, 0.6], ddof=1) / 3**0.5)
    (line,) = [line for line in table(together(RUNS), RUNS).splitlines() if line.startswith("| beside best of 4 of the base: judge ")]
    assert "| -0.300±0.030 worse |" in line and line.endswith("| -0.100±0.657 no clear change |")
