"""One MLflow run: parameters, metrics by iteration, pictures and adapter.

MLflow costs a second to import and seconds to make a new database, so both wait for `Tracker.start`.
"""

import contextlib
import fcntl
import json
import logging
import math
import os
import time
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

from learner.config.parse import flatten
from learner.config.settings import Config
from rollout.io.credentials import redacted
from rollout.io.errors import InputError, RunFailed

# What MLflow would otherwise do unasked: report home, retry a dead server for minutes, print links among our lines.
_ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "3",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}

TAG_LIMIT = 5000  # characters of a tag that every store takes


class Tracker:
    """Writes to the store of `config.tracking.uri`, else MLFLOW_TRACKING_URI, else `mlflow.db` beside the run folder."""

    def __init__(self, client, run_id: str, uri: str, logged: Mapping[str, set[int]]):
        """logged: the steps that the run has of each metric."""
        self._client = client
        self.run_id = run_id
        self.uri = uri
        self._logged = defaultdict(set, logged)

    @classmethod
    def start(cls, config: Config, run_folder: Path) -> "Tracker":
        """Open a run named after `run_folder` with every setting as a parameter (dotted keys).

        Raises InputError when the store cannot be reached or used.
        """
        run_folder, (uri, database) = Path(run_folder).resolve(), _store(config, run_folder)
        with _usable(uri):
            from mlflow import MlflowClient
            from mlflow.entities import Param

            with _alone(database):
                client = MlflowClient(tracking_uri=uri)
                experiment = _experiment(client, config.tracking.experiment, database)
            run_id = client.create_run(experiment, run_name=run_folder.name).info.run_id
            client.log_batch(run_id, params=[Param(key, value) for key, value in _values(config).items()])
        return cls(client, run_id, uri, {})

    @classmethod
    def resume(cls, config: Config, run_folder: Path, run_id: str) -> "Tracker":
        """Open the run `run_id` again, which `start` opened. What it has of a metric's step is not logged a second time.

        A setting that changed is a tag `resumed.<key>`: a run's parameters are what it began with. Raises InputError when
        the store cannot be reached or used, or does not have the run.
        """
        uri, database = _store(config, run_folder)
        with _usable(uri):
            from mlflow import MlflowClient
            from mlflow.entities import RunTag

            if database and not database.exists():
                raise OSError(f"no such file, expected the store of run {run_id}")  # and not a new one in its place
            client = MlflowClient(tracking_uri=uri)
            run = client.get_run(run_id)
            if run.info.lifecycle_stage != "active":
                raise OSError(f"run {run_id} was deleted there")
            client.update_run(run_id, status="RUNNING")
            began = run.data.params
            changed = [RunTag(f"resumed.{key}", value) for key, value in _values(config).items() if began.get(key, value) != value]
            client.log_batch(run_id, tags=changed)
            logged = {name: {metric.step for metric in client.get_metric_history(run_id, name)} for name in run.data.metrics}
        return cls(client, run_id, uri, logged)

    def log(self, iteration: int, metrics: Mapping[str, float]) -> None:
        """One batch of numbers at step `iteration`; one that is not finite is logged as `<name>_nonfinite` = 1.

        A number whose step is logged already stays as it is: a run that goes on repeats iterations, and can fill a gap with
        the rows of its metrics.jsonl.
        """
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        batch = {
            name if math.isfinite(value) else f"{name}_nonfinite": float(value) if math.isfinite(value) else 1.0
            for name, value in metrics.items()
        }
        new = [Metric(name, value, now, iteration) for name, value in batch.items() if iteration not in self._logged[name]]
        if new:
            with _usable(self.uri, RunFailed):
                self._client.log_batch(self.run_id, metrics=new)
        for metric in new:
            self._logged[metric.key].add(iteration)

    def warn(self, text: str) -> None:
        """The run bears `text` as its tag `warning`."""
        with _usable(self.uri, RunFailed):
            self._client.set_tag(self.run_id, "warning", text[-TAG_LIMIT:])

    def artifact(self, path: Path) -> None:
        """Store a file, or a folder under its own name."""
        with _usable(self.uri, RunFailed):
            self._client.log_artifact(self.run_id, str(path))

    def finish(self, status: str) -> None:
        """Close the run as FINISHED, FAILED or KILLED (in any case)."""
        if status.upper() not in ("FINISHED", "FAILED", "KILLED"):
            raise ValueError(f"status {status!r}, expected FINISHED, FAILED or KILLED")
        with _usable(self.uri, RunFailed):
            self._client.set_terminated(self.run_id, status.upper())


def _store(config: Config, run_folder: Path) -> tuple[str, Path | None]:
    """The store's URI, and its file when that is sqlite."""
    beside = Path(run_folder).resolve().parent / "mlflow.db"
    uri = config.tracking.uri or os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{beside}"
    return uri, Path(uri.removeprefix("sqlite:///")).resolve() if uri.startswith("sqlite:///") else None


def _values(config: Config) -> dict[str, str]:
    """Every setting as the text of a parameter."""
    return {key: value if isinstance(value, str) else json.dumps(value) for key, value in flatten(config).items()}


@contextlib.contextmanager
def _usable(uri: str, kind: type[Exception] = InputError):
    """Quietens MLflow, and makes one line, an exception of `kind`, of whatever the store in `uri` cannot do."""
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    for chatty in ("mlflow", "alembic"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)  # what it cannot do is ours to say
    try:
        yield
    except (MlflowException, SQLAlchemyError, OSError) as error:
        reason = " ".join(redacted(str(error)).split())[:200]
        raise kind(f"tracking.uri: cannot use the store {redacted(uri)} ({reason})") from None


@contextlib.contextmanager
def _alone(database: Path | None):
    """Lets one process at a time make a new sqlite store: two at once break its tables."""
    if database is None:
        yield
        return
    database.parent.mkdir(parents=True, exist_ok=True)
    with database.with_name(database.name + ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _experiment(client, name: str, database: Path | None) -> str:
    """Id of the experiment, made when new; a local store keeps its artifacts beside it and not in the working folder."""
    found = client.get_experiment_by_name(name)
    if found is not None:
        return found.experiment_id
    return client.create_experiment(name, artifact_location=(database.parent / "mlartifacts").as_uri() if database else None)
