"""All components of a run's reward on a batch of samples: raw values, and which of them failed and why."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from rewards.components import Component
from rewards.deadline import TooLate, within
from rewards.own_class import module_of, told
from rewards.reward import Reward, Subjects
from rollout.io.errors import InputError, RunFailed


@dataclass(frozen=True)
class Scores:
    """Raw values float32 [N] by component, NaN where it failed; for each failed sample, the reasons."""

    values: dict[str, np.ndarray]
    failures: dict[int, str]

    def split(self, sizes: Sequence[int]) -> list["Scores"]:
        """Consecutive parts of so many samples."""
        parts, first = [], 0
        for size in sizes:
            values = {name: value[first : first + size] for name, value in self.values.items()}
            parts.append(Scores(values, {i - first: why for i, why in self.failures.items() if first <= i < first + size}))
            first += size
        return parts


class Scorer:
    """The components of a reward, built from `settings`. `evaluators`: those that they share, by name."""

    def __init__(self, settings: dict[str, Component], components: dict[str, Reward], evaluators: dict[str, Any]):
        self.settings, self.components, self.evaluators = settings, components, evaluators

    def __call__(self, subjects: Subjects) -> Scores:
        """Every component of every sample. A component that raises is asked again sample by sample, so that only the
        guilty one fails. InputError for a component that does not give one number a sample."""
        values, failures = {}, {}
        for name, component in self.components.items():
            values[name], failed = _ask(name, component, self._handed(name, subjects))
            for i, why in failed.items():
                failures[i] = f"{failures[i]}; {why}" if i in failures else why
        return Scores(values, failures)

    def check(self, subjects: Subjects, deadline_s: float) -> None:
        """InputError for a component that raises, does not give one number a sample, or takes longer than the deadline."""
        for name, component in self.components.items():
            try:
                handed = self._handed(name, subjects)
                found = within(deadline_s, lambda: component(handed))
            except (InputError, RunFailed) as error:
                raise type(error)(f"reward.components.{name}: {error}") from None
            except TooLate:
                late = f"no scores of {len(subjects)} samples within cluster.reward_deadline, {deadline_s:g} s"
                raise InputError(f"reward.components.{name}: {late}") from None
            except Exception as error:
                raise InputError(f"reward.components.{name}: raised {told(error)}") from None
            _checked(name, found, len(subjects))

    def _handed(self, name: str, subjects: Subjects) -> Subjects:
        """Foreign code gets copies: what it writes into them no other component reads."""
        return subjects.rows(range(len(subjects))) if module_of(self.settings[name].path) else subjects


def _ask(name: str, component: Reward, subjects: Subjects) -> tuple[np.ndarray, dict[int, str]]:
    try:
        found = component(subjects)
    except (InputError, RunFailed) as error:  # it took the samples of the check before the run
        raise RunFailed(f"reward.components.{name}: {error}") from None
    except Exception as error:
        if len(subjects) == 1:
            return np.full(1, np.nan, np.float32), {0: f"{name}: {told(error)}"}
        alone = [_ask(name, component, subjects.rows([i])) for i in range(len(subjects))]
        return np.concatenate([value for value, _ in alone]), {i: why[0] for i, (_, why) in enumerate(alone) if why}
    values = _checked(name, found, len(subjects))
    reasons = getattr(found, "reasons", {})
    failures = {int(i): f"{name}: {reasons.get(int(i), f'gave {values[i]}')}" for i in np.flatnonzero(~np.isfinite(values))}
    return np.where(np.isfinite(values), values, np.nan).astype(np.float32), failures


def _checked(name: str, found, samples: int) -> np.ndarray:
    expected = f"expected {samples} numbers for {samples} samples, float32 of shape ({samples},)"
    if not hasattr(found, "__array__"):
        raise InputError(f"reward.components.{name}: gave a {type(found).__name__}, {expected}")
    values = np.asarray(found)
    if values.shape != (samples,):
        raise InputError(f"reward.components.{name}: gave shape {values.shape}, {expected}")
    if values.dtype.kind not in "fiu":
        raise InputError(f"reward.components.{name}: gave {values.dtype}, {expected}")
    with np.errstate(over="ignore"):
        return values.astype(np.float32)
