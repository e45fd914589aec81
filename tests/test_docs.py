"""What README and the pages say there is, is there: links, commands, tests and settings."""

import importlib.util
import re
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


def test_the_first_commands_of_the_readme_are_understood(tmp_path, monkeypatch):
    """Each line of README that trains with flags alone."""
    monkeypatch.chdir(ROOT)
    lines = re.findall(r"^python -m learner\.main ((?:--[\w.]+ [\w.:-]+ ?)+)(?:#.*|\\)?$", (ROOT / "README.md").read_text(), re.M)
    understood = []
    for line in lines:
        try:
            understood.append(parse_config(line.split()))
        except InputError as error:
            assert "my.yaml" in str(error) or "no such" in str(error) or "not found" in str(error), error
    assert len(understood) >= 2
