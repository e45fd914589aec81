"""How the driver takes an actor's answer, and what it says of an actor that will give none any more."""

from dataclasses import dataclass
from pathlib import Path

import ray
import torch
from ray.exceptions import NodeDiedError, ObjectLostError, OutOfMemoryError, RayActorError, RayTaskError, WorkerCrashedError

from rollout.io.errors import RunFailed

# The actor is gone, or what it returned went with its node: the work is to be done again.
LOST = (RayActorError, ObjectLostError, NodeDiedError, WorkerCrashedError, OutOfMemoryError)
LOST_OBJECT = ObjectLostError  # of these, what says that the actor lives and what it was given is gone
LAST_LINES = 3
RAYS_OWN = (":job_id:", ":actor_name:", "Extension modules:")  # how lines begin that say nothing about a death


@dataclass(frozen=True)
class Whereabouts:
    """Where an actor runs, and the file that its stderr goes to, on its own node."""

    pid: int
    node: str
    log: str


def get(ref: ray.ObjectRef, deadline_s: float | None = None):
    """`ray.get` that raises an actor's own exception, without Ray's copy of the remote traceback; one of `LOST` for an actor
    or object that is gone, and RunFailed for a computation that does not fit into memory."""
    try:
        return ray.get(ref, timeout=deadline_s)
    except RayTaskError as error:
        cause = error.cause
    if isinstance(cause, (MemoryError, torch.OutOfMemoryError)) or "can't allocate memory" in str(cause):
        reason = " ".join(str(cause).split())[:200]
        raise RunFailed(f"an actor is out of memory ({reason}); smaller: rollout.group_size, model.frames, cluster.samplers") from None
    raise cause from None


def cause_of(death: Exception, actor: Whereabouts | None) -> str:
    """One line: how it ended, where it ran, and the last lines it wrote when they can be read from here."""
    text = " ".join(str(death).split())
    if isinstance(death, OutOfMemoryError) or "low on memory" in text:
        what = "was killed because its node ran out of memory"
    elif "node has died" in text or "node was" in text or isinstance(death, NodeDiedError):
        what = "died with its node"
    elif "exits with an exit code" in text:
        what = f"ended itself, exit code {text.split('exits with an exit code', 1)[1].split('.')[0].strip()}"
    else:
        what = "died (a crash, a kill, or the system's out-of-memory killer)"
    return what + epitaph(actor)


def epitaph(actor: Whereabouts | None) -> str:
    """Where an actor ran and the last lines it wrote; empty for one that never got that far."""
    if actor is None:
        return ""
    try:
        lines = [line.strip() for line in Path(actor.log).read_text(errors="replace").splitlines()]
    except OSError:  # on another node
        return f" [process {actor.pid} on {actor.node}, log {actor.log}]"
    spoken = [line[:160] for line in lines if line and not line.startswith(RAYS_OWN)]
    last = " | ".join(spoken[-LAST_LINES:])
    return f" [process {actor.pid} on {actor.node}{', its last words: ' if last else ''}{last}]"
