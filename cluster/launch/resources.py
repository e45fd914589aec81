"""What a rendered job is made of: the run by its name, the command, and what each node has to offer."""

import argparse
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
    """folder: of the run, on storage that outlives a node. cpus, gpus: of each node. args: of learner.main."""

    folder: Path
    nodes: int
    cpus: int
    gpus: int
    wait_s: float
    args: Sequence[str]

    @classmethod
    def of(cls, config: Config, args: Sequence[str], nodes: int, wait_s: float) -> "BatchJob":
        """Of learner.main with `args`, whose settings are `config`: samplers spread evenly, of a range as many as it reaches to, a CPU
        beside them for the driver wherever it is, and GPUs as `cluster.gpus_per_actor` says.

        Raises InputError unless the run has a name and a place that a node can share: only so a job that is tried again goes on with
        it. Where ARGS say the place otherwise than from the root, as a link, or in a file, the command says it as it is here.
        """
        places = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
        places.add_argument("--run_dir", *Config.model_fields["run_dir"].json_schema_extra["flags"], type=Path)
        place, others = places.parse_known_args(args)
        folder, given = Path(config.run_dir or ""), place.run_dir
        for name, found in (("run_name", config.run_name), ("run_dir", given or folder.parent != Path("runs").resolve())):
            if not found:
                raise InputError(f"--{name}: found none, expected it after --, so that a job that is tried again goes on with its run")
        if folder.parent == Path("/"):
            raise InputError(f"--run_dir: the run would be {folder}, expected it in a folder that all nodes share, as /shared/runs/first")
        if not given or given.parent / config.run_name != folder:
            args = [*others, "--run_dir", str(folder)]
        if not re.fullmatch(r"[\w.-]+", config.run_name, re.ASCII):
            raise InputError(f"--run_name: found {config.run_name!r}, expected letters, digits and ._- for the name of a job")
        if odd := [word for word in args if not word.isprintable()]:
            raise InputError(f"ARGS: found {odd[0]!r}, expected words of one line")
        cluster = config.cluster
        samplers = cluster.samplers.high
        cpus = ceil(samplers / nodes) * cluster.sampler_cpus + 1
        gpus = (cluster.gpus_per_actor or 0) * (samplers + apart(cluster, 1 + cluster.reward_actors))
        return cls(folder, nodes, cpus, ceil(gpus / nodes), wait_s, args)

    def command(self, nodes: object) -> str:
        """Of the shell, which waits for `nodes`: a number, or words that stand for names."""
        return f"python -m cluster.launch --nodes {nodes} --wait_s {self.wait_s:g} -- {shlex.join(self.args)}"
