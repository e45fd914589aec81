"""What the monitor finds in a run's metrics, how often it says so, and what it asks to be done."""

import json
import math

import numpy as np
import pytest

from learner.config.parse import parse_config
from learner.config.settings import Health, Objective, Optimizer
from learner.learner import ADAPTABLE
from learner.watch.health import ALWAYS, PRESETS, Action, Monitor, ladder
from learner.watch.rules import RULES
from rollout.io.errors import InputError

BEGAN = Objective(kind="trajectory", clip_epsilon=0.2, kl_penalty=0.1), Optimizer(learning_rate=1e-5)


def healthy(i, **changed):
    """The metrics of iteration i of a run like the shipped demo, noise included."""
    draw = np.random.default_rng(i)
    row = {
        "mean_reward": 0.8 + 0.001 * i, "std_reward": 0.12 * draw.uniform(0.6, 1.4), "mean_advantage": 1e-9, "failed_samples": 0.0,
        "zero_std_fraction": 0.0, "loss": 1e-9, "kl": 0.0003 * i, "mean_ratio": 1.0, "clip_fraction": 0.0,
        "grad_norm": 0.004 * draw.uniform(0.5, 3), "log_prob_gap": 0.0, "max_abs_log_ratio": 0.0, "mean_log_ratio": 0.0,
        "length_entropy": 1.2 * draw.uniform(0.8, 1.2), "seconds_rollout": 2.5 * draw.uniform(0.9, 1.5), "seconds_update": 5.0,
    }  # fmt: skip
    return row | changed


def watch(rows, settings=Health()):
    monitor = Monitor(settings, *BEGAN)
    return [monitor.observe(i, row) for i, row in enumerate(rows)], monitor


def run_of(name, values, **settings):
    """(iteration, level, action) of what is found when a metric takes these values, one an iteration."""
    found, _ = watch([healthy(i, **{name: value}) for i, value in enumerate(values)], Health(**settings))
    return [(f.iteration, f.level, f.action) for step in found for f in step]


@pytest.mark.parametrize("in_bf16", [{}, {"log_prob_gap": 0.01, "log_prob_tolerance": 0.02}])
def test_a_healthy_run_has_no_findings(in_bf16):
    found, monitor = watch([healthy(i, **in_bf16) for i in range(200)])
    assert found == [[]] * 200 and monitor.good and monitor.change == {}


@pytest.mark.parametrize(
    "name, changed, action",
    [
        ("log_prob_gap", {"log_prob_gap": 0.01}, Action.STOP),
        ("log_prob_gap", {"log_prob_gap": math.inf}, Action.STOP),
        ("log_prob_gap", {"log_prob_gap": 0.03, "log_prob_tolerance": 0.02}, Action.STOP),
        ("non_finite", {"loss": math.nan}, Action.STOP),
        ("non_finite", {"grad_norm": math.inf}, Action.STOP),
        ("log_ratio", {"max_abs_log_ratio": 6.0}, Action.WARN),
        ("gradient", {"grad_norm": 0.4}, Action.WARN),
        ("kl", {"kl": 0.5}, Action.WARN),
        ("prediction_norm", {"prediction_norm": 1.2}, Action.WARN),
        ("clip_fraction", {"clip_fraction": 1.0}, Action.WARN),
        ("zero_std", {"zero_std_fraction": 1.0}, Action.WARN),
        ("reward_spread", {"std_reward": 0.01}, Action.WARN),
        ("reward_spread", {"std_reward": 0.0}, Action.WARN),
        ("failed_samples", {"failed_samples": 3.0, "dropped_groups": 1.0}, Action.WARN),
        ("lengths", {"length_entropy": 0.0}, Action.WARN),
        ("not_measured", {"component_hands_mean": math.nan}, Action.WARN),
        ("throughput", {"seconds_update": 60.0}, Action.WARN),
    ],
)
def test_each_fault_is_found_and_named(name, changed, action):
    rows = [healthy(i) for i in range(12)] + [healthy(i, **changed) for i in range(12, 20)]
    found, monitor = watch(rows)
    said = [finding for step in found for finding in step]
    first = [finding for finding in said if finding.name == name][0]
    assert 12 <= first.iteration <= 15 and first.action is action
    finite = np.isfinite(list(changed.values())).all()
    assert {f.name for f in said} == ({name} if finite or name == "not_measured" else {name, "non_finite"})
    words = first.words()
    assert "\n" not in words and f"iteration {first.iteration + 1}:" in words and first.cause in words and first.remedy in words
    assert monitor.good is (action is Action.WARN)


def test_every_rule_has_a_setting_and_every_setting_a_rule():
    _, monitor = watch([])
    assert Health.model_fields.keys() - {"preset"} == set(monitor.actions) - set(ALWAYS)
    assert len(RULES) + 1 == len(monitor.actions)
    assert all(set(preset) <= set(monitor.actions) for preset in PRESETS.values())


def test_a_finding_is_said_when_it_begins_and_when_it_gets_worse():
    warn = Action.WARN
    assert run_of("kl", [0, 0.3, 0.3, 0.5, 1.2, 1.1, 0.3, 1.2]) == [(1, 1, warn), (4, 2, warn)]


def test_a_finding_has_ended_when_it_was_absent_for_five_iterations():
    warn = Action.WARN
    assert run_of("kl", [0.3, *[0] * 4, 0.3, *[0] * 5, 0.3]) == [(0, 1, warn), (11, 1, warn)]


def test_iterations_without_a_step_do_not_make_the_next_gradient_a_jump():
    assert watch([healthy(i, grad_norm=0.0 if 5 < i < 30 else 0.004) for i in range(40)])[0] == [[]] * 40


def test_one_slow_iteration_is_no_finding():
    rows = [healthy(i, seconds_update=500.0 if i == 15 else 5.0) for i in range(30)]
    assert watch(rows)[0] == [[]] * 30


def test_the_original_ladder_steps_down_one_rung_at_a_time_and_never_up():
    values = [0, 4.9, 15, 15, 15, *[0] * 10, 6, 12]
    found, monitor = watch([healthy(i, max_abs_log_ratio=value) for i, value in enumerate(values)], Health(preset="original_ladder"))
    steps = [(f.iteration, f.action, f.change) for step in found for f in step]
    first = {"learning_rate": pytest.approx(1e-6), "kl_penalty": 0.2}
    second = {"learning_rate": pytest.approx(5e-7), "kl_penalty": 0.2, "clip_epsilon": 0.1}
    assert steps[:2] == [(2, Action.ADAPT, first), (3, Action.ADAPT, second)]
    assert steps[2:] == [(15, Action.WARN, {}), (16, Action.WARN, {})]
    assert monitor.rung == 2 and monitor.change == ladder(2, *BEGAN)
    assert "from here on learning_rate 1e-06, kl_penalty 0.2" in found[2][0].words()


def test_two_findings_of_an_iteration_step_down_one_rung():
    rows = [healthy(i, max_abs_log_ratio=15.0, kl=2.0) for i in range(3)]
    found, monitor = watch(rows, Health(log_ratio="adapt", kl="adapt"))
    assert [sum(f.action is Action.ADAPT for f in step) for step in found] == [1, 1, 0] and monitor.rung == 2


def test_what_is_ignored_since_a_resume_is_forgotten():
    _, before = watch([healthy(0, kl=2.0)], Health(kl="stop"))
    after = Monitor(Health(kl="ignore"), *BEGAN)
    after.load_state(before.state())
    assert not before.good and after.good and after.observe(1, healthy(1, kl=2.0)) == []


@pytest.mark.parametrize("value, rung", [(5, 1), (9.9, 1), (10, 1), (20, 0), (197562, 0), (math.inf, 0)])
def test_the_ladder_acts_at_5_10_and_20(value, rung):
    (found,), monitor = watch([healthy(0, max_abs_log_ratio=value)], Health(preset="original_ladder"))
    (finding,) = [f for f in found if f.name == "log_ratio"]
    assert finding.level == sum(value >= threshold for threshold in (5, 10, 20))
    assert finding.action is (Action.ADAPT if rung else Action.ROLL_BACK) and monitor.rung == rung and not monitor.good


def test_of_a_clip_with_two_bounds_the_ladder_halves_both():
    """Else the upper one would stay as wide as it was, and with it what an advantage above 0 may do."""
    change = ladder(2, Objective(clip_epsilon=0.2, clip_epsilon_high=0.28), Optimizer(learning_rate=1e-5))
    assert (change["clip_epsilon"], change["clip_epsilon_high"]) == (0.1, 0.14)
    assert set(change) <= set(ADAPTABLE)


def test_without_a_kl_penalty_the_ladder_brings_one():
    assert ladder(1, Objective(), Optimizer(learning_rate=3e-4)) == {"learning_rate": pytest.approx(3e-5), "kl_penalty": 0.1}


def test_a_policy_of_ones_own_beats_the_preset():
    values = [0.3]
    assert run_of("kl", values, kl="stop") == [(0, 1, Action.STOP)]
    assert run_of("kl", values, kl="ignore") == run_of("kl", values, preset="none") == []
    assert run_of("kl", values, kl="adapt", preset="none") == [(0, 1, Action.ADAPT)]
    for preset in ("default", "original_ladder", "none"):  # of that there is nothing to choose
        assert run_of("log_prob_gap", values, preset=preset) == [(0, 2, Action.STOP)]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("preset", ["default", "original_ladder"])
def test_a_resumed_monitor_finds_what_one_that_never_stopped_finds(preset, seed):
    draw = np.random.default_rng(seed)
    rows = [
        healthy(
            i, max_abs_log_ratio=draw.choice([0, 0, 7, 12]), kl=draw.choice([0, 0.5, 2]), grad_norm=draw.choice([0.01, 0.01, 2]),
            zero_std_fraction=draw.uniform(), std_reward=draw.choice([0.1, 0.01]),
        )
        for i in range(30)
    ]  # fmt: skip
    rows = [{name: float(value) for name, value in row.items() if not name.startswith("seconds")} for row in rows]
    expected, uninterrupted = watch(rows, Health(preset=preset))
    assert sum(map(len, expected)) >= 6
    for stop in (0, 3, 11, 29):
        _, before = watch(rows[:stop], Health(preset=preset))
        after = Monitor(Health(preset=preset), *BEGAN)
        after.load_state(json.loads(json.dumps(before.state(), allow_nan=False)))
        assert (after.good, after.change) == (before.good, before.change)
        assert [after.observe(i, rows[i]) for i in range(stop, 30)] == expected[stop:]
        assert after.state() == uninterrupted.state()


def test_time_neither_adapts_nor_enters_the_state():
    rows = [healthy(i) for i in range(20)]
    slow = [row | {"seconds_update": 5.0 * (1 + i)} for i, row in enumerate(rows)]
    assert watch(rows)[1].state() == watch(slow)[1].state()
    found, monitor = watch([*rows, *[healthy(20 + i, seconds_update=90.0) for i in range(5)]])
    assert any(found) and monitor.state()["open"] == {}


@pytest.mark.parametrize(
    "flags, words",
    [
        ("--health.klo warn", "unknown flag --health.klo (did you mean --health.kl?); --help lists them all"),
        ("--health.kl adopt", "--health.kl: found 'adopt', expected one of ignore, warn, stop, roll_back, adapt"),
        ("--health.zero_std adapt", "--health.zero_std: found 'adapt', expected one of ignore, warn, stop, roll_back"),
        ("--health.throughput stop", "--health.throughput: found 'stop', expected one of ignore, warn"),
        ("--health.preset gentle", "--health.preset: found 'gentle', expected one of default, original_ladder, none"),
    ],
)
def test_an_unknown_finding_or_action_is_refused(flags, words):
    with pytest.raises(InputError) as caught:
        parse_config(flags.split())
    assert str(caught.value) == words


def test_the_policy_is_a_setting_like_any_other(tmp_path):
    (tmp_path / "run.yaml").write_text("health: {preset: none, kl: roll_back}\n")
    config = parse_config(["--config", str(tmp_path / "run.yaml"), "--health.gradient", "adapt"])
    assert config.health == Health(preset="none", kl="roll_back", gradient="adapt")
