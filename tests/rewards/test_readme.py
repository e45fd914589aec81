"""What the page on rewards says: every kind is there, the examples work, the figures are those that ship."""

import re
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

import rewards
from rewards.components import parse_components
from rewards.language import kinds as language
from rewards.motion.kinds import KINDS
from rewards.motion.motions import Motions
from rewards.motion.real_band import real_statistics
from rewards.own_class import use_folder
from tests.figures import walker

PAGE = (Path(rewards.__file__).parent / "README.md").read_text()


def block(language: str) -> str:
    return re.search(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)[1]


def row(start: str) -> list[str]:
    line = next(line for line in PAGE.split("\n") if line.startswith(f"| {start}"))
    return [cell.strip() for cell in line.strip("| ").split(" | ")]


def test_every_kind_that_ships_is_described():
    assert not [kind for kind in [*KINDS.shipped, *language.KINDS.shipped] if f"`{kind}`" not in PAGE]


@pytest.fixture
def my_reward(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "my_reward.py").write_text(block("python"))
    use_folder(str(tmp_path))
    yield
    sys.modules.pop("my_reward", None)


def test_the_example_of_an_own_reward_measures_what_it_says(my_reward):
    from rollout.motion.features import joints_to_features

    joints = walker(13)
    joints[:, [20, 21], 1] = joints[:, [15], 1] + 0.1
    features = np.stack([joints_to_features(joints)] * 2)
    features[1, 8:] = np.nan
    motions = Motions(features, np.array([12, 8]), ["a person raises the hands"] * 2)
    settings = {"hands": {"path": "my_reward:RaisedHands", "limit": 0.05}, "more": {"path": "my_reward:RaisedHands"}}
    capped, free = (KINDS.build(name, part, None)(motions) for name, part in parse_components(settings).items())
    np.testing.assert_allclose(capped, [0.05, 0.05], atol=1e-6)
    np.testing.assert_allclose(free, [0.1, 0.1], atol=1e-3)


def test_the_example_of_a_configuration_can_be_built():
    components = parse_components(yaml.safe_load(block("yaml"))["reward"]["components"])
    assert {name: part.weight for name, part in components.items()} == {"text": 1.0, "feet": 0.5, "calm": 0.1, "mine": 0.2}
    assert KINDS.build("feet", components["feet"], None).high == 0.05
    assert components["mine"].normalise == "std"


@pytest.mark.parametrize(
    ("start", "name"),
    [("foot skate, m/s", "foot_skate"), ("penetration", "ground_penetration"), ("floating, m", "floating"), ("jerk, m", "jerk"),
     ("smoothness, m", "smoothness"), ("root drift", "root_drift"), ("feature consistency", "feature_consistency")],
)  # fmt: skip
def test_the_range_of_real_motion_is_the_one_that_ships(start, name):
    quantiles = real_statistics()["measures"][name]["quantiles"]
    for shown, quantile in zip(row(start)[1:4], ("0.05", "0.5", "0.95")):
        digits = len(shown.partition(".")[2])
        assert float(shown) == pytest.approx(quantiles[quantile], abs=0.51 * 10**-digits)
