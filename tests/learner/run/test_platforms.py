"""TensorBoard and W&B get MLflow's numbers, are named when they are not installed, and end no run."""

import importlib.util

import pytest

from learner.config.parse import parse_config
from learner.run.platforms import PACKAGES, WRITERS, Platform, require_platform
from learner.run.tracking import Tracker
from rollout.io.errors import InputError

INSTALLED = {package: importlib.util.find_spec(package) is not None for package in PACKAGES.values()}


def config(platform: str):
    return parse_config(["--train_platform_type", platform])


@pytest.mark.parametrize("platform, package", PACKAGES.items())
def test_a_package_that_is_not_installed_is_named_with_its_command(platform, package):
    require_platform("NoPlatform")
    if INSTALLED[package]:
        require_platform(platform)
    else:
        with pytest.raises(InputError, match=rf"^tracking.platform: {platform} needs .* pip install 'motion-grpo\[{package}\]'$"):
            require_platform(platform)


def logged(platform: str, folder, monkeypatch) -> list[str]:
    """What was told while two iterations were logged and the run was closed."""
    for name, value in {"WANDB_MODE": "offline", "WANDB_DIR": str(folder), "HOME": str(folder)}.items():
        monkeypatch.setenv(name, value)
    told = []
    tracker = Tracker.start(config(platform), folder, told.append)
    for iteration, value in enumerate((1.0, float("nan"))):
        tracker.log(iteration, {"reward": value})
    tracker.finish("finished")
    return told


@pytest.mark.skipif(not INSTALLED["tensorboard"], reason="tensorboard is not installed")
def test_tensorboard_has_the_numbers(tmp_path, monkeypatch):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    folder = tmp_path / "run"
    folder.mkdir()
    assert logged("TensorboardPlatform", folder, monkeypatch) == []
    found = EventAccumulator(str(folder / "tensorboard")).Reload()
    values = {name: [(event.step, event.value) for event in found.Scalars(name)] for name in found.Tags()["scalars"]}
    assert values == {"reward": [(0, 1.0)], "reward_nonfinite": [(1, 1.0)]}


@pytest.mark.skipif(not INSTALLED["wandb"], reason="wandb is not installed")
def test_wandb_has_a_run(tmp_path, monkeypatch):
    folder = tmp_path / "run"
    folder.mkdir()
    assert logged("WandBPlatform", folder, monkeypatch) == []
    (written,) = folder.glob("wandb/offline-run-*/*.wandb")
    assert written.stat().st_size > 100 and b"reward_nonfinite" in written.read_bytes()


class Noted:
    """In place of a platform's writer: what it was given, by name."""

    taken = {}

    def __init__(self, config, run_folder, first):
        self.taken.clear()

    def log(self, iteration, metrics):
        for name, value in metrics.items():
            self.taken.setdefault(name, []).append((iteration, value))

    def finish(self):
        self.taken["finished"] = True


@pytest.mark.parametrize("platform", WRITERS)
def test_every_platform_is_given_the_names_and_numbers_that_mlflow_has(tmp_path, monkeypatch, platform):
    from mlflow import MlflowClient

    monkeypatch.setitem(WRITERS, platform, Noted)
    folder = tmp_path / "run"
    folder.mkdir()
    assert logged(platform, folder, monkeypatch) == [] and Noted.taken.pop("finished")
    client = MlflowClient(tracking_uri=f"sqlite:///{tmp_path / 'mlflow.db'}")
    (run,) = client.search_runs([experiment.experiment_id for experiment in client.search_experiments()])
    known = {name: [(each.step, each.value) for each in client.get_metric_history(run.info.run_id, name)] for name in run.data.metrics}
    assert known == Noted.taken and set(known) == {"reward", "reward_nonfinite"}


class Broken:
    """Takes one iteration, and then no more."""

    def __init__(self, config, run_folder, first):
        self.taken = []

    def log(self, iteration, metrics):
        if self.taken:
            raise ConnectionError("https://me:sesame@host is gone")
        self.taken.append(iteration)


def test_one_that_fails_is_told_once_and_ends_nothing(tmp_path, monkeypatch):
    monkeypatch.setitem(WRITERS, "WandBPlatform", Broken)
    told = []
    platform = Platform(config("WandBPlatform"), tmp_path, told.append)
    for iteration in range(4):
        platform.log(iteration, {"reward": 1.0})
    platform.finish()
    assert told == ["warning: WandBPlatform gets no more numbers (https://***@host is gone); MLflow gets them all"]
