"""`--slurm`: a script for sbatch.

Every Ray that this project runs on has `ray symmetric-run`, which starts the head on the first node, lets the others join, runs the
entrypoint on the head and stops Ray again. Around it the script has what Slurm asks for: the CPUs that Slurm gave, a token that
nobody else can read, and a signal before time is up, at which the run saves and the job goes back into the queue.
"""

import shlex

from cluster.launch.resources import BatchJob

LEAD_S = 300  # between the signal and the end: for the iteration's update to return, the checkpoint, and Ray to stop
TEMPLATE = """\
#!/bin/bash
# Made by python -m cluster.launch --slurm. Submit it with the project's environment active and from its folder. What your site asks
# for (partition, account, time) goes here or to sbatch: sbatch --time=12:00:00 --partition=gpu FILE
#SBATCH --job-name={name}
#SBATCH --nodes={nodes}
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task={cpus}
{gpus}#SBATCH --exclusive
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --signal=B:TERM@{lead}
# --exclusive: when it ends, ray symmetric-run stops every Ray that you have on a node.
# --requeue, --signal: after a node's failure, or when time is up, the job waits again, and --run_name goes on with its run.
set -euo pipefail
unset RAY_ADDRESS  # of the profile: another cluster's

runs={runs}
mine=$runs/.{name}.$SLURM_JOB_ID  # on storage that every node sees
head=$(hostname -I | cut -d' ' -f1)  # this script runs on the first node; its name may stand for the loopback there
address=$head:$((20000 + SLURM_JOB_ID % 10000))
hosts=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | paste -sd, -) || hosts=$SLURM_JOB_NUM_NODES
mkdir -p "$runs"
rm -rf "$mine"
umask 077
mkdir -p "$mine"
trap 'rm -rf "$mine"' EXIT
head -c 32 /dev/urandom | od -An -tx1 | tr -d ' \\n' > "$mine/token"
umask 022

export RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH=$mine/token
export RAY_SYMMETRIC_RUN_CLUSTER_WAIT_TIMEOUT=600
export MINE=$mine RAY_HEAD=$address

told=
trap 'told=yes; kill -TERM "$(cat "$mine/driver")" || true' TERM

# Without --cpus-per-task a step may get one CPU, whatever the job has. --wait: the other nodes do not notice that the head has left.
# The driver itself waits for the nodes: Ray's --min-nodes would not say which never came.
# shellcheck disable=SC2016  # what is in single quotes is for the shell around the driver
srun --nodes="$SLURM_JOB_NUM_NODES" --ntasks="$SLURM_JOB_NUM_NODES" --cpus-per-task="$SLURM_CPUS_PER_TASK" --wait=10 \\
    ray symmetric-run --address "$address" \\
    --num-cpus="$SLURM_CPUS_PER_TASK" --num-gpus="${{SLURM_GPUS_ON_NODE:-0}}" --disable-usage-stats -- \\
    bash -c 'RAY_ADDRESS=$RAY_HEAD "$@" & echo $! > "$MINE/driver"; wait $!; echo $? > "$MINE/status"' driver \\
    {entrypoint} &
step=$!
ended=0
while kill -0 "$step" 2> /dev/null; do  # a signal ends a wait, and not the step
    ended=0
    wait "$step" || ended=$?
done
# Of the step it is the worst of all tasks', of which those that --wait ended have one too.
status=$(cat "$mine/status" 2> /dev/null || echo "$ended")
if [ -n "$told" ] && [ "$status" = 75 ]; then
    scontrol requeue "$SLURM_JOB_ID"
fi
exit "$status"
"""


def script(job: BatchJob) -> str:
    return TEMPLATE.format(
        name=job.folder.name, runs=shlex.quote(str(job.folder.parent)), nodes=job.nodes, cpus=job.cpus, lead=LEAD_S,
        gpus=f"#SBATCH --gpus-per-node={job.gpus}\n" if job.gpus else "", entrypoint=job.command('"$hosts"'),
    )  # fmt: skip
