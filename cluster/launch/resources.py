"""What a rendered job is made of: the run by its name, the command, and what each node has to offer."""

import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from pathlib import Path

from cluster.placement import apart
from learner.config.settings import Config
from rollout.io.errors import InputError


@dataclass(frozen=True)
class BatchJob:
    """folder: of the run, on storage that outlives a node. cpus, gpus: of each node."""

    folder: Path
    command: str
    nodes: int
    cpus: int
    gpus: int

    @classmethod
    def of(cls, config: Config, args: Sequence[str], nodes: int, wait_s: float) -> "BatchJob":
        """Of learner.main with `args`, whose settings are `config`: samplers spread evenly, of a range as many as it reaches to, a CPU
        beside them for the driver wherever it is, and GPUs as `cluster.gpus_per_actor` says.

        Raises InputError unless the run has a name and a place: only so a job that is tried again goes on with it.
        """
        for name, given in (("run_name", config.run_name), ("run_dir", Path(config.run_dir or "").parent != Path("runs").resolve())):
            if not given:
                raise InputError(f"--{name}: found none, expected it after --, so that a job that is tried again goes on with its run")
        if not re.fullmatch(r"[\w.-]+", config.run_name, re.ASCII):
            raise InputError(f"--run_name: found {config.run_name!r}, expected letters, digits and ._- for the name of a job")
        if odd := [word for word in args if not word.isprintable()]:
            raise InputError(f"ARGS: found {odd[0]!r}, expected words of one line")
        cluster = config.cluster
        samplers = cluster.samplers.high
        cpus = ceil(samplers / nodes) * cluster.sampler_cpus + 1
        gpus = (cluster.gpus_per_actor or 0) * (samplers + apart(cluster, 1 + cluster.reward_actors))
        command = f"python -m cluster.launch --nodes {nodes} --wait_s {wait_s:g} -- {shlex.join(args)}"
        return cls(Path(config.run_dir), command, nodes, cpus, ceil(gpus / nodes))
