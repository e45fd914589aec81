"""What was made of a text is made once on a machine; whatever becomes of the files, what is read is what was made."""

import multiprocessing
import threading

import numpy as np
import pytest
import torch

from rollout.io import kept
from rollout.io.kept import Kept, cache_folder

STANDING = {"weights": "1", "device": "cpu"}
TEXTS = [f"a person walks {steps} steps" for steps in range(9)]


def made_of(text):
    return np.full((2, 3), len(text) + ord(text[-7]), np.float32)


class Maker:
    """Counts what it is asked for."""

    def __init__(self):
        self.asked = []

    def __call__(self, text):
        self.asked.append(text)
        return made_of(text)


def read(texts=TEXTS, standing=STANDING):
    """What is found of them, and what had to be made."""
    maker = Maker()
    found = Kept(maker, standing)(texts)
    for text, array in zip(texts, found, strict=True):
        np.testing.assert_array_equal(array, made_of(text))
        assert array.dtype == np.float32
    return sorted(maker.asked)


def test_each_text_is_made_once_on_a_machine(cache_home):
    assert read([*TEXTS, *TEXTS]) == sorted(TEXTS)
    assert read(TEXTS[::-1]) == []
    assert read([*TEXTS, "a person who says \"__metadata__\" and \u00e4"]) == ["a person who says \"__metadata__\" and \u00e4"]
    assert read(["__metadata__", *TEXTS]) == ["__metadata__"]
    assert read(["__metadata__"]) == []


def test_under_another_standing_it_is_made_again(cache_home):
    assert read() == sorted(TEXTS)
    for other in ({**STANDING, "weights": "2"}, {**STANDING, "threads": "2"}, {"weights": "1"}):
        assert read(standing=other) == sorted(TEXTS)
    assert read() == []


def damaged(file):
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)


@pytest.mark.parametrize("damage", [damaged, lambda file: file.write_bytes(file.read_bytes()[:-5]), lambda file: file.write_bytes(b"")])
def test_a_damaged_file_is_not_believed_and_made_anew(cache_home, damage):
    read(TEXTS[:4])
    (first,) = cache_home.glob("*/*")
    read(TEXTS)
    damage(first)
    assert read() == sorted(TEXTS[:4])
    assert read() == []


def test_where_nothing_can_be_kept_all_goes_on(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    for value in ("file", "file/below"):
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / value))
        assert read() == read() == sorted(TEXTS)
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder() == tmp_path / ".cache" / "motion-grpo"
    monkeypatch.setenv("HOME", "relative")
    assert read() == read() == sorted(TEXTS)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_it_stays_within_its_bound_and_the_oldest_go_first(cache_home, monkeypatch):
    read(TEXTS[:3])
    (first,) = cache_home.glob("*/*")
    monkeypatch.setattr(kept, "MOST_BYTES", 3 * first.stat().st_size)
    for i in range(3, 9):
        read(TEXTS[i : i + 1], {"weights": str(i)})
    files = list(cache_home.glob("*/*"))
    assert first not in files and sum(file.stat().st_size for file in files) <= kept.MOST_BYTES
    assert read(TEXTS[8:9], {"weights": "8"}) == []


def fill(_):
    for some in (TEXTS[:5], TEXTS[3:], TEXTS):
        read(some)


def test_several_runs_at_once_spoil_nothing(cache_home):
    with multiprocessing.get_context("fork").Pool(4) as pool:
        pool.map(fill, range(12))
    assert read() == []


def test_what_is_made_side_by_side_is_made_with_the_threads_of_one(cache_home, monkeypatch):
    monkeypatch.setattr("os.cpu_count", lambda: 4)
    before, makers = torch.get_num_threads(), {}

    def make(text):
        makers[threading.get_ident()] = torch.get_num_threads()
        return made_of(text)

    Kept(make, STANDING)(TEXTS)
    assert set(makers.values()) == {before} == {torch.get_num_threads()}
