"""`--kuberay`: manifests for the KubeRay operator, 1.5.1 or later, which makes the token of a cluster that asks for one itself."""

import json
import re
import textwrap

import ray

from cluster.launch.resources import BatchJob
from rollout.io.errors import InputError

KINDS = ("RayJob", "RayCluster")
NAME = re.compile(r"[a-z]([-a-z0-9]{0,45}[a-z0-9])?")  # KubeRay appends to it, and Kubernetes takes 63 characters
JOB = """\
# Made by python -m cluster.launch --kuberay. Yours to fill in: image (the project installed, the same Ray), memory, claimName (a claim
# that all pods of all tries mount, ReadWriteMany).
apiVersion: ray.io/v1
kind: RayJob
metadata:
  name: {name}
spec:
  entrypoint: {entrypoint}
  backoffLimit: 3  # other tries, each on a new cluster: --run_name goes on with the run, or finds it finished
  shutdownAfterJobFinishes: true
  ttlSecondsAfterFinished: 600
  rayClusterSpec:
{cluster}"""
CLUSTER = """\
# Made by python -m cluster.launch --kuberay RayCluster. Yours to fill in: image, memory, claimName. Then:
# ray job submit --working-dir . -- {entrypoint}
apiVersion: ray.io/v1
kind: RayCluster
metadata:
  name: {name}
spec:
{cluster}"""
SPEC = """\
rayVersion: "{version}"
authOptions:
  mode: token  # of each cluster its own, in a Secret that KubeRay makes
headGroupSpec:
  rayStartParams:
    num-cpus: "{cpus}"
  template:
{head}workerGroupSpecs:
  - groupName: workers
    replicas: {workers}
    minReplicas: {workers}
    maxReplicas: {workers}
    rayStartParams:
      num-cpus: "{cpus}"
    template:
{worker}"""
POD = """\
spec:
  containers:
    - name: ray-{role}
      image: motion-grpo:latest
      resources:
        limits: &{role} {{cpu: {cpus}, memory: 16Gi{gpus}}}
        requests: *{role}
      volumeMounts:
        - {{name: runs, mountPath: {runs}}}
  volumes:  # KubeRay itself mounts memory at /dev/shm
    - name: runs
      persistentVolumeClaim: {{claimName: runs}}
"""


def manifest(kind: str, job: BatchJob) -> str:
    """YAML of a RayJob, or of its RayCluster alone: a head and the other nodes. Raises InputError for a name that Kubernetes does
    not take."""
    name, gpus = job.folder.name, f", nvidia.com/gpu: {job.gpus}" if job.gpus else ""
    if not NAME.fullmatch(name):
        raise InputError(f"--run_name: found {name}, expected at most 47 of a to z, 0 to 9 and -, as Kubernetes names things")

    def pod(role: str, depth: int) -> str:
        return textwrap.indent(POD.format(role=role, cpus=job.cpus, gpus=gpus, runs=json.dumps(str(job.folder.parent))), " " * depth)

    spec = SPEC.format(version=ray.__version__, cpus=job.cpus, workers=job.nodes - 1, head=pod("head", 4), worker=pod("worker", 6))
    if kind == "RayCluster":
        return CLUSTER.format(name=name, entrypoint=job.command(job.nodes), cluster=textwrap.indent(spec, "  "))
    return JOB.format(name=name, entrypoint=json.dumps(job.command(job.nodes)), cluster=textwrap.indent(spec, "    "))
