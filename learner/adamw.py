"""AdamW (Loshchilov and Hutter 2019) with torch's defaults, by torch's function of it.

Its class imports torch's compiler when it is built: half as long again as importing torch, of every learner that starts.
"""

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import Parameter
from torch.optim.adamw import adamw

KINDS = ("step", "exp_avg", "exp_avg_sq")


class AdamW:
    """state: by parameter, a tensor of each of `KINDS`: `step` a scalar on the CPU, the moments as the parameter and beside it.
    Nothing before the first step."""

    def __init__(self, weight_decay: float):
        self.weight_decay = weight_decay
        self.state: dict[str, dict[str, Tensor]] = {}

    @torch.no_grad()
    def step(self, parameters: Mapping[str, Parameter], learning_rate: float) -> None:
        """One step of all of them, each by its `grad`."""
        for name, parameter in parameters.items():
            if name not in self.state:
                new = torch.tensor(0.0), torch.zeros_like(parameter), torch.zeros_like(parameter)
                self.state[name] = dict(zip(KINDS, new))
        steps, *moments = ([self.state[name][kind] for name in parameters] for kind in KINDS)
        gradients = [parameter.grad for parameter in parameters.values()]
        adamw(
            list(parameters.values()), gradients, *moments, [], steps, lr=learning_rate, weight_decay=self.weight_decay,
            beta1=0.9, beta2=0.999, eps=1e-8, amsgrad=False, maximize=False,
        )  # fmt: skip
