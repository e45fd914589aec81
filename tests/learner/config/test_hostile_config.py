"""Whatever a config file or a command line holds, it becomes settings or one line that names it: nothing else, and soon."""

import json
import math

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from learner.config.parse import flatten, parse_config, write_config
from learner.config.settings import Config, settings
from learner.evaluate.motion.settings import EvaluateConfig
from rollout.io.errors import InputError
from tests.hostile import JUNK, NUMBERS, TEXTS, bounded, changed, changes, refused, survives

SETTINGS = settings(Config)
KEYS = sorted(SETTINGS)
FLAGS = [f"--{key}" for key in KEYS] + [alias for field in SETTINGS.values() for alias in field.json_schema_extra["flags"]]
SECTIONS = sorted({key.partition(".")[0] for key in KEYS})
KINDS = pytest.mark.parametrize("kind", [None, EvaluateConfig], ids=["learner.main", "learner.evaluate"])


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("hostile")


def check(place, argv: list[str], *names, kind: type | None = None) -> None:
    """What is taken is written and read back as it was: nothing that no file, no JSON and no tracking store could hold."""
    found = survives(lambda: parse_config(argv, *([kind] if kind else [])), *names)
    if not isinstance(found, str):
        write_config(found, place / "written.yaml")
        kept = found.replace(run_name=None) if isinstance(found, Config) else found  # which resumes nothing
        assert parse_config(["--config", str(place / "written.yaml")], type(found)) == kept
        json.dumps(flatten(found)).encode()
        assert all(math.isfinite(value) for value in flatten(found).values() if isinstance(value, float))


def yaml_of(content) -> str:
    return yaml.safe_dump(content, allow_unicode=True)


values = JUNK | NUMBERS | TEXTS
nested = st.dictionaries(
    st.sampled_from(SECTIONS) | TEXTS,
    st.dictionaries(st.sampled_from([key.partition(".")[2] for key in KEYS]) | TEXTS, values, max_size=3),
    max_size=3,
)
flat = st.dictionaries(st.sampled_from(SECTIONS) | TEXTS, values, max_size=3)
parts = st.fixed_dictionaries(
    {"path": st.sampled_from(["jerk", "tmr.matching", "a:b"]) | values},
    optional={key: values for key in ("weight", "normalise", "scale", "é", "1")},
)
components = st.dictionaries(st.sampled_from(["a", "tmr", "é"]) | TEXTS, parts, max_size=2)


def in_sections(found: dict) -> dict:
    content: dict = {}
    for key, value in found.items():
        section, dot, name = key.partition(".")
        content.setdefault(section, {})[name] = value if dot else None
        if not dot:
            content[section] = value
    return content


aimed = st.dictionaries(st.sampled_from(KEYS), values, min_size=1, max_size=2).map(in_sections)


@KINDS
@given(content=aimed | nested | flat | values)
def test_files_of_any_settings(place, kind, content):
    try:
        text = yaml_of(content).encode()
    except UnicodeEncodeError:
        text = json.dumps(content).encode()  # half characters as escapes
    with changed(place / "c.yaml", text) as path:
        check(place, ["--config", str(path)], path, *KEYS, kind=kind)


@given(content=components)
def test_files_of_any_reward(place, content):
    with changed(place / "c.yaml", json.dumps({"reward": {"components": content}}).encode()) as path:
        check(place, ["--config", str(path)], path, "reward.components")


@given(
    content=st.binary(max_size=100)
    | st.text(max_size=100).map(str.encode)
    | st.text(":-[]{}&*!|>%@`'\"#?, \n\tab1~.<=", max_size=40).map(str.encode)
)
def test_files_of_any_bytes(place, content):
    with changed(place / "c.yaml", content) as path:
        check(place, ["--config", str(path)], path, *KEYS)


@given(change=changes())
def test_damaged_files(place, change):
    whole = yaml_of(
        {
            "iterations": 200,
            "rollout": {"group_size": 16},
            "optimizer": {"learning_rate": 3e-4},
            "reward": {"judge": "tmr"},
            "model": {"path": "é"},
        }
    ).encode()
    with changed(place / "c.yaml", change(whole)) as path:
        check(place, ["--config", str(path)], path, *KEYS)


words = TEXTS | NUMBERS.map(lambda number: "9" * 5000 if number == 10**400 else str(number)) | st.sampled_from(FLAGS)
flags = st.tuples(
    st.sampled_from(
        [
            *FLAGS,
            "--reward.components.a.path",
            "--reward.components.a.x",
            "--reward.components.a",
            "--reward_type",
            "--reward_model_type",
            "--tmr_scale",
            "--config",
        ]
    ),
    words,
)


@KINDS
@given(
    argv=st.lists(flags.map(list) | flags.map("=".join).map(lambda word: [word]) | words.map(lambda word: [word]), max_size=3)
    | flags.map(lambda pair: [list(pair)])
)
def test_any_command_line(place, kind, argv):
    check(place, [word for part in argv for word in part if word not in ("-h", "--help")], kind=kind)


LAUGHS = "a0: &a0 [x, x, x, x, x, x, x, x]\n" + "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 8)}]\n" for i in range(1, 12))
BOMBS = {
    "laughs": "reward:\n  components:\n    a:\n      path: jerk\n" + "".join(f"      {line}\n" for line in LAUGHS.splitlines()),
    "itself": "seed: &a [*a]\n",
    "merge": "seed: &a {<<: *a}\n",
    "deep": "seed: " + "[" * 20_000,
    "deep_keys": "? " * 5000,
    "many_keys": "".join(f"k{i}: 1\n" for i in range(17_000)),
    "huge": "seed: 1\n" + "#" * 10_000_000,
    "long_number": "seed: " + "9" * 100_000,
    "long_text": "run_dir: " + "é" * 500_000,
    "long_key": "k" * 900_000 + ": 1",
    "steps": "model: {steps: '" + "9" * 5000 + "'}",
    "sexagesimal": "seed: " + "1:" * 3000 + "1",
    "unhashable": "? [a]\n: 1",
    "nan_key": ".nan: 1\n.nan: 2",
    "date": "seed: 2020-13-45",
    "bool": "seed: !!bool x",
    "int": "seed: !!int x",
    "binary": "seed: !!binary é",
    "stamp": "seed: !!timestamp x",
    "set": "seed: !!set x",
    "omap": "seed: !!omap [a]",
    "pairs": "seed: !!pairs [a]",
    "twice": "model: {frames: 1, frames: 2}",
    "nul": 'run_dir: "a\\0b"',
    "half": 'run_dir: "\\ud800"',
    "in_a_list": 'lora: {targets: ["\\ud800"]}',
    "in_a_component": 'reward: {components: {a: {path: jerk, x: "\\ud800"}}}',
}


@pytest.mark.timeout(30)
@pytest.mark.parametrize("name", BOMBS)
def test_files_that_are_small_and_mean_much_are_refused(tmp_path, name):
    path = tmp_path / "c.yaml"
    path.write_text(BOMBS[name])
    with bounded():
        refused(lambda: parse_config(["--config", str(path)]), path, "model.steps", "seed")


@pytest.mark.parametrize(
    "tag", ["!!python/object/apply:os.mknod", "!!python/object/new:os.mknod", "!!python/name:os.mknod", "!!python/module:os"]
)
def test_tags_run_nothing(tmp_path, tag):
    (tmp_path / "c.yaml").write_text(f"seed: {tag} [{tmp_path / 'sprung'}]\n")
    refused(lambda: parse_config(["--config", str(tmp_path / "c.yaml")]), tmp_path / "c.yaml")
    refused(lambda: parse_config(["--reward.components.a.path", f"{tag} [{tmp_path / 'sprung'}]"]), "reward.components.a")
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize("word", ["\udcff", "a\0b"])
@pytest.mark.parametrize(
    "flag",
    [
        "--run_dir",
        "--rollout.prompts",
        "--tracking.uri",
        "--lora.targets",
        "--config",
        "--reward.components.a.path",
        "--reward.components.a.x",
    ],
)
def test_flags_of_bytes_that_are_no_text_are_refused(flag, word):
    with pytest.raises(InputError, match=flag.lstrip("-")):
        parse_config(["--reward.components.a.path", "jerk", flag, word])
