"""What --slurm and --kuberay print: the same text as before, a script that bash and shellcheck take and that does what it says, and
manifests of the fields that KubeRay has."""

import os
import re
import shlex
import shutil
import signal
import stat
import subprocess
import time
from pathlib import Path

import pytest
import yaml

from cluster.launch.__main__ import main
from learner.config.parse import parse_config

GOLDEN = Path(__file__).parent / "golden"
ARGS = ["--run_name", "first", "--run_dir", "/shared/runs/first", "--cluster.samplers", "12", "--cluster.gpus_per_actor", "0.5"]
RENDERED = {
    "two_nodes.sbatch": ["--slurm", "--nodes", "2", "--", *ARGS],
    "one_node_no_gpu.sbatch": ["--slurm", "--", "--run_name", "a.b_C-1", "--run_dir", "/shared/my runs/x", "--evaluate.every", "2"],
    "job.yaml": ["--kuberay", "--nodes", "3", "--wait_s", "1800", "--", *ARGS],
    "cluster.yaml": ["--kuberay", "RayCluster", "--nodes", "3", "--", *ARGS[:-2]],
}


def rendered(capsys, words) -> str:
    assert main(list(words)) == 0
    return capsys.readouterr().out


@pytest.mark.parametrize("name", RENDERED)
def test_the_text_is_that_of_the_golden_file(capsys, name, monkeypatch):
    """LAUNCH_GOLDEN=write writes it anew: read the difference before it is committed."""
    monkeypatch.setattr("ray.__version__", "2.60.0")
    text = rendered(capsys, RENDERED[name])
    if os.environ.get("LAUNCH_GOLDEN") == "write":
        (GOLDEN / name).write_text(text)
    assert text == (GOLDEN / name).read_text()


@pytest.mark.parametrize(
    "words, message",
    [
        (["--slurm", "--", *ARGS[2:]], "--run_name: found none, expected it after --"),
        (["--kuberay", "--", *ARGS[:2]], "--run_dir: found none, expected it after --"),
        (["--kuberay", "--", *ARGS[:2], "--run_dir", "/b"], "--run_dir: the run would be /first, expected it in a folder that all nodes share"),
        (["--slurm", "--", *ARGS[:2], "--run_dir", "/"], "--run_dir: the run would be /first, expected it in a folder that all nodes share"),
        (["--slurm", "--", *ARGS, "--seed", "x"], "--seed: found 'x', expected a whole number"),
        (["--slurm", "--", "--run_name", "it's mine", *ARGS[2:]], """--run_name: found "it's mine", expected letters, digits and ._-"""),
        (["--slurm", "--", *ARGS, "--tracking.experiment", "a\nb"], "ARGS: found 'a\\nb', expected words of one line"),
        (["--kuberay", "--", "--run_name", "First_1", *ARGS[2:]], "--run_name: found First_1, expected at most 47 of a to z"),
        (["--nodes", "0", "--", *ARGS], "--nodes: found 0, expected a whole number of at least 1, or names of hosts: A,B,..."),
        (["--nodes", "1.5", "--", *ARGS], "--nodes: found 1.5, expected a whole number"),
        (["--nodes", "a,,b", "--", *ARGS], "--nodes: found a,,b, expected a whole number"),
        (["--wait_s", "nan", "--", *ARGS], "--wait_s: found nan, expected a number of seconds"),
        (["--wait_s", "1e999", "--", *ARGS], "--wait_s: found 1e999, expected a number of seconds"),
        (["--wait_s", "1e3", "--nodes", "2", "--", *ARGS], "--nodes: found 2 and no RAY_ADDRESS"),
        (["--nodes", "gpu01,gpu02.site", "--", *ARGS], "--nodes: found 2 and no RAY_ADDRESS"),
        (["--slurm", "--kuberay", "--", *ARGS], "not allowed with argument"),
    ],
)  # fmt: skip
def test_what_cannot_be_rendered_or_begun_is_one_line(capsys, monkeypatch, words, message):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    assert main(words) == 2
    said = capsys.readouterr()
    assert said.out == "" and message in said.err and said.err.count("\n") == 1


@pytest.mark.parametrize("kind", ["--slurm", "--kuberay"])
@pytest.mark.parametrize(
    "given", [["--save_dir", "my/x"], ["--run_dir=runs/x"], ["--run_dir", "{}/link/x"], ["--run_dir", "~/my/x"], ["--config", "{}/a.yaml"]]
)
def test_the_run_goes_where_the_nodes_share_a_folder(capsys, monkeypatch, tmp_path, kind, given):
    """Wherever the script is submitted from, and whatever a link or a home is to a pod."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "link").symlink_to(tmp_path / "my")
    (tmp_path / "a.yaml").write_text("run_dir: my/x\n")
    text = rendered(capsys, [kind, "--", *(word.format(tmp_path) for word in given), "--run_name", "first", "--seed", "3"])
    place = tmp_path / ("runs" if "--run_dir=runs/x" in given else "my")
    assert f"--run_name first --seed 3 --run_dir {place}/first" in text and "/x" not in text
    assert f"\nruns={place}\n" in text or f'mountPath: "{place}"' in text


def test_nodes_have_room_for_the_most_of_a_range_of_samplers(capsys):
    """Learner and reward sit beside them."""
    words = ["--slurm", "--nodes", "2", "--", *ARGS[:4], "--cluster.samplers", "2..12", "--cluster.gpus_per_actor", "0.5"]
    text = rendered(capsys, words)
    assert "#SBATCH --cpus-per-task=7\n#SBATCH --gpus-per-node=3\n" in text and "--cluster.samplers 2..12" in text


def test_the_commands_of_the_documentation_are_understood(capsys):
    text = (Path(__file__).parents[3] / "docs" / "cluster.md").read_text()
    commands = [shlex.split(line.partition(" > ")[0])[3:] for line in text.splitlines() if line.startswith("python -m cluster.launch --")]
    rendering = [words for words in commands if {"--slurm", "--kuberay"} & {*words}]
    assert len(rendering) == 2 and len(commands) == 4
    for words in rendering:
        rendered(capsys, words)
    for words in commands:
        assert parse_config(words[words.index("--") + 1 :]).run_name == "first"


# The script --------------------------------------------------------------------------------------------------------------

SCRIPTS = [name for name in RENDERED if name.endswith(".sbatch")]


@pytest.mark.parametrize("name", SCRIPTS)
def test_bash_reads_the_script_and_so_does_shellcheck(name):
    subprocess.run(["bash", "-n", GOLDEN / name], check=True)
    if not shutil.which("shellcheck"):
        pytest.skip("shellcheck is not installed; bash -n has no objection")
    assert subprocess.run(["shellcheck", GOLDEN / name], capture_output=True, text=True).stdout == ""


STEP = """\
#!/bin/bash
# Stands for Slurm and Ray: what the script starts on the head node, without either.
echo "srun $* in Ray ${RAY_ADDRESS-of its own}" >> "$HERE/called"
while [ "$1" != ray ]; do shift; done
while [ "$1" != -- ]; do shift; done
shift
"$@"
exit 137  # of a node that --wait ended
"""
DRIVER = """\
#!/bin/bash
# Stands for the run: it saves when it is told to.
echo "python $* at $RAY_ADDRESS" >> "$HERE/called"
stat -c '%a %s' "$RAY_AUTH_TOKEN_PATH" >> "$HERE/called"
trap 'exit 75' TERM
[ "$ENDS" = no ] || exit "$ENDS"
touch "$HERE/runs-now"
while :; do read -t 0.1 <> <(:) || true; done
"""

SCONTROL = """\
#!/bin/bash
[ "$ENDS" != 2 ] || exit 1
[ "$*" != "show hostnames gpu[01-02]" ] || { echo gpu01; echo gpu02; exit; }
echo "scontrol $*" >> "$HERE/called"
"""


@pytest.fixture
def batch(tmp_path, capsys):
    """Runs the script as Slurm does on the first node, with programs of ours in the place of srun, scontrol and python."""
    if not Path("/proc/self").exists() or subprocess.run(["hostname", "-I"], capture_output=True).returncode:
        pytest.skip("this system's hostname does not say its addresses, as Linux' does")
    words = ["--slurm", "--", "--run_name", "mine", "--run_dir", str(tmp_path / "runs" / "x")]
    (tmp_path / "script").write_text(rendered(capsys, words))
    (tmp_path / "bin").mkdir()
    for name, text in {"srun": STEP, "python": DRIVER, "scontrol": SCONTROL}.items():
        (tmp_path / "bin" / name).write_text(text)
        (tmp_path / "bin" / name).chmod(0o755)

    def start(ends: str) -> subprocess.Popen:
        slurm = {"SLURM_JOB_ID": "70123", "SLURM_JOB_NUM_NODES": "1", "SLURM_CPUS_PER_TASK": "3", "SLURM_JOB_NODELIST": "gpu[01-02]", "HERE": str(tmp_path), "ENDS": ends}
        path = f"{tmp_path / 'bin'}:{os.environ['PATH']}"
        outside = {**os.environ, "RAY_ADDRESS": "another:6379"}
        return subprocess.Popen(["bash", tmp_path / "script"], env={**outside, **slurm, "PATH": path}, stderr=subprocess.PIPE, text=True)

    return start


def test_the_script_gives_ray_what_slurm_gave_and_a_token_that_nobody_else_reads(batch, tmp_path):
    assert batch("0").wait(60) == 0
    step, driver, token = (tmp_path / "called").read_text().splitlines()
    assert "--nodes=1 --ntasks=1 --cpus-per-task=3 --wait=10 ray symmetric-run --address" in step and "--num-cpus=3 --num-gpus=0" in step
    address = driver.rpartition(" at ")[2]
    assert f"--address {address} " in step and step.endswith(" in Ray of its own") and address.endswith(":20123")
    assert driver.startswith("python -m cluster.launch --nodes gpu01,gpu02 --wait_s 300 -- --run_name mine --run_dir ")
    assert token == "600 64"
    assert list((tmp_path / "runs").iterdir()) == []  # the token is gone
    assert stat.S_IMODE((tmp_path / "runs").stat().st_mode) & 0o077  # and the runs are as open as any folder


def test_a_run_that_was_told_to_save_waits_in_the_queue_again(batch, tmp_path):
    job = batch("no")
    end = time.monotonic() + 60
    while not (tmp_path / "runs-now").exists():
        assert time.monotonic() < end and job.poll() is None
        time.sleep(0.05)
    job.send_signal(signal.SIGTERM)
    assert job.wait(60) == 75
    assert (tmp_path / "called").read_text().splitlines()[-1] == "scontrol requeue 70123"


@pytest.mark.parametrize("ends", ["0", "1", "2", "75"])
def test_one_that_ends_otherwise_does_not(batch, tmp_path, ends):
    """75 without the signal: somebody cancelled the job."""
    assert batch(ends).wait(60) == int(ends)
    said = (tmp_path / "called").read_text()
    assert "scontrol" not in said and ("--nodes 1 " if ends == "2" else "--nodes gpu01,gpu02 ") in said  # 2: where Slurm does not say


# The manifests ------------------------------------------------------------------------------------------------------------

# Fields of ray.io/v1 that are used here, by their types; those with ! are required. Read off ray.io_rayjobs.yaml as the fork
# gangli113/kuberay has it at 79cf0e5793186f1c4006c17eeb356f4f03398c70 (a tree of the 1.6 line: it has RayCronJob and
# authOptions.enableK8sTokenAuth), where workerGroupSpecs' pods are of the head's type. Of ray.io_rayclusters.yaml there, authOptions.
QUANTITY = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([KMGTPE]i|[numkMGTPE]|[eE][+-]?\d+)?")  # or a whole number
POD = {
    "containers!": [{
        "name!": str, "image": str, "resources": {"limits": {str: QUANTITY}, "requests": {str: QUANTITY}},
        "volumeMounts": [{"name!": str, "mountPath!": str}],
    }],
    "volumes": [{"name!": str, "persistentVolumeClaim": {"claimName!": str}}],
}  # fmt: skip
POD_GROUP = {"rayStartParams": {str: str}, "template!": {"spec": POD}}
CLUSTER = {
    "rayVersion": str, "authOptions": {"mode": ("token", "disabled")}, "headGroupSpec!": POD_GROUP,
    "workerGroupSpecs": [{"groupName!": str, "replicas": int, "minReplicas!": int, "maxReplicas!": int, **POD_GROUP}],
}  # fmt: skip
SPECS = {
    "RayCluster": CLUSTER,
    "RayJob": {
        "entrypoint": str, "backoffLimit": int, "shutdownAfterJobFinishes": bool,
        "ttlSecondsAfterFinished": int, "rayClusterSpec": CLUSTER,
    },
}  # fmt: skip
MANIFESTS = [name for name in RENDERED if name.endswith(".yaml")]


def defects(found, wanted, where=""):
    """What of `found` the fields `wanted` do not allow."""
    if isinstance(wanted, (dict, list)) and type(found) is not type(wanted):
        yield f"{where}: {found!r}"
    elif isinstance(wanted, dict) and str in wanted:
        for key, value in found.items():
            yield from defects(value, wanted[str], f"{where}.{key}")
    elif isinstance(wanted, re.Pattern):
        if type(found) is not int and not (type(found) is str and wanted.fullmatch(found)):
            yield f"{where}: {found!r}"
    elif isinstance(wanted, dict):
        known = {key.rstrip("!"): kind for key, kind in wanted.items()}
        yield from (f"{where}.{key} is unknown" for key in found.keys() - known.keys())
        yield from (f"{where}.{key} is missing" for key in wanted if key.endswith("!") and key[:-1] not in found)
        for key in found.keys() & known.keys():
            yield from defects(found[key], known[key], f"{where}.{key}")
    elif isinstance(wanted, list):
        for each in found:
            yield from defects(each, wanted[0], f"{where}[]")
    elif found not in wanted if isinstance(wanted, tuple) else type(found) is not wanted:
        yield f"{where}: {found!r}"


CONTAINER = ".headGroupSpec.template.spec.containers[]"


def pods(container: dict) -> dict:
    return {"headGroupSpec": {"template": {"spec": {"containers": [container]}}}}


@pytest.mark.parametrize("name", MANIFESTS)
def test_manifests_have_the_fields_of_kuberay(name):
    manifest = yaml.safe_load((GOLDEN / name).read_text())
    assert (manifest["apiVersion"], manifest["metadata"]) == ("ray.io/v1", {"name": "first"})
    assert list(defects(manifest["spec"], SPECS[manifest["kind"]])) == []


@pytest.mark.parametrize(
    "spec, defect",
    [
        ({"headGroupSpec": {"template": {}, "x": 1}}, ".headGroupSpec.x is unknown"),
        ({"headGroupSpec": {"template": {"spec": {}}}}, ".headGroupSpec.template.spec.containers! is missing"),
        (pods({"image": "ray"}), f"{CONTAINER}.name! is missing"),
        (pods({"name": "a", "volumeMounts": [{"name": "b"}]}), f"{CONTAINER}.volumeMounts[].mountPath! is missing"),
        (pods({"name": "a", "volumeMounts": {"name": "b"}}), f"{CONTAINER}.volumeMounts: {{'name': 'b'}}"),
        (pods({"name": "a", "resources": {"limits": {"memory": "16 GB"}}}), f"{CONTAINER}.resources.limits.memory: '16 GB'"),
        (pods({"name": "a", "resources": {"limits": {"cpu": 0.5}}}), f"{CONTAINER}.resources.limits.cpu: 0.5"),
        ({"headGroupSpec": {}}, ".headGroupSpec.template! is missing"),
        ({"headGroupSpec": {"template": {}}, "rayVersion": 2.6}, ".rayVersion: 2.6"),
        ({"headGroupSpec": {"template": {}}, "authOptions": {"mode": "tokens"}}, ".authOptions.mode: 'tokens'"),
        ({"headGroupSpec": {"template": {}, "rayStartParams": {"num-cpus": 4}}}, ".headGroupSpec.rayStartParams.num-cpus: 4"),
    ],
)
def test_what_counts_as_a_defect_of_a_manifest(spec, defect):
    assert list(defects(spec, CLUSTER)) == [defect]


def test_a_pod_that_is_retried_finds_the_run_where_the_claim_is():
    spec = yaml.safe_load((GOLDEN / "job.yaml").read_text())["spec"]
    head, (workers,) = spec["rayClusterSpec"]["headGroupSpec"], spec["rayClusterSpec"]["workerGroupSpecs"]
    assert "--run_name first --run_dir /shared/runs/first" in spec["entrypoint"] and spec["backoffLimit"] > 0
    assert "submitterConfig" not in spec  # KubeRay submits a driver once, however often a submitter is begun: it asks for its status first
    assert f"--nodes {1 + workers['replicas']} " in spec["entrypoint"]
    for group in (head, workers):
        pod = group["template"]["spec"]
        (container,) = pod["containers"]
        assert container["volumeMounts"] == [{"name": "runs", "mountPath": "/shared/runs"}]
        assert pod["volumes"] == [{"name": "runs", "persistentVolumeClaim": {"claimName": "runs"}}]
        assert container["resources"]["limits"] == container["resources"]["requests"]
        assert container["resources"]["limits"]["cpu"] == int(group["rayStartParams"]["num-cpus"]) == 5
        assert container["resources"]["limits"]["nvidia.com/gpu"] == 3  # 14 actors of half a GPU on 3 nodes


@pytest.mark.parametrize("name", MANIFESTS)
def test_manifests_fit_the_published_schemas(name):
    """KUBERAY_CRDS: the folder of KubeRay's own ray.io_*.yaml, of any version."""
    if not (folder := os.environ.get("KUBERAY_CRDS")):
        pytest.skip("KUBERAY_CRDS says where the schemas are")
    jsonschema = pytest.importorskip("jsonschema")
    manifest = yaml.safe_load((GOLDEN / name).read_text())
    definition = yaml.safe_load(Path(folder, f"ray.io_{manifest['kind'].lower()}s.yaml").read_text())
    (schema,) = [version["schema"]["openAPIV3Schema"] for version in definition["spec"]["versions"] if version["name"] == "v1"]
    jsonschema.validate(manifest, schema)
