"""Jobs on a real head: `ray job submit -- python -m learner.main` as docs/cluster.md shows it, and `python -m cluster.launch` on two
raylets, of which one comes late, is killed with its driver, or has faults.

The second node lives in namespaces of its own: to kill it is to kill the first process there and with it all others, and what is
mounted there nobody else sees. Its faults are real ones: none is told to what looks for them.
"""

import json
import re
import socket
import subprocess
import sys
from contextlib import contextmanager

import pytest

from tests import tiny
from tests.end_to_end.conftest import DEADLINE_S, ROOT, Run, free_ports, wait_for

APART = ["unshare", "--map-root-user", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
SECOND = "127.0.0.2"
ITERATIONS = 20


@pytest.fixture(scope="module")
def second_node(head, environment, ray_folder):
    """Starts it: within the `with`, unless the process that is given was killed."""
    if subprocess.run([*APART, "true"], capture_output=True).returncode:
        pytest.skip("this system lets nobody make namespaces (unshare)")

    dead = head.temporary / "session_latest/logs/gcs_server.out"

    @contextmanager
    def start(*flags, before: str = "true", **variables):
        known = dead.read_text().count("has been marked dead")
        before = f"mount -t tmpfs tmpfs {head.temporary}; {before}"  # or it would clear what the head keeps there
        words = [
            *APART, "sh", "-ec", f'{before}; exec "$@"', "node",
            "ray", "start", f"--address={head.address}", f"--node-ip-address={SECOND}", "--block", "--disable-usage-stats", "--min-worker-port=0",
            "--max-worker-port=0", f"--dashboard-agent-listen-port={free_ports(1)[0]}", *flags,
        ]  # fmt: skip
        full = {**environment, **head.environment, **variables}
        with (ray_folder / "second.log").open("w") as log:
            node = subprocess.Popen(words, cwd=ray_folder, env=full, stdout=log, stderr=log)
        try:
            wait_for(lambda: node.poll() is not None or "Ray runtime started" in (ray_folder / "second.log").read_text())
            yield node
        finally:
            node.kill()
            node.wait(60)
            # Until Ray knows: the next run would be placed on what the node had.
            wait_for(lambda: dead.read_text().count("has been marked dead") > known)

    return start


@pytest.fixture(scope="module")
def own(config_file, runs):
    """Arguments of every run here, but its name."""
    return ["--config", config_file, "--iterations", ITERATIONS, "--seed", 3, "--run_dir", runs / "x"]


@pytest.fixture(scope="module")
def submit(head, environment):
    """`ray job submit` of a command of Python, begun."""

    def submit(*words, options=()) -> subprocess.Popen:
        words = ["ray", "job", "submit", "--working-dir", ".", *options, "--", "python", "-m", *words]
        full = {**environment, **head.environment}
        return subprocess.Popen(list(map(str, words)), cwd=ROOT, env=full, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    return submit


@pytest.fixture(scope="module")
def launch(head, environment):
    def launch(*words) -> subprocess.CompletedProcess:
        words = [sys.executable, "-m", "cluster.launch", *map(str, words)]
        return subprocess.run(words, cwd=ROOT, env=head.joined(environment), capture_output=True, text=True, timeout=DEADLINE_S)

    return launch


@pytest.fixture(scope="module")
def undisturbed(submit, own, runs):
    """A run of the same settings on one node, by the command of one node."""
    job = submit("learner.main", *own[:-1], runs / "undisturbed")
    said = job.communicate(timeout=DEADLINE_S)[0]
    return Run(runs / "undisturbed", subprocess.CompletedProcess([], job.returncode, said))


@pytest.fixture(scope="module")
def lost(submit, second_node, own, runs):
    """What a job said whose driver ran on the second node, which was killed when the run had done two iterations or so."""
    with second_node("--num-cpus=1", '--resources={"driver": 1}') as node:
        words = ["cluster.launch", "--nodes", 2, "--", *own, "--run_name", "mine"]
        job = submit(*words, options=["--entrypoint-resources", '{"driver": 1}'])
        metrics = runs / "mine" / "metrics.jsonl"
        wait_for(lambda: job.poll() is not None or (metrics.exists() and metrics.read_text().count("\n") >= 2))
        node.kill()
        return job.communicate(timeout=DEADLINE_S)[0]


@pytest.fixture(scope="module")
def resumed(submit, second_node, lost, own, runs):
    """The same job, submitted again: it finds one node and waits for the second, then has as many samplers as find room, one of them on
    the second, which is killed as the first was."""
    metrics, said = runs / "mine" / "metrics.jsonl", []
    job = submit("cluster.launch", "--nodes", 2, "--", *own, "--run_name", "mine", "--cluster.samplers", "1..9")
    for line in job.stdout:
        said.append(line)
        if line.startswith("waiting: 1 of 2 nodes answer"):
            break
    with second_node("--num-cpus=1") as node:
        before = metrics.read_text().count("\n") + 2
        wait_for(lambda: job.poll() is not None or metrics.read_text().count("\n") >= before)
        node.kill()
        said.append(job.communicate(timeout=DEADLINE_S)[0])
    return Run(runs / "mine", subprocess.CompletedProcess([], job.returncode, "".join(said)))


def test_a_job_runs_to_its_end_and_its_log_shows_the_iterations(undisturbed):
    said = undisturbed.done.stdout
    assert undisturbed.done.returncode == 0 and "succeeded" in said, said
    for iteration in range(1, ITERATIONS + 1):
        assert sum(line.startswith(f"iteration {iteration:2}/{ITERATIONS}  reward") for line in said.splitlines()) == 1


def test_its_results_lie_where_run_dir_says(undisturbed):
    summary = undisturbed.summary
    assert [summary[name] for name in ("status", "iterations", "seed", "max_log_prob_gap")] == ["finished", ITERATIONS, 3, 0]
    assert json.loads((undisturbed.folder / "adapter" / "adapter_config.json").read_text())["r"] == 4
    assert len(undisturbed.metrics) == len(undisturbed.rollouts) == ITERATIONS


def test_the_cluster_gets_the_code_and_its_assets_and_nothing_else(undisturbed, head):
    (package,) = (head.temporary / "session_latest/runtime_resources/working_dir_files").glob("_ray_pkg_*/")
    tracked = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True)
    if tracked.returncode:
        pytest.skip("not a git checkout: what belongs to the project is not known")
    sent = {str(path.relative_to(package)) for path in package.rglob("*") if path.is_file() and "__pycache__" not in path.parts}
    ours = set(tracked.stdout.splitlines())
    assert sent <= ours
    assert {"learner/main.py", *(name for name in ours if "/assets/" in name)} <= sent


def test_a_job_waits_for_a_node_that_comes_late(resumed):
    assert resumed.done.returncode == 0, resumed.done.stdout
    assert resumed.done.stdout.count("waiting: 1 of 2 nodes answer (") == 1
    assert resumed.summary["status"] == "finished"


def test_a_job_that_lost_its_drivers_node_and_then_another_ends_as_one_that_nothing_disturbed(undisturbed, lost, resumed):
    """Whether anybody noticed the second death before the last iteration depends on the machine; the result does not."""
    assert "run finished" not in lost and undisturbed.done.returncode == 0
    assert resumed.summary["samplers"] == "1..9" and re.search(r"^samplers: [1-4] of 1\.\.9$", resumed.done.stdout, re.M)
    assert 1 <= resumed.summary["resumed_at"] < ITERATIONS and undisturbed.summary["resumed_at"] is None
    for name in ("status", "iterations", "adapter_sha256", "heldout"):
        assert resumed.summary[name] == undisturbed.summary[name]


def test_one_that_has_finished_does_nothing(launch, resumed, own):
    done = launch("--nodes", 9, "--", *own, "--run_name", "mine")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"run_name: {resumed.folder} has finished already\n", "")


def test_a_cluster_that_never_gets_big_enough_is_one_line(launch, runs):
    hosts = ",".join([socket.gethostname(), "gpu02", "gpu03.site"])
    done = launch("--nodes", hosts, "--wait_s", 5, "--", "--run_dir", runs / "never")
    assert done.returncode == 1
    assert re.fullmatch(r"error: --nodes: 1 of 3 nodes answer \([\d.]+\) after 5 s; no node is called gpu02, gpu03\.site; see .*\n", done.stderr)
    assert not (runs / "never").exists()


def test_the_check_finds_ten_faults_of_a_real_node_and_no_others(launch, second_node, tmp_path):
    """Clocks that are wrong and ports that are closed are put before the checks in tests/cluster/launch."""
    config, place = tiny.write_run_config(tmp_path / "config"), tmp_path / "runs"
    other = tiny.write_mdm(tmp_path / "other", seed=9, mask_frames=True)
    for folder in (place, tmp_path / "nothing", tmp_path / "path" / "torch-1.0.dist-info"):
        folder.mkdir(parents=True)
    (tmp_path / "path/torch-1.0.dist-info/METADATA").write_text("Metadata-Version: 2.1\nName: torch\nVersion: 1.0\n")
    (tmp_path / "README.md").write_text("of another version\n")
    faults = [
        f"mount --bind {other} {tmp_path / 'config/mdm'}",
        f"mount --bind {tmp_path / 'nothing'} {tmp_path / 'config/t2m'}",
        f"mount --bind {tmp_path / 'README.md'} {ROOT / 'cluster/README.md'}",
        f"mount -t tmpfs tmpfs {place}",
        "mount -t tmpfs -o size=16m tmpfs /dev/shm",
    ]
    with second_node("--num-cpus=64", "--num-gpus=1", before="; ".join(faults), PYTHONPATH=str(tmp_path / "path")):
        words = ["--config", config, "--run_dir", place / "first", "--cluster.samplers", 500]
        done = launch("--check", "--nodes", 3, "--wait_s", 5, "--", *words)
    assert (done.returncode, done.stderr) == (1, "")
    lines = [line for line in done.stdout.splitlines() if not line.startswith("waiting: ")]
    on_second = [line.removeprefix(f"{SECOND}: ") for line in lines if line.startswith(SECOND)]
    for words in (
        r"torch 1\.0, the driver's node has ",
        "this project [0-9a-f]{12}, the driver's node has ",
        f"has another {tmp_path}/config/mdm/Mean.npy and 4 more; ",
        "Ray counts 64 CPUs, and a process there may use ",
        "Ray counts 1 GPUs, and torch can use 0 ",
        "/dev/shm has 1[67] MB free, ",
        f"{place} is another one than the driver's; ",
    ):
        assert [line for line in on_second if re.match(words, line)], f"{words} in {done.stdout}"
    assert len(on_second) == 7
    assert lines[0].startswith("--nodes: 2 of 3 nodes answer (")
    assert lines[-1].startswith("cluster.samplers: 500 of 1 CPU each need 500 CPUs")
    assert list(place.iterdir()) == []
