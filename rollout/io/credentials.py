"""Passwords in addresses: never in a message, never in a setting."""

import re
from collections.abc import Mapping
from typing import Any

from rollout.io.errors import InputError

# user:password@ (of host:port/path@, nothing is secret), and what stores and servers take as a query.
_USER = re.compile(r"://[^:/@\s]*:(?!\d+(?:/|$))\S*@")
_QUERY = re.compile(r"([?&](?:pass(?:word|wd)?|pwd|secret\w*|(?:access_)?token|api_?key|account_key|sig(?:nature)?)=)[^&#\s]+", re.IGNORECASE)


def redacted(text: str) -> str:
    """`text` with the credentials of every address in it replaced: `s3://key:secret@bucket` becomes `s3://***@bucket`."""
    return _QUERY.sub(r"\1***", _USER.sub("://***@", text))


def refuse_credentials(key: str, value: Any) -> None:
    """Raises InputError when `value`, a setting or the settings in it, has credentials in an address.

    Settings are written to config.yaml and to the tracking store, which others read.
    """
    if isinstance(value, Mapping):
        for name, item in value.items():
            refuse_credentials(f"{key}.{name}", item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            refuse_credentials(key, item)
    elif isinstance(value, str) and redacted(value) != value:
        raise InputError(
            f"{key}: found credentials in {redacted(value)!r}, expected them in the environment (such as MLFLOW_TRACKING_URI or "
            "AWS_SECRET_ACCESS_KEY): settings are written to the run folder and to MLflow"
        )
