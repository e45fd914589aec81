"""A model that ships is chosen by its name, from any folder, with its own items."""

import pytest

from learner.config.parse import parse_config
from learner.run.plan import Plan
from rollout.language.family import LANGUAGE
from rollout.language.settings import SHIPPED, Model


@pytest.mark.parametrize("name", SHIPPED)
def test_a_model_by_its_name_comes_with_its_items(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = parse_config(["--family", "language", "--model.path", name, *(["--config", name] if name == "points" else [])])
    assert config.model.path == name and config.model.checkpoint == SHIPPED[name]
    assert LANGUAGE.shipped("training", config) == SHIPPED[name] / "train.jsonl"
    assert LANGUAGE.shipped("heldout", config) == SHIPPED[name] / "heldout.jsonl"
    assert (SHIPPED[name] / "heldout.jsonl").is_file() and LANGUAGE.files(config)


def test_without_one_it_is_people():
    assert Model().checkpoint == SHIPPED["people"] and LANGUAGE.shipped("heldout").parent == SHIPPED["people"]


def test_a_folder_of_that_name_goes_first(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "points").mkdir()
    model = Model(path="points")
    assert model.checkpoint == tmp_path / "points" and model.items == SHIPPED["people"]
    assert Model(path="other").checkpoint == tmp_path / "other"


def test_a_blind_control_is_asked_the_same_held_out_questions():
    """The model is told the same of all pictures, which makes no question of another picture one that is trained on."""
    flags = ["--config", "points", "--iterations", "8", "--evaluate.prompts", "6"]
    sighted, blind = (Plan.make(parse_config([*flags, "--model.blank", blank])) for blank in ("false", "true"))
    assert [c.prompt.source for c in blind.heldout] == [c.prompt.source for c in sighted.heldout] and len(blind.heldout) == 6
    assert len({c.arrays["pixel_values"].tobytes() for c in blind.heldout}) == 1 < len({c.arrays["pixel_values"].tobytes() for c in sighted.heldout})
