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
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from learner.config.parse import flatten
from learner.config.settings import Config
from learner.run.platforms import Platform
from rewards.trust import RUN
from rollout.io.credentials import redacted
from rollout.io.errors import InputError, RunFailed

log = logging.getLogger(__name__)

# What MLflow would otherwise do unasked: report home, wait minutes for a dead server, print links among our lines.
_ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "PGCONNECT_TIMEOUT": "10",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}

DATABASES = ("sqlite", "postgresql", "mysql", "mssql")
TAG_LIMIT = 5000  # characters of a tag that every store takes
DESCRIPTION = "mlflow.note.content"  # what `mlflow ui` shows as the description of a run
PARENT = "mlflow.parentRunId"  # what it shows a run under
BATCH = 500  # numbers that every store takes at once
PATIENCE = 20  # times as long as a store took to fail, it is not asked again: one that hangs costs a run a twentieth of its time


class Tracker:
    """Writes to the store of `config.tracking.uri`, else MLFLOW_TRACKING_URI, else `mlflow.db` beside the run folder.

    Once a run is open, no failure of the store ends it: what is not sent waits, and goes with the first that is.
    """

    def __init__(
        self, client, run_id: str, uri: str, logged: Mapping[str, set[int]], tell: Callable[[str], None] = log.warning,
        platform: Platform | None = None,
    ):  # fmt: skip
        """logged: the steps that the run has of each metric. tell: is given a line when the store fails, and when it has caught up.
        platform: gets every number too."""
        self._client = client
        self.run_id = run_id
        self.uri = uri
        self._logged = defaultdict(set, logged)
        self._tell = tell
        self._platform = platform
        self._metrics, self._warning = [], None  # that wait to be sent
        self._failing, self._again = False, 0.0  # when to ask a store that fails, by time.monotonic

    @classmethod
    def start(cls, config: Config, run_folder: Path, tell: Callable[[str], None] = log.warning, parent: str | None = None) -> "Tracker":
        """Open a run named after `run_folder` with every setting as a parameter (dotted keys), under the run `parent` if any.

        Raises InputError when the store cannot be reached or used.
        """
        run_folder, (uri, database) = Path(run_folder).resolve(), _store(config, run_folder)
        with _usable(uri):
            from mlflow.entities import Param

            with _alone(database):
                client = _client(uri)
                experiment = _experiment(client, config.tracking.experiment, database)
            tags = {PARENT: parent} if parent else None
            run_id = client.create_run(experiment, run_name=run_folder.name, tags=tags).info.run_id
            client.log_batch(run_id, params=[Param(key, value) for key, value in _values(config).items()])
        return cls(client, run_id, uri, {}, tell, Platform(config, run_folder, tell))

    @classmethod
    def resume(cls, config: Config, run_folder: Path, run_id: str, tell: Callable[[str], None] = log.warning) -> "Tracker":
        """Open the run `run_id` again, which `start` opened. What it has of a metric's step is not logged a second time.

        A setting that changed is a tag `resumed.<key>`: a run's parameters are what it began with. Raises InputError when
        the store cannot be reached or used, or does not have the run.
        """
        uri, database = _store(config, run_folder)
        with _usable(uri):
            from mlflow.entities import RunTag

            if database and not database.exists():
                raise OSError(f"no such file, expected the store of run {run_id}")  # and not a new one in its place
            client = _client(uri)
            run = client.get_run(run_id)
            if run.info.lifecycle_stage != "active":
                raise OSError(f"run {run_id} was deleted there")
            client.update_run(run_id, status="RUNNING")
            began = run.data.params
            changed = [RunTag(f"resumed.{key}", value) for key, value in _values(config).items() if began.get(key, value) != value]
            client.log_batch(run_id, tags=changed)
            logged = {name: {metric.step for metric in client.get_metric_history(run_id, name)} for name in run.data.metrics}
        return cls(client, run_id, uri, logged, tell, Platform(config, Path(run_folder).resolve(), tell))

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
        if self._platform:
            self._platform.log(iteration, batch)
        for name, value in batch.items():
            if iteration not in self._logged[name]:
                self._metrics.append(Metric(name, value, now, iteration))
                self._logged[name].add(iteration)
        self._send()

    def warn(self, text: str) -> None:
        """The run bears `text` as its tag `warning`."""
        self._warning = text[-TAG_LIMIT:]
        self._send()

    def finish(self, status: str, paths: Sequence[Path] = (), description: str | None = None) -> None:
        """Store files, folders under their own names, and a description in Markdown, below it the first picture of the files, and close
        the run as FINISHED, FAILED or KILLED (in any case)."""
        if status.upper() not in ("FINISHED", "FAILED", "KILLED"):
            raise ValueError(f"status {status!r}, expected FINISHED, FAILED or KILLED")
        if self._platform:
            self._platform.finish()
        self._again, unstored = 0.0, list(paths)
        pictures = sorted(path.name for path in paths if path.suffix in (".gif", ".png"))  # before_after comes first
        picture = f"\n\n![{pictures[0]}](get-artifact?path={pictures[0]}&run_uuid={self.run_id})" if pictures else ""  # as its own pages ask

        def store() -> None:
            if description:
                self._client.set_tag(self.run_id, DESCRIPTION, description[: TAG_LIMIT - len(picture)] + picture)
            while unstored:
                self._client.log_artifact(self.run_id, str(unstored[0]))
                del unstored[0]

        self._send()
        if self._failing:
            steps = len({metric.step for metric in self._metrics})
            self._tell(f"warning: the tracking store never got {steps} iterations and the files of this run; its folder has them all, and "
                       "to --resume it, with more --iterations once it has finished, sends the numbers")  # fmt: skip
        elif failure := self._failure(store):
            self._tell(f"warning: {failure}; not stored there: {', '.join(path.name for path in unstored)}")
        if not self._failing and (failure := self._failure(lambda: self._client.set_terminated(self.run_id, status.upper()))):
            self._tell(f"warning: {failure}; the run is not closed there")

    def _send(self) -> None:
        """What waits, unless the store failed lately."""
        began = time.monotonic()
        if began < self._again:
            return
        failure = self._failure(self._send_all)
        if failure and not self._failing:
            self._tell(f"warning: {failure}; the run goes on, and what is not sent waits")
        if self._failing and not failure:
            self._tell("the tracking store has caught up")
        self._failing, self._again = bool(failure), time.monotonic() + PATIENCE * (time.monotonic() - began) if failure else 0.0

    def _send_all(self) -> None:
        from mlflow.entities import RunTag

        while self._metrics or self._warning:
            tags = [RunTag("warning", self._warning)] if self._warning else []
            self._client.log_batch(self.run_id, metrics=self._metrics[:BATCH], tags=tags)
            del self._metrics[:BATCH]
            self._warning = None

    def _failure(self, do: Callable[[], None]) -> str | None:
        """Why the store did not do it; None when it did."""
        try:
            with _usable(self.uri, RunFailed):
                do()
        except RunFailed as failure:
            return str(failure)


def _store(config: Config, run_folder: Path) -> tuple[str, Path | None]:
    """The store's URI, and its file when that is sqlite."""
    place = Path(run_folder).resolve().parent
    beside = place.parent if (place / RUN).exists() else place  # several seeds' runs lie in a folder that is one of these itself
    uri = config.tracking.uri or os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{beside / 'mlflow.db'}"
    return uri, Path(uri.removeprefix("sqlite:///").partition("?")[0]).resolve() if uri.startswith("sqlite:///") else None


def _client(uri: str):
    """MLflow's. A database is tried first: one that does not open, MLflow would try ten times, for minutes."""
    from mlflow import MlflowClient

    if uri.partition(":")[0].partition("+")[0] in DATABASES:
        from sqlalchemy import create_engine

        create_engine(uri).connect().close()
    return MlflowClient(tracking_uri=uri)


def _values(config: Config) -> dict[str, str]:
    """Every setting as the text of a parameter."""
    return {key: value if isinstance(value, str) else json.dumps(value) for key, value in flatten(config).items()}


@contextlib.contextmanager
def _usable(uri: str, kind: type[Exception] = InputError):
    """Quietens MLflow, and makes one line, an exception of `kind`, of whatever the store in `uri` cannot do."""
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    import mlflow  # first: it sets levels of its own

    logging.getLogger("alembic").setLevel(logging.WARNING)
    logging.getLogger(mlflow.__name__).setLevel(logging.CRITICAL)  # what it cannot do is ours to say
    try:
        yield
    except Exception as error:  # of a server, a database, a bucket, or a driver of one that is missing
        reason = " ".join(redacted(str(error)).split())[:200] or type(error).__name__
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
