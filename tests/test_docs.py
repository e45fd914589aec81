"""What README and the pages say there is, is there: links, commands, tests and settings."""

import contextlib
import functools
import importlib
import importlib.util
import io
import re
import shlex
from fnmatch import fnmatch
from pathlib import Path

import pytest

from learner.config.parse import parse_config
from learner.config.settings import Config, settings
from rollout.io.errors import InputError

ROOT = Path(__file__).resolve().parents[1]
PAGES = [path for path in [*ROOT.glob("*.md"), *ROOT.glob("*/*.md")] if path.parts[-2] not in (".venv", ".pytest_cache")]
TESTS = {name for path in ROOT.glob("tests/**/*.py") for name in re.findall(r"def (test_\w+)", path.read_text())}
FILES = {path.name for path in ROOT.glob("tests/**/*.py")}
SETTINGS = set(settings(Config)) | set(settings(Config, "language"))


@pytest.fixture(params=PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def page(request):
    return request.param


def test_links_lead_somewhere(page):
    links = re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text())
    assert [link for link in links if "://" not in link and not (page.parent / link).exists()] == []


def test_commands_are_those_of_a_module(page):
    modules = set(re.findall(r"python3? -m ([a-z_.]+[a-z])", page.read_text())) - {"pytest", "pip", "venv", "spacy"}
    assert [name for name in modules if importlib.util.find_spec(name) is None] == []


def test_tests_that_are_named_exist(page):
    named = {name.replace("NN", "01") for name in re.findall(r"`(test_\w+\*?)`", page.read_text())}
    assert [name for name in named if not any(fnmatch(test, name) for test in TESTS)] == []
    files = re.findall(r"tests/(?:\w+/)*(test_[\w*]+\.py)", page.read_text())
    assert [name for name in files if not any(fnmatch(file, name) for file in FILES)] == []


def test_settings_that_are_named_exist(page):
    sections = "|".join(sorted({key.split(".")[0] for key in SETTINGS if "." in key} - {"reward"}))
    named = set(re.findall(rf"(?:--|`)((?:{sections})\.[a-z_]+)\b(?![.(/])", page.read_text()))
    assert {name for name in named - SETTINGS if not (ROOT / name.replace(".", "/")).exists() and importlib.util.find_spec(name) is None} == set()


def commands(page: Path) -> list[tuple[str, list[str]]]:
    """Every command of the blocks for a shell, module and words; what follows ` #` is a word about it."""
    shell = "\n".join(re.findall(r"```bash\n(.*?)```", page.read_text(), re.S)).replace("\\\n", " ")
    found = re.findall(r"^python3? -m (\S+)(.*?)(?: +#.*)?(?: > \S+)?$", shell, re.M)
    return [(module, shlex.split(words)) for module, words in found]


@functools.lru_cache
def flags_of(module: str) -> set[str]:
    """Those that its help knows, of every family."""
    run = importlib.import_module(f"{module}.__main__" if importlib.util.find_spec(module).submodule_search_locations else module).main
    said = io.StringIO()
    for words in (["--help"], ["--family", "language", "--help"]):
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said), contextlib.suppress(SystemExit):
            run(words)
    return set(re.findall(r"--[\w.]+", said.getvalue()))


def test_flags_of_commands_are_those_of_their_module(page):
    for module, words in commands(page):
        run, _, of_the_run = " ".join(words).partition(" -- ") if module == "cluster.launch" else (" ".join(words), "", "")
        for owner, given in ((module, run), ("learner.main", of_the_run)):
            asked = {flag for flag in re.findall(r"(?<=\s)--[\w.]+", f" {given}") if not flag.startswith("--reward.components.")}
            assert asked - (flags_of(owner) if asked else set()) == set(), f"python -m {owner}"


def test_settings_of_training_commands_are_understood(page, monkeypatch):
    """Where they are not taken it is for a file that only the reader has."""
    monkeypatch.chdir(ROOT)
    for module, words in commands(page):
        if module == "learner.main" and "--help" not in words:
            try:
                parse_config(words)
            except InputError as error:
                assert re.search(r"\bnot found|no such|is no run folder|no module|not importable", str(error)), f"{words}: {error}"


def test_the_readme_says_how_to_begin():
    """What continuous integration and newcomers run, and what they may try next."""
    text = (ROOT / "README.md").read_text()
    assert {"make test", "make demo"} <= set(re.findall(r"^(make \w+)", text, re.M))
    assert "\nmake test\n" in (ROOT / ".ci" / "run").read_text()
    assert len([module for module, _ in commands(ROOT / "README.md") if module == "learner.main"]) >= 3


def test_every_page_can_be_come_to_from_the_readme():
    """By links, over other pages."""
    known, left = set(), [ROOT / "README.md"]
    while left:
        page = left.pop()
        known.add(page)
        links = re.findall(r"\]\(([^)#\s]+\.md)", page.read_text())
        left += [found for link in links if "://" not in link and (found := (page.parent / link).resolve()) not in known]
    assert {path for path in PAGES if path.parts[-2] in ("docs", ROOT.name)} - known - {ROOT / "CHANGELOG.md"} == set()
