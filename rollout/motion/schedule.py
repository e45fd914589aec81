"""The noise schedule of a Gaussian diffusion chain, with respacing, as MDM computes it (float64)."""

import math
from dataclasses import dataclass
from itertools import accumulate

import numpy as np

from rollout.io.errors import InputError


@dataclass(frozen=True)
class Schedule:
    """Coefficients of a DDPM chain with S kept steps; index t runs from S-1 (noise) down to 0 (data).

    All arrays are float64 of shape [S]. The posterior is
        mu_t = c1[t] * x0 + c2[t] * x_t        c1 = beta sqrt(abar_prev) / (1 - abar)
        sigma[t]^2 = beta (1 - abar_prev) / (1 - abar)        c2 = (1 - abar_prev) sqrt(alpha) / (1 - abar)
    (Ho et al. 2020, eq. 7; the "fixed small" variance). sigma[0] is 0: step 0 has no noise and is not part of a policy.
    With `ddim_eta` below 1 the steps are those of DDIM (Song et al. 2021, eq. 12): sigma shrinks by that factor and the
    mean, linear in x0 and x_t as well, keeps the noise that x_t already holds. Eta 1 is the posterior above.
    `timestep_map[t]` is the index of step t in the schedule the model was trained on; it is what the network is given.
    """

    timestep_map: np.ndarray
    betas: np.ndarray
    alphas_cumprod: np.ndarray
    ddim_eta: float = 1.0

    @classmethod
    def create(cls, noise_schedule: str, diffusion_steps: int, respacing: str = "", ddim_eta: float = 1.0) -> "Schedule":
        """The `noise_schedule` ("cosine" or "linear") of `diffusion_steps` steps, of which `respacing` keeps some.

        `respacing` is "" (all), a count such as "10" (evenly spread, ends included) or "ddim10" (a fixed stride from 0).
        """
        base = np.cumprod(1.0 - _betas(noise_schedule, diffusion_steps))
        kept = _kept_steps(diffusion_steps, respacing)
        alphas_cumprod = base[kept]
        betas = 1.0 - alphas_cumprod / np.append(1.0, alphas_cumprod[:-1])
        return cls(kept, betas, np.cumprod(1.0 - betas), ddim_eta)

    def __len__(self) -> int:
        return len(self.betas)

    @property
    def alphas_cumprod_prev(self) -> np.ndarray:
        return np.append(1.0, self.alphas_cumprod[:-1])

    @property
    def c1(self) -> np.ndarray:
        if self.ddim_eta == 1:
            return self.betas * np.sqrt(self.alphas_cumprod_prev) / (1.0 - self.alphas_cumprod)
        return np.sqrt(self.alphas_cumprod_prev) - self.c2 * np.sqrt(self.alphas_cumprod)

    @property
    def c2(self) -> np.ndarray:
        if self.ddim_eta == 1:
            return (1.0 - self.alphas_cumprod_prev) * np.sqrt(1.0 - self.betas) / (1.0 - self.alphas_cumprod)
        kept_noise = np.maximum(1.0 - self.alphas_cumprod_prev - self.sigma**2, 0)  # step 0 would round below 0
        return np.sqrt(kept_noise / (1.0 - self.alphas_cumprod))

    @property
    def posterior_variance(self) -> np.ndarray:
        return self.betas * (1.0 - self.alphas_cumprod_prev) / (1.0 - self.alphas_cumprod)

    @property
    def sigma(self) -> np.ndarray:
        """Standard deviation of the noise added when leaving step t, in normalised feature units; sigma[0] is 0."""
        return self.ddim_eta * np.sqrt(self.posterior_variance)

    @property
    def trainable_steps(self) -> np.ndarray:
        """Steps a policy may be trained on: 2 .. S-2. Step 0 is noiseless, step 1 holds 2/3 of the likelihood weight."""
        return np.arange(2, len(self) - 1)


def _betas(noise_schedule: str, steps: int) -> np.ndarray:
    if noise_schedule == "cosine":
        def level(u: float) -> float:
            return math.cos((u + 0.008) / 1.008 * math.pi / 2) ** 2

        return np.array([min(1 - level((i + 1) / steps) / level(i / steps), 0.999) for i in range(steps)])
    if noise_schedule == "linear":
        return np.linspace(1e-4 * 1000 / steps, 0.02 * 1000 / steps, steps, dtype=np.float64)
    raise InputError(f"noise_schedule: found {noise_schedule!r}, expected 'cosine' or 'linear'")


def _kept_steps(steps: int, respacing: str) -> np.ndarray:
    """Indices kept by `respacing`, ascending (spec official-formats 1.7: accumulated stride, banker's rounding)."""
    if respacing == "":
        return np.arange(steps)
    digits = respacing.removeprefix("ddim")
    if not digits.isdigit() or not 2 <= int(digits) <= steps:
        raise InputError(f"respacing: found {respacing!r}, expected '', 'N' or 'ddimN' with 2 <= N <= {steps}")
    count = int(digits)
    if respacing.startswith("ddim"):
        for stride in range(1, steps):
            if len(kept := np.arange(0, steps, stride)) == count:
                return kept
        raise InputError(f"respacing: no integer stride keeps exactly {count} of {steps} steps")
    stride = (steps - 1) / (count - 1)
    return np.array([round(position) for position in accumulate([0.0] + [stride] * (count - 1))])
