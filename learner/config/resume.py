"""Going on with a run: which settings may differ from those it began with, and whether there is anything left to do."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from learner.config.settings import Config
from rewards.trust import RUN
from rollout.io.errors import InputError

FORMAT = 3  # of run folders: raised whenever an older one cannot be gone on with exactly
# Threads are not among them: they set the order of sums, and so the last bits.
MAY_CHANGE = (
    "iterations", "checkpoint.every", "checkpoint.keep", "checkpoint.path", "rollout.keep",
    "cluster.samplers", "cluster.reward_actors", "cluster.gpus_per_actor", "cluster.wait_s", "cluster.device",
    "cluster.reward_deadline", "cluster.sampler_deadline", "cluster.learner_deadline",
)  # fmt: skip
MAY_CHANGE_IN_WORDS = "iterations, checkpoint.*, rollout.keep and cluster.{samplers,reward_actors,gpus_per_actor,device,wait_s,*_deadline}"
UNTOLD = ("run_dir", "resume", "run_name", "dry_run")  # of the command, not of what it computes


def run_to_resume(path: str) -> Path:
    """The absolute folder of the run. Raises InputError when there is none."""
    run = Path(path).expanduser().resolve()
    if not (run / "config.yaml").is_file():
        raise InputError(f"resume: {run} is no run folder (it has no config.yaml)")
    require_format(run)
    return run


def begun(folder: Path) -> bool:
    """Whether a run of that folder's name has begun. Raises InputError when what lies there is no run of this version."""
    if not any(path.is_file() for path in folder.rglob("*")) and not folder.is_file():
        return False
    if not (folder / RUN).is_file():
        raise InputError(f"run_name: {folder} is no run folder (it has no {RUN}), expected a name that nothing else has")
    require_format(folder)
    return True


def require_format(path: Path) -> None:
    """Raises InputError unless this version can go on with the run in folder `path`, exactly."""
    try:
        found = json.loads((path / RUN).read_text(encoding="utf-8"))["format"]
    except FileNotFoundError:
        found = "none"
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        raise InputError(f"resume: {path / RUN}: expected the format of the run folder, and who began it") from None
    if found != FORMAT:
        other = "a later" if isinstance(found, int) and found > FORMAT else "an earlier"
        raise InputError(f"resume: {path} has run folder format {found}, expected {FORMAT}: only {other} version of this project can go on with it")


def refuse_changes(run: Path, before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Settings by dotted key, of the run in folder `run` and as asked for: raises InputError that lists what may not differ."""
    keys = [key for key in {**before, **now} if key not in UNTOLD and before.get(key) != now.get(key)]
    gpus = [settings.get("cluster.gpus_per_actor") for settings in (before, now)]
    another_device = gpus[0] != gpus[1] and 0 in gpus
    refused = [key for key in keys if key not in MAY_CHANGE or (key == "cluster.gpus_per_actor" and another_device)]
    if refused:
        changes = ", ".join(f"{key} {json.dumps(before.get(key))} -> {json.dumps(now.get(key))}" for key in refused)
        raise InputError(f"resume: {run / 'config.yaml'} says otherwise of {changes}; only {MAY_CHANGE_IN_WORDS} may change")


def require_work_left(run: Path, done: int | None, iterations: int) -> None:
    """The run in folder `run`, whose last checkpoint was after `done` iterations (None: it has none), is to have `iterations`.

    Raises InputError when there is nothing to go on from, more was done already, or the run has finished.
    """
    if done is None:
        raise InputError(f"resume: {run} has no checkpoint, so there is nothing to go on from")
    if done > iterations:
        raise InputError(f"iterations: found {iterations}, expected at least the {done} that {run} has done")
    if ended(run, iterations) == "finished":
        raise InputError(f"resume: {run} has finished its {iterations} iterations; nothing to do unless --iterations is above that")


def over(config: Config) -> tuple[str, str] | None:
    """Of a run that goes on by its name: how it ended, if it did, and the line that says so."""
    if config.run_name and config.resume and (status := ended(Path(config.resume), config.iterations)):
        return status, f"run_name: {config.resume} has {status} already{'; --resume goes on with it' if status == 'stopped' else ''}"
    return None


def ended(run: Path, iterations: int) -> str | None:
    """How the run in folder `run` ended, if it did after as many iterations or of what it found: finished or stopped. One that was
    killed left no summary, or that of an earlier end."""
    summary = run / "summary.json"
    try:
        content = json.loads(summary.read_text(encoding="utf-8"))
        status, done = content["status"], content["iterations"]
        return status if status == "stopped" or (status == "finished" and done >= iterations) else None
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError):
        raise InputError(f"{summary}: expected the summary of a run, with its status and iterations") from None
