"""Where a run's numbers go beside MLflow: TensorBoard or Weights & Biases, each an optional package, of which neither can end a run."""

import importlib.util
from collections.abc import Callable, Mapping
from pathlib import Path

from learner.config.parse import flatten
from learner.config.settings import Config
from rollout.io.credentials import redacted
from rollout.io.errors import InputError

PACKAGES = {"TensorboardPlatform": "tensorboard", "WandBPlatform": "wandb"}


def require_platform(platform: str) -> None:
    """Raises InputError when its package is not installed. Imports nothing."""
    package = PACKAGES.get(platform)
    if package and not importlib.util.find_spec(package):
        raise InputError(f"tracking.platform: {platform} needs a package that is not installed: pip install 'motion-grpo[{package}]'")


class _TensorBoard:
    """Event files in `tensorboard/` of the run folder. What a resumed run repeats takes the place of what was there."""

    def __init__(self, config: Config, run_folder: Path, first: int):
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(run_folder / "tensorboard"), purge_step=first)

    def log(self, iteration: int, metrics: Mapping[str, float]) -> None:
        for name, value in metrics.items():
            self._writer.add_scalar(name, value, iteration)
        self._writer.flush()

    def finish(self) -> None:
        self._writer.close()


class _WandB:
    """A run named as the run folder, in the project `tracking.experiment`; a resumed run goes on with it."""

    def __init__(self, config: Config, run_folder: Path, first: int):
        import wandb

        self._run = wandb.init(
            project=config.tracking.experiment, name=run_folder.name, id=run_folder.name, resume="allow", dir=str(run_folder),
            config=flatten(config), settings=wandb.Settings(silent=True),
        )  # fmt: skip

    def log(self, iteration: int, metrics: Mapping[str, float]) -> None:
        self._run.log(dict(metrics), step=iteration)

    def finish(self) -> None:
        self._run.finish()


WRITERS = {"TensorboardPlatform": _TensorBoard, "WandBPlatform": _WandB}


class Platform:
    """Writes the same numbers as the tracker; after the first failure it says so, and writes no more."""

    def __init__(self, config: Config, run_folder: Path, tell: Callable[[str], None]):
        self._config, self._folder, self._tell = config, run_folder, tell
        self._open, self._writer = WRITERS.get(config.tracking.platform), None

    def log(self, iteration: int, metrics: Mapping[str, float]) -> None:
        if self._open and self._writer is None:
            self._guarded(lambda: setattr(self, "_writer", self._open(self._config, self._folder, iteration)))
        if self._writer:
            self._guarded(lambda: self._writer.log(iteration, metrics))

    def finish(self) -> None:
        if self._writer:
            self._guarded(self._writer.finish)

    def _guarded(self, do: Callable[[], None]) -> None:
        try:
            do()
        except Exception as error:  # of a service elsewhere, or a full disk
            self._open = self._writer = None
            reason = " ".join(redacted(str(error)).split())[:200] or type(error).__name__
            self._tell(f"warning: {self._config.tracking.platform} gets no more numbers ({reason}); MLflow gets them all")
