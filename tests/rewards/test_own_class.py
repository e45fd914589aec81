"""A configuration names a reward of the user's own and runs no other code, by whichever door it comes in."""

import json
import sys

import pytest
import yaml

from learner.config.resume import FORMAT
from learner.diagnose.__main__ import main as diagnose
from learner.main import main as train
from learner.run.folder import RunFolder
from rewards.inspect.__main__ import main as inspect
from rewards.own_class import find_class, sources_of, use_folder
from rollout.io.errors import InputError
from tests.tiny import write_run_config

EVIL = """
import abc, enum, os, pathlib
from users_elsewhere import Elsewhere

def touch(command):
    pathlib.Path(command).touch()

class Meta(type):
    def __call__(cls, command):
        touch(command)
    def __instancecheck__(cls, other):
        touch("instancecheck")
    def __getattribute__(cls, name):
        touch("getattribute")
        return super().__getattribute__(name)

class Called(metaclass=Meta):
    def __call__(self, motions):
        pass

class Looks:
    def __init__(self, command):
        touch(command)
    @property
    def __class__(self):
        touch("class")

class Colour(enum.Enum):
    RED = 1
    def __call__(self, motions):
        pass

instance = Looks.__new__(Looks)
Alias = pathlib.Path
"""
GOOD = """
import abc
import numpy as np
from rewards.reward import Reward

class Good(Reward):
    def __call__(self, motions):
        return np.arange(len(motions), dtype=np.float32)

class Inherits(Good, abc.ABC):
    pass
"""
HOSTILE = [
    "os:system", "subprocess:Popen", "builtins:exec", "pathlib:Path", "posix:system", "sys:exit", "runpy:run_path", "site:main",
    "yaml:YAMLObject", "torch.nn:Linear", "functools:partial", "learner.learner:Learner", "users_evil:touch", "users_evil:Called",
    "users_evil:Looks", "users_evil:instance", "users_evil:Colour", "users_evil:Alias", "users_evil:Elsewhere", "users_evil:os",
]  # fmt: skip


@pytest.fixture
def here(tmp_path, monkeypatch):
    """The working folder, with modules of the user in it."""
    (tmp_path / "users_evil.py").write_text(EVIL)
    (tmp_path / "users_elsewhere.py").write_text("class Elsewhere:\n    def __init__(self, command): open(command, 'w')\n    def __call__(self, m): pass\n")
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.chdir(tmp_path)
    use_folder(str(tmp_path))
    yield tmp_path
    for name in [name for name in sys.modules if name.startswith("users_")]:
        del sys.modules[name]


@pytest.fixture(scope="module")
def settings(tmp_path_factory):
    """Those of a whole run of seconds, as nested dicts."""
    return yaml.safe_load(write_run_config(tmp_path_factory.mktemp("settings")).read_text())


def dry_run(settings, here):
    (here / "theirs.yaml").write_text(yaml.safe_dump(settings))
    return train(["--config", "theirs.yaml", "--dry_run"])


def dry_run_of_a_run_folder(settings, here):
    folder = somebody_elses(settings, here)
    return train(["--config", str(folder / "config.yaml"), "--dry_run"])


def resume(settings, here):
    return train(["--resume", str(somebody_elses(settings, here))])


def trusted_resume(settings, here):
    module = settings["reward"]["components"]["x"]["path"].partition(":")[0]
    return train(["--resume", str(somebody_elses(settings, here)), "--trust", module])


def inspect_motions(settings, here):
    (here / "theirs.yaml").write_text(yaml.safe_dump(settings))
    return inspect(["nowhere", "--config", "theirs.yaml"])


def inspect_with_a_run_folder(settings, here):
    return inspect(["nowhere", "--config", str(somebody_elses(settings, here) / "config.yaml")])


def somebody_elses(settings, here):
    folder = RunFolder.create(here / "run").path
    (folder / "run.json").write_text(json.dumps({"format": FORMAT, "user": 0, "started_in": "/home/somebody", "inode": 1}))
    (folder / "config.yaml").write_text(yaml.safe_dump(settings))
    return folder


DOORS = [dry_run, dry_run_of_a_run_folder, resume, trusted_resume, inspect_motions, inspect_with_a_run_folder]


@pytest.mark.parametrize("path", HOSTILE)
def test_what_is_no_class_of_the_users_own_is_refused_and_not_run(here, path):
    with pytest.raises(InputError) as caught:
        find_class("reward.components.x.path", path)
    assert str(caught.value).startswith("reward.components.x.path: ")
    assert not {path.name for path in here.iterdir()} & {"instancecheck", "getattribute", "class"}


@pytest.mark.parametrize("door", DOORS, ids=lambda door: door.__name__)
@pytest.mark.parametrize(
    "path, options",
    [
        ("os:system", {"command": "touch it"}),
        ("subprocess:Popen", {"args": ["touch", "it"]}),
        ("builtins:exec", {"source": "open('it', 'w')"}),
        ("pathlib:Path", {}),
        ("users_evil:touch", {"command": "it"}),
        ("users_evil:Called", {"command": "it"}),
        ("users_evil:instance", {"command": "it"}),
        ("users_evil:Elsewhere", {"command": "it"}),
    ],
)
def test_by_no_door_a_configuration_runs_other_code(here, settings, capsys, door, path, options):
    reward = settings["reward"] | {"components": {"x": {"path": path, **options}}}
    assert door(settings | {"reward": reward}, here) == 2
    stdout, stderr = capsys.readouterr()
    assert stdout == "" and stderr.startswith("error: reward.components.x.path: ") and stderr.count("\n") == 1
    assert not (here / "it").exists() and not (here / "run" / "it").exists()
    if door in (resume, dry_run_of_a_run_folder, inspect_with_a_run_folder):
        module = path.partition(":")[0]
        assert f"would have module {module!r} run" in stderr and stderr.endswith(f"--trust {module} allows it\n")
        assert not module.startswith("users_") or module not in sys.modules


def test_a_class_of_ones_own_comes_through_every_door(here, settings):
    (here / "users_good.py").write_text(GOOD)
    reward = settings["reward"] | {"components": {"x": {"path": "users_good:Good"}}}
    for words in (["--config", "theirs.yaml"], ["--config", "theirs.yaml", "--reward.components.x.path", "users_good:Inherits"]):
        (here / "theirs.yaml").write_text(yaml.safe_dump(settings | {"reward": reward}))
        assert train([*words, "--dry_run"]) == 0
    folder = somebody_elses(settings | {"reward": reward}, here)
    assert train(["--config", str(folder / "config.yaml"), "--dry_run", "--trust", "users_good"]) == 0
    assert train(["--config", str(folder / "config.yaml"), "--dry_run", "--reward.components.x.path", "users_good:Good"]) == 0


def test_what_hides_a_module_is_named(here):
    (here / "json.py").write_text("class Mine:\n    def __call__(self, motions): pass\n")
    (here / "rewards.py").write_text("class Mine:\n    def __call__(self, motions): pass\n")
    for module in ("json", "rewards"):
        with pytest.raises(InputError, match=rf"^x: {here}/{module}.py is hidden by /.*/{module}/__init__.py, which has its name; give it another$"):
            find_class("x", f"{module}:Mine")


def test_a_link_out_of_the_working_folder_is_not_followed(here, tmp_path_factory):
    outside = tmp_path_factory.mktemp("outside") / "users_linked.py"
    outside.write_text("class Mine:\n    def __call__(self, motions): pass\n")
    (here / "users_linked.py").symlink_to(outside)
    with pytest.raises(InputError, match="has no module 'users_linked'"):
        find_class("x", "users_linked:Mine")


def test_a_run_is_diagnosed_without_importing_what_it_names(here, settings, capsys):
    reward = settings["reward"] | {"components": {"x": {"path": "users_evil:Called", "command": "it"}}}
    folder = somebody_elses(settings | {"reward": reward}, here)
    assert diagnose([str(folder)]) == 0
    assert "the default settings stand in" not in capsys.readouterr().out
    assert "users_evil" not in sys.modules and not (here / "it").exists()


def test_the_sources_of_a_module_are_all_that_it_names_in_the_working_folder(here):
    package = here / "users_package" / "deep"
    package.mkdir(parents=True)
    for path, text in {
        "users_package/__init__.py": "", "users_package/deep/mine.py": "import numpy\nfrom . import beside\nfrom ..top import x\nimport rewards.reward",
        "users_package/deep/beside.py": "def f():\n    import users_elsewhere", "users_package/top.py": "x = 1", "users_package/unread.py": "(",
    }.items():  # fmt: skip
        (here / path).write_text(text)
    names = ["users_elsewhere", "users_package", "users_package.deep.beside", "users_package.deep.mine", "users_package.top"]
    assert sorted(sources_of("users_package.deep.mine")) == names
    assert sources_of("rewards.motion.jerk") == sources_of("os") == {}
