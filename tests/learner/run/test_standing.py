"""A run goes on only on what it began on: whatever else its result is made of is refused by name when it has changed."""

import shutil
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from learner.config.parse import parse_config
from learner.learner import State
from learner.run.folder import RunFolder
from learner.run.keeper import Keeper
from learner.run.plan import Plan
from learner.run.standing import require_same, standing_of
from rollout.io.errors import InputError
from rollout.io.machine import cpu_kind, device_kind
from rollout.motion.text import VocabularyTextEncoder
from tests.tiny import TRAINING, write_prompts, write_run_config

OWN = "import standing_helper\n\nclass Mine:\n    def __init__(self, bank):\n        pass\n\n    def __call__(self, motions):\n        return motions.lengths\n"
MINE = ["--reward.components.mine.path", "standing_mine:Mine", "--reward.components.mine.bank", "bank.txt", "--reward.components.tmr.path", "tmr.cosine"]


@pytest.fixture(scope="module")
def begun(tmp_path_factory):
    """The folder from which a run was begun, and in it run/, saved after an iteration."""
    folder = tmp_path_factory.mktemp("begun")
    write_run_config(folder)
    (folder / "standing_mine.py").write_text(OWN)
    (folder / "standing_helper.py").write_text("x = 1\n")
    (folder / "bank.txt").write_text("captions\n")
    with pytest.MonkeyPatch.context() as here:
        here.chdir(folder)
        plan = plan_of("--config", str(folder / "run.yaml"), "--run_dir", "run", *MINE)
        keeper = Keeper(plan, RunFolder.create("run"))
        keeper.begin(None)
        report = SimpleNamespace(watcher=SimpleNamespace(healthy=True, state=lambda: ({}, {})), tracker=SimpleNamespace(run_id="1"))
        keeper.finished(1, State({}, {"device": cpu_kind()}), report)
        keeper.save()
    return folder


def plan_of(*flags):
    return Plan.make(parse_config(list(flags)))


@pytest.fixture
def there(begun, monkeypatch):
    """`begun`, which a test may change."""
    kept = begun.with_name("kept")
    shutil.copytree(begun, kept)
    monkeypatch.chdir(begun)
    yield begun
    for path in begun.iterdir():
        if path.name != "run":
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    shutil.copytree(kept, begun, dirs_exist_ok=True, ignore=shutil.ignore_patterns("run"))
    shutil.rmtree(kept)


def resume(folder, *flags):
    reopened = RunFolder.reopen(folder / "run")
    with reopened.lock:  # given back at once: what is refused keeps its frames
        return Keeper(plan_of("--resume", str(folder / "run"), *flags), reopened)


def longer(path):
    path.write_text(path.read_text() + "\n")


def shifted(path):
    np.save(path, np.load(path) + 0.1)


def other_weights(path, part=None):
    """Of all networks in the file, or of `part`."""
    state = torch.load(path, weights_only=True)

    def other(found):
        return {name: other(value) for name, value in found.items()} if isinstance(found, dict) else found * 1.1

    torch.save(state | {part: other(state[part])} if part else other(state), path)


CHANGES = {
    "base checkpoint": lambda folder: other_weights(folder / "mdm/model000000123.pt"),
    "args.json": lambda folder: longer(folder / "mdm/args.json"),
    "Mean.npy": lambda folder: shifted(folder / "mdm/Mean.npy"),
    "Std.npy": lambda folder: shifted(folder / "mdm/Std.npy"),
    "text_encoder.pt": lambda folder: other_weights(folder / "mdm/text_encoder.pt"),
    "vocabulary.json": lambda folder: longer(folder / "mdm/vocabulary.json"),
    "training prompts": lambda folder: write_prompts(folder / "training.txt", [*TRAINING, "a person walks"]),
    "held-out prompts": lambda folder: write_prompts(folder / "heldout.txt", ["walks forward"]),
    "tmr evaluator": lambda folder: other_weights(folder / "tmr/last_weights/motion_encoder.pt"),
    "tmr evaluator, its statistics": lambda folder: other_weights(folder / "tmr/stats/mean.pt"),
    "tmr evaluator, its words": lambda folder: other_weights(folder / "tmr/word_embeddings.pt"),
    "t2m evaluator": lambda folder: other_weights(folder / "t2m/finest.tar", "movement_encoder"),
    "t2m evaluator, its text": lambda folder: other_weights(folder / "t2m/finest.tar", "text_encoder"),
    "t2m evaluator, its statistics": lambda folder: shifted(folder / "t2m/std.npy"),
    "reward module standing_mine": lambda folder: longer(folder / "standing_mine.py"),
    "reward module standing_helper": lambda folder: longer(folder / "standing_helper.py"),
    "reward.components.mine.bank": lambda folder: longer(folder / "bank.txt"),
}


def test_on_what_it_began_on_a_run_goes_on(there):
    assert resume(there).first == 1
    assert resume(there, "--iterations", "40").first == 1


def test_where_it_lies_may_change(there):
    before = standing_of(plan_of("--resume", str(there / "run")))
    (there / "moved").mkdir()
    for name in ("mdm", "tmr", "t2m", "training.txt"):
        (there / name).rename(there / "moved" / name)
    moved = {"model.path": "mdm", "reward.tmr_path": "tmr", "reward.t2m_path": "t2m", "rollout.prompts": "training.txt"}
    now = standing_of(plan_of("--config", "run.yaml", *MINE, *(word for key, name in moved.items() for word in (f"--{key}", f"moved/{name}"))))
    assert before != now and len(before) == len(CHANGES) - 4 + 1
    require_same(before, now)


@pytest.mark.parametrize("name", CHANGES)
def test_what_has_changed_is_refused_by_name(there, name):
    CHANGES[name](there)
    with pytest.raises(InputError) as caught:
        resume(there)
    words = str(caught.value)
    assert words.startswith("resume: changed since the run began, which would go on in other bits: ") and "\n" not in words
    assert f" {name.partition(',')[0]}: " in words and " (sha256 " in words and " -> " in words


def test_the_encoder_of_prompts_is_known_by_what_it_makes_of_them(there, monkeypatch):
    encode = VocabularyTextEncoder.encode
    monkeypatch.setattr(VocabularyTextEncoder, "encode", lambda self, text: encode(self, text) * np.float32(1.5))
    with pytest.raises(InputError, match=r"bits: encoder of prompts: by what it makes of them \(sha256 \w{8}\) -> by what it makes of them \(sha256 \w{8}\)$"):
        resume(there)


@pytest.mark.parametrize("device", ["NVIDIA H100 80GB HBM3, torch 2.13.0", cpu_kind().replace("torch ", "torch 1."), f"Another {cpu_kind()}"])
def test_another_kind_of_device_is_refused(there, device):
    keeper = resume(there)
    keeper.require_device(device_kind("cpu"))
    with pytest.raises(InputError) as caught:
        keeper.require_device(device)
    assert str(caught.value) == f"resume: changed since the run began, which would go on in other bits: device: {cpu_kind()} -> {device}"
