"""Recorded outputs of the official code: folders recognised by the files they hold."""

import os
from pathlib import Path

import pytest


def parity_cases(pattern: str) -> list[Path]:
    """Folders that hold `pattern`; PARITY_FIXTURES overrides where they are looked for."""
    beside = Path(__file__).resolve().parents[1].parent / "shared" / "fixtures"
    root = Path(os.environ.get("PARITY_FIXTURES", beside))
    return sorted(path for path in root.glob("*/") if list(path.glob(pattern)))


def parameters(pattern: str, wanted=lambda folder: True) -> list:
    """The wanted cases for `pytest.mark.parametrize`, or one that is skipped with the reason."""
    skip = pytest.mark.skip(reason=f"no recorded case of this kind ({pattern}): set PARITY_FIXTURES or provide ../shared/fixtures")
    found = [pytest.param(path, id=path.name) for path in parity_cases(pattern) if wanted(path)]
    return found or [pytest.param(None, marks=skip)]
