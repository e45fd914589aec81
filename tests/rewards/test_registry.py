"""From a path to a component: what is given wrong is one line that names it."""

import sys

import pytest

from rewards.components import Component, parse_components
from rewards.motion.kinds import KINDS, choose_judge, evaluators_of
from rewards.motion.real_band import FootSkate
from rewards.own_class import use_folder
from rollout.io.errors import InputError

MODULE = '''
import numpy as np

class Hands:
    def __init__(self, limit, power=2.0):
        if limit < 0:
            raise ArithmeticError("a limit below 0")
        self.limit, self.power = limit, power

    def __call__(self, motions):
        return np.full(len(motions), self.limit, np.float32)

class Silent:
    pass

class Any:
    def __init__(self, **options):
        self.options = options

    def __call__(self, motions):
        return np.zeros(len(motions), np.float32)
'''


@pytest.fixture
def mine(tmp_path, monkeypatch):
    """The user's folder with modules of their own."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "users_hands.py").write_text(MODULE)
    (tmp_path / "users_broken.py").write_text("x = 1 / 0\n")
    (tmp_path / "users_exits.py").write_text("raise SystemExit(0)\n")
    (tmp_path / "users_needs.py").write_text("import not_there_at_all\n")
    use_folder(str(tmp_path))
    yield
    for name in [name for name in sys.modules if name.startswith("users_")]:
        del sys.modules[name]


def no_evaluator(name):
    raise AssertionError(f"{name} was loaded")


def made(path, **options):
    return KINDS.build("mine", Component(path, options=options), no_evaluator)


def test_a_kind_that_ships_is_built():
    assert isinstance(made("foot_skate"), FootSkate)
    assert KINDS.build("it", Component("tmr.cosine"), {"tmr": len}.get) is len


def test_a_class_of_the_user_gets_its_options(mine):
    found = made("users_hands:Hands", limit=3)
    assert (found.limit, found.power) == (3, 2.0)
    assert made("users_hands:Any", a=1, b="x").options == {"a": 1, "b": "x"}


@pytest.mark.parametrize(
    "path, options, message",
    [
        ("users_nothing:Hands", {}, ".path: found 'users_nothing:Hands', expected a class of a file in the working folder; "),
        ("users_needs:Hands", {}, ".path: no module 'not_there_at_all' that users_needs imports"),
        ("users_broken:Hands", {}, ".path: module 'users_broken' cannot be imported: ZeroDivisionError: division by zero (us"),
        ("users_exits:Hands", {}, ".path: module 'users_exits' cannot be imported: SystemExit: 0 (users_exits.py line 1)"),
        ("users_hands:Feet", {}, ".path: module 'users_hands' defines no plain class 'Feet', found Hands, Silent, Any"),
        ("users_hands:Hands", {"limt": 1}, ".limt: unknown key, expected one of path, weight, normalise, limit, power"),
        ("users_hands:Hands", {}, ".limit: not given, users_hands:Hands needs it"),
        ("users_hands:Hands", {"limit": -1}, ": users_hands:Hands cannot be built: ArithmeticError: a limit below 0 (users_h"),
        ("users_hands:Silent", {}, ".path: users_hands:Silent has no __call__(motions), which gives the scores"),
        ("foot_skate", {"weigth": 1}, ".weigth: unknown key, expected one of path, weight, normalise, low, high, scale"),
        ("beauty", {}, ".path: found 'beauty', expected one of tmr.cosine, "),
        ("users hands:Hands", {}, ".path: found 'users hands:Hands', expected one of "),
        ("http://127.0.0.1:1/", {"timeout": 0}, ": timeout: found 0, expected a number above 0"),
        ("http://127.0.0.1:1/", {"tries": 1.5}, ": tries: found 1.5, expected a whole number of at least 1"),
    ],
)
def test_what_cannot_be_built_is_one_line(mine, path, options, message):
    with pytest.raises(InputError) as caught:
        made(path, **options)
    assert str(caught.value).startswith(f"reward.components.mine{message}") and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"a b": {"path": "jerk"}}, "reward.components.a b: expected a name of letters, digits and _"),
        ({"a": "jerk"}, "reward.components.a: found 'jerk', expected keys and values such as path: foot_skate"),
        ({"a": {"weight": 1}}, "reward.components.a.path: found None, expected a kind that ships"),
        ({"a": {"path": "jerk", "weight": "much"}}, "reward.components.a.weight: found 'much', expected a finite number"),
        ({"a": {"path": "jerk", "weight": True}}, "reward.components.a.weight: found True, expected a finite number"),
        ({"a": {"path": "jerk", "weight": float("nan")}}, "reward.components.a.weight: found nan, expected a finite number"),
        ({"a": {"path": "http://me:sesame@host"}}, "reward.components.a.path: found credentials in 'http://***@host', expected them in"),
        ({"a": {"path": "jerk", "normalise": "z"}}, "reward.components.a.normalise: found 'z', expected one of raw, std, rank, "),
    ],
)
def test_settings_that_make_no_component_are_one_line(settings, message):
    with pytest.raises(InputError) as caught:
        parse_components(settings)
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    "paths, given, judge",
    [
        (["foot_skate"], None, ("t2m", True)),
        (["tmr.cosine", "foot_skate"], None, ("t2m", True)),
        (["t2m.matching"], None, ("tmr", True)),
        (["tmr.cosine", "t2m.matching"], None, ("t2m", False)),
        (["tmr.cosine"], "tmr", ("tmr", False)),
        (["my.module:Mine", "http://127.0.0.1:1/"], "tmr", ("tmr", True)),
    ],
)
def test_the_judge_is_what_no_component_reads(paths, given, judge):
    components = {f"c{i}": Component(path) for i, path in enumerate(paths)}
    assert choose_judge(components, given) == judge
    assert (judge[0] in evaluators_of(components)) is not judge[1]
