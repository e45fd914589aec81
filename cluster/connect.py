"""Starting a private Ray on this machine, or joining the cluster this process was submitted to."""

import os
from contextlib import contextmanager, suppress
from pathlib import Path

import ray

from rollout.io.errors import InputError

TOKEN = Path.home() / ".ray" / "auth_token"  # where Ray keeps the one it made


@contextmanager
def connected():
    """Joins RAY_ADDRESS when it is set (as `ray job submit` does), else starts a private local Ray and stops it again.

    Ray's own output stays quiet: an actor's errors reach the driver as exceptions. Its services listen on every interface
    of the machine, so a private Ray answers only who knows its token, unless RAY_AUTH_MODE says otherwise, and has no
    dashboard.
    """
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    address = os.environ.get("RAY_ADDRESS")
    dashboard = None if address else False
    try:
        try:
            ray.init(address=address or "local", log_to_driver=False, logging_level="error", include_dashboard=dashboard)
            if not address and TOKEN.is_file():
                with suppress(OSError):
                    TOKEN.chmod(0o600)  # Ray leaves it for every user of the machine to read
        except ConnectionError as error:
            raise InputError(f"RAY_ADDRESS: cannot join {address} ({' '.join(str(error).split())[:200]})") from None
        yield
    finally:
        ray.shutdown()
