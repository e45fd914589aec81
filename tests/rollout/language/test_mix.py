"""A mix takes of each file what its strategy says, and of the whole what its weight says."""

import json
from collections import Counter

import pytest

from rollout.io.errors import InputError
from rollout.language.items import read_items


@pytest.fixture
def mixed(tmp_path):
    """Writes a YAML over two files of 7 and 40 rows, and reads it."""
    for name, count in (("people", 7), ("general", 40)):
        rows = [{"problem": f"{name} {k}", "problem_type": "judge", "solution": "<answer>Yes</answer>"} for k in range(count)]
        (tmp_path / f"{name}.json").write_text(json.dumps(rows))

    def read(*entries: dict, seed: int = 0) -> list[str]:
        (tmp_path / "mix.yaml").write_text(json.dumps({"datasets": list(entries)}))
        return [item.problem for item in read_items(tmp_path / "mix.yaml", seed)]

    return read


PEOPLE, GENERAL = {"json_path": "people.json"}, {"json_path": "general.json"}


@pytest.mark.parametrize(
    ("strategy", "numbers"),
    [
        ("all", range(7)), ("first:2", range(2)), ("end:2", range(5, 7)), ("first:50%", range(4)), ("end:70%", range(2, 7)), ("end:1%", range(6, 7)),
        ("first:100%", range(7)), ("end:99", range(7)),
    ],
)  # fmt: skip
def test_a_strategy_takes_rows_of_its_own_file_and_rounds_up(mixed, strategy, numbers):
    assert mixed(PEOPLE | {"sampling_strategy": strategy}) == [f"people {k}" for k in numbers]


def test_random_rows_are_those_of_the_seed(mixed):
    entry = GENERAL | {"sampling_strategy": "random:25%"}
    first = mixed(entry)
    assert len(set(first)) == 10 and first == mixed(entry) and first != mixed(entry, seed=1)
    assert set(mixed(PEOPLE, entry)[7:]) != set(mixed(entry))  # each set draws for itself


@pytest.mark.parametrize("strategy", ["start:50%", "first", "first:", "first:-1", "first:0", "end:1.5", "random:101%", "all:3", "", "first:²", 3])
def test_a_strategy_that_does_not_exist_is_an_error(mixed, strategy):
    with pytest.raises(InputError, match=r"mix.yaml, dataset 2: sampling_strategy is"):
        mixed(PEOPLE, GENERAL | {"sampling_strategy": strategy})


def test_weights_are_shares_of_the_mix_whatever_the_files_hold(mixed):
    found = mixed(PEOPLE | {"weight": 90}, GENERAL | {"weight": 10})
    assert Counter(name.split()[0] for name in found) == {"people": 42, "general": 5}
    assert set(Counter(name for name in found if name.startswith("people")).values()) == {6}
    assert found == mixed(PEOPLE | {"weight": 0.9}, GENERAL | {"weight": 0.1})
    assert found != mixed(PEOPLE | {"weight": 90}, GENERAL | {"weight": 10}, seed=1)


def test_a_weight_is_for_all_sets_or_none(mixed):
    with pytest.raises(InputError, match="dataset 2 has no weight"):
        mixed(PEOPLE | {"weight": 1}, GENERAL)


@pytest.mark.parametrize("weight", [0, -1, "many", True, 1e400])
def test_a_weight_is_a_positive_number(mixed, weight):
    with pytest.raises(InputError, match="weight is"):
        mixed(PEOPLE | {"weight": weight})


@pytest.mark.parametrize("entry", [{}, {"json_path": 3}, PEOPLE | {"data_root": "none"}, PEOPLE | {"wieght": 1}, {"json_path": "none.json"}])
def test_an_entry_that_means_nothing_is_one_line(mixed, entry):
    with pytest.raises(InputError):
        mixed(entry)


@pytest.mark.parametrize("text", ["", "datasets: 3", "datasets: []", "a: [", "!!python/object/apply:os.system [ls]"])
def test_a_file_without_data_sets_is_one_line(tmp_path, text):
    (tmp_path / "mix.yaml").write_text(text)
    with pytest.raises(InputError, match="mix.yaml"):
        read_items(tmp_path / "mix.yaml")


def test_media_lie_below_the_data_root(tmp_path):
    (tmp_path / "clips").mkdir()
    (tmp_path / "clips" / "a.png").write_bytes(b"")
    row = {"problem": "x", "problem_type": "judge", "solution": "<answer>No</answer>", "data_type": "image", "path": "a.png"}
    (tmp_path / "rows.jsonl").write_text(json.dumps(row))
    (tmp_path / "mix.yaml").write_text("datasets: [{json_path: rows.jsonl, data_root: clips}]")
    assert read_items(tmp_path / "mix.yaml")[0].media == (("image", str((tmp_path / "clips" / "a.png").resolve())),)
    with pytest.raises(InputError, match="is missing"):
        read_items(tmp_path / "rows.jsonl")
