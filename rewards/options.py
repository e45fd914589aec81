"""Checks of what a component is configured with: one line that names the option, what was found and what was expected."""

import math

from rollout.io.errors import InputError


def choice(name: str, value, expected) -> str:
    """`value`, one of the strings `expected`."""
    if value not in expected:
        raise InputError(f"{name}: found {value!r}, expected {' or '.join(expected)}")
    return value


def number(name: str, value, above: float = -math.inf) -> float:
    """`value` as a finite number greater than `above`."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not above < value < math.inf:
        raise InputError(f"{name}: found {value!r}, expected a number{'' if above == -math.inf else f' above {above:g}'}")
    return float(value)


def count(name: str, value, most: int | None = None) -> int:
    """`value` as a whole number of at least 1, at most `most`."""
    if type(value) is not int or value < 1 or (most is not None and value > most):
        raise InputError(f"{name}: found {value!r}, expected a whole number of at least 1{f', at most {most}' if most else ''}")
    return value
