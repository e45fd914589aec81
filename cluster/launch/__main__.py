"""`python -m cluster.launch -- ARGS`: learner.main with these ARGS, on a cluster as people have them."""

import argparse
import math
import os
import re
import sys

from cluster.launch.kuberay import KINDS, manifest
from cluster.launch.resources import BatchJob
from cluster.launch.slurm import script
from learner.config.parse import parse_config
from learner.config.resume import over
from rollout.io.command import Parser, exit_code, stop_on_signals

DESCRIPTION = """\
Runs `python -m learner.main ARGS` in the Ray of RAY_ADDRESS once that has N nodes, or in a Ray of its own where RAY_ADDRESS is not
set: the entrypoint of `ray job submit`, of a batch job and of a RayJob. With --run_name among ARGS a job that is submitted again, or
retried, goes on with its run."""
EPILOG = """\
examples:
  python -m cluster.launch --nodes 2 -- --run_name first --run_dir /shared/runs/first --cluster.samplers 8
  python -m cluster.launch --check --nodes 2 -- --run_dir /shared/runs/first --cluster.samplers 8
  python -m cluster.launch --slurm --nodes 2 -- --run_name first --run_dir /shared/runs/first > first.sbatch
  python -m cluster.launch --kuberay --nodes 3 -- --run_name first --run_dir /shared/runs/first > first.yaml

exit status: that of learner.main; 1 when nodes are missing, or --check found something; 2 bad input (one line says which)"""


def run(given: argparse.Namespace) -> str:
    config, (nodes, hosts) = parse_config(given.args), given.nodes
    if given.slurm or given.kuberay:
        job = BatchJob.of(config, given.args, nodes, given.wait_s)
        print(script(job) if given.slurm else manifest(given.kuberay, job), end="")
    elif given.check:
        from cluster.launch.doctor import check  # with Ray and torch, which take seconds to import

        return check(config, nodes, given.wait_s, hosts)
    else:
        if end := over(config):
            print(end[1])
            return "finished"  # whatever it was: a job that is tried again has nothing to do
        _await(nodes, given.wait_s, hosts)
        # In this process's place: signals and the exit status are the run's own.
        os.execv(sys.executable, [sys.executable, "-m", "learner.main", *given.args])
    return "finished"


def _await(nodes: int, wait_s: float, hosts: tuple[str, ...]) -> None:
    from cluster.connect import connected
    from cluster.launch.nodes import await_nodes, given_cluster

    if given_cluster(nodes):
        with connected():
            stop_on_signals()
            await_nodes(nodes, wait_s, lambda line: print(line, flush=True), hosts)


def main(argv: list[str]) -> int:
    parser = Parser(
        prog="python -m cluster.launch", usage="python -m cluster.launch [--nodes N] [--wait_s S] [--check | --slurm | --kuberay] -- ARGS",
        description=DESCRIPTION, epilog=EPILOG, allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("--nodes", type=_nodes, default="1", metavar="N", help="nodes that the cluster is to have, or their hosts: A,B,... (default: 1)")
    parser.add_argument("--wait_s", type=_seconds, default=300.0, metavar="S", help="seconds that they are given to come (default: 300)")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--check", action="store_true", help="start no run: say in a line each what would stand in its way, and what helps")
    what.add_argument("--slurm", action="store_true", help="print a script for sbatch")
    what.add_argument("--kuberay", nargs="?", const=KINDS[0], choices=KINDS, help=f"print a manifest for KubeRay (default: a {KINDS[0]})")
    parser.add_argument("args", nargs="*", metavar="ARGS", help="arguments of learner.main, after --")
    return exit_code(lambda: run(parser.parse_args(argv)))


def _nodes(text: str) -> tuple[int, tuple[str, ...]]:
    """How many, and what they are called, where that is said."""
    if text.isdigit() and int(text) >= 1:
        return int(text), ()
    if not re.fullmatch(r"[\w.-]+(,[\w.-]+)+|[\w-]*[a-zA-Z][\w.-]*|(\d+\.){3}\d+", text, re.ASCII):
        raise argparse.ArgumentTypeError(f"found {text}, expected a whole number of at least 1, or names of hosts: A,B,...")
    hosts = tuple(text.split(","))
    return len(hosts), hosts


def _seconds(text: str) -> float:
    try:
        if 0 <= float(text) < math.inf:
            return float(text)
    except ValueError:
        pass
    raise argparse.ArgumentTypeError(f"found {text}, expected a number of seconds")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
