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
from collections.abc import Mapping
from pathlib import Path

from learner.config import flatten
from learner.settings import Config
from rollout.errors import InputError

# What MLflow would otherwise do unasked: report home, retry a dead server for minutes, print links among our lines.
_ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "3",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}


class Tracker:
    """Writes to the store of `config.tracking.uri`, else MLFLOW_TRACKING_URI, else `mlflow.db` beside the run folder."""

    def __init__(self, client, run_id: str, uri: str):
        self._client = client
        self.run_id = run_id
        self.uri = uri

    @classmethod
    def start(cls, config: Config, run_folder: Path) -> "Tracker":
        """Open a run named after `run_folder` with every setting as a parameter (dotted keys).

        Raises InputError when the store cannot be reached or used.
        """
        for name, value in _ENVIRONMENT.items():
            os.environ.setdefault(name, value)
        from mlflow import MlflowClient
        from mlflow.entities import Param
        from mlflow.exceptions import MlflowException
        from sqlalchemy.exc import SQLAlchemyError

        for chatty in ("mlflow", "alembic"):
            logging.getLogger(chatty).setLevel(logging.WARNING)
        run_folder = Path(run_folder).resolve()
        uri = config.tracking.uri or os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{run_folder.parent / 'mlflow.db'}"
        database = Path(uri.removeprefix("sqlite:///")).resolve() if uri.startswith("sqlite:///") else None
        try:
            with _alone(database):
                client = MlflowClient(tracking_uri=uri)
                experiment = _experiment(client, config.tracking.experiment, database)
            run_id = client.create_run(experiment, run_name=run_folder.name).info.run_id
            values = {key: value if isinstance(value, str) else json.dumps(value) for key, value in flatten(config).items()}
            client.log_batch(run_id, params=[Param(key, value) for key, value in values.items()])
        except (MlflowException, SQLAlchemyError, OSError) as error:
            reason = " ".join(str(error).split())[:200]
            raise InputError(f"tracking.uri: cannot use the store {uri} ({reason})") from None
        return cls(client, run_id, uri)

    def log(self, iteration: int, metrics: Mapping[str, float]) -> None:
        """One batch of numbers at step `iteration`; one that is not finite is logged as `<name>_nonfinite` = 1."""
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        finite = {
            name if math.isfinite(value) else f"{name}_nonfinite": float(value) if math.isfinite(value) else 1.0
            for name, value in metrics.items()
        }
        self._client.log_batch(self.run_id, metrics=[Metric(name, value, now, iteration) for name, value in finite.items()])

    def warn(self, text: str) -> None:
        """The run bears `text` as its tag `warning`."""
        self._client.set_tag(self.run_id, "warning", text)

    def artifact(self, path: Path) -> None:
        """Store a file, or a folder under its own name."""
        self._client.log_artifact(self.run_id, str(path))

    def finish(self, status: str) -> None:
        """Close the run as FINISHED, FAILED or KILLED (in any case)."""
        if status.upper() not in ("FINISHED", "FAILED", "KILLED"):
            raise ValueError(f"status {status!r}, expected FINISHED, FAILED or KILLED")
        self._client.set_terminated(self.run_id, status.upper())


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
