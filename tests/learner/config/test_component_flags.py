"""Components from flags and files, and what the original's flags stand for."""

import pytest

from learner.config.parse import parse_config, write_config
from learner.evaluate.motion.settings import EvaluateConfig
from rollout.io.errors import InputError

FOOT_SKATE = {"path": "foot_skate", "weight": 0.5, "low": 0.0, "high": 0.035, "scale": 1.0}


def components(*flags):
    return parse_config([word for flag in flags for word in flag.split()]).reward.components


def refused(flags) -> str:
    with pytest.raises(InputError) as caught:
        components(flags)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_the_default_is_tmr_and_the_feet():
    assert components() == {"tmr": {"path": "tmr.cosine", "weight": 1.0}, "foot_skate": FOOT_SKATE}


def test_components_that_are_given_replace_the_default():
    given = ("path my_module:MyReward", "weight=-0.5", "rate 1e-3", "big true", "word up", "none null", "low -3")
    assert components(*(f"--reward.components.mine.{each}" for each in given)) == {
        "mine": {"path": "my_module:MyReward", "weight": -0.5, "rate": 0.001, "big": True, "word": "up", "none": None, "low": -3}
    }


def test_flags_go_over_files_key_by_key(tmp_path):
    (tmp_path / "a.yaml").write_text("reward:\n  components:\n    a: {path: foot_skate, weight: 2}\n    b: {path: tmr.cosine}\n")
    (tmp_path / "b.yaml").write_text("reward:\n  components:\n    b: {normalise: std}\n")
    files = [f"--config {tmp_path / name}" for name in ("a.yaml", "b.yaml")]
    found = components(*files, "--reward.components.a.weight 3 --reward.components.c.path t2m.matching")
    assert found == {
        "a": {"path": "foot_skate", "weight": 3}, "b": {"path": "tmr.cosine", "normalise": "std"}, "c": {"path": "t2m.matching"},
    }  # fmt: skip
    assert list(found) == ["a", "b", "c"]


@pytest.mark.parametrize(
    "flags, name, expected",
    [
        ("--reward_model_type tmr", "tmr", {"path": "tmr.cosine", "weight": 1.0}),
        ("--reward_model_type mdm", "t2m", {"path": "t2m.matching", "weight": 1.0}),
        ("--reward_model_type t2m --reward_type matching", "t2m", {"path": "t2m.matching", "weight": 1.0}),
        ("--reward_type cosine", "tmr", {"path": "tmr.cosine", "weight": 1.0}),
    ],
)
def test_the_originals_flags_make_components(flags, name, expected, tmp_path):
    assert components(flags) == {name: expected, "foot_skate": FOOT_SKATE}
    write_config(parse_config(flags.split()), tmp_path / "config.yaml")
    assert components(f"--config {tmp_path / 'config.yaml'}") == components(flags)


@pytest.mark.parametrize(
    "flags, message",
    [
        ("--reward.components.mine.path", "--reward.components.mine.path: expected one argument"),
        ("--reward.components.mine.path --seed 1", "--reward.components.mine.path: expected one argument"),
        ("--reward.components.mine my:Mine", "--reward.components.mine: expected --reward.components.NAME.KEY VALUE"),
        ("--reward.components.mine.weight 2", "reward.components.mine.path: found None, expected a kind that ships"),
        ("--reward.components.mine.path beauty", "reward.components.mine.path: found 'beauty', expected one of tmr.cosine, "),
        ("--reward_type beauty", "--reward_type: found 'beauty', expected one of cosine, matching, r_precision, combined"),
        ("--reward_type combined", "--reward_type: found 'combined', tmr has cosine, matching"),
        ("--reward_model_type mdm --reward_type cosine", "--reward_type: found 'cosine', t2m has matching, r_precision, "),
        ("--reward_type cosine --tmr_scale 2", "--tmr_scale: found with tmr.cosine, expected --reward_model_type tmr"),
        ("--tmr_scale much", "--tmr_scale: found 'much', expected a number"),
        ("--tmr_scale 2 --reward.components.a.path foot_skate", "--tmr_scale: given beside reward.components"),
    ],
)
def test_what_makes_no_component_is_one_line(flags, message):
    assert refused(flags).startswith(message)


def test_an_evaluation_chooses_by_components_too():
    assert list(parse_config(["--reward.components.a.path", "foot_skate"], EvaluateConfig).reward.parsed()) == ["a"]
