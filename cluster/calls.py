"""How the driver takes an actor's answer."""

import ray
from ray.exceptions import RayTaskError


def get(ref: ray.ObjectRef, deadline_s: float | None = None):
    """`ray.get` that raises an actor's own exception, without Ray's copy of the remote traceback, and an actor's death
    as RayActorError."""
    try:
        return ray.get(ref, timeout=deadline_s)
    except RayTaskError as error:
        raise error.cause from None
