"""What `--check` says of facts that are put before it: each fault is one line, of the node that has it, and a good cluster has none.

Faults that a node really has: tests/end_to_end/test_launch.py.
"""

import dataclasses
from pathlib import Path

import pytest

from cluster.launch.__main__ import main
from cluster.launch.checks import CHECKS, Seen
from cluster.launch.probe import MISSING, Facts, digest_of
from learner.config.parse import parse_config

FACTS = Facts(
    versions={"python": "3.11.2", "torch": "2.13.0", "ray": "2.60.0", "this project": "a" * 64},
    cpu_kind="GenuineIntel 6 85, AVX512",
    cpus=8,
    gpus=0,
    gpu_error="torch 2.13.0 sees none",
    shared_memory=8 * 10**9,
    weights={"/models/a.pt": "b" * 64, "/models/b.pt": "c" * 64},
    unreachable=[],
)
RESOURCES = {"CPU": 8.0, "object_store_memory": 4e9}
GPUS = {"GPU": 8.0}
CONFIG = parse_config(["--run_dir", "/shared/runs/first", "--cluster.samplers", "8"])


def node(address: str, resources=RESOURCES, ahead=0.0, folder="", **facts) -> Seen:
    return Seen(address, resources, dataclasses.replace(FACTS, **facts), ahead, folder)


def found(*nodes: Seen, config=CONFIG) -> list[str]:
    return [line for check in CHECKS for line in check(nodes, config)]


def test_a_good_cluster_has_no_finding():
    assert found(node("head"), node("two")) == found(node("head"), node("two"), node("three", ahead=-1.5)) == []
    assert found(node("head"), config=CONFIG.replace(run_dir=None, cluster=CONFIG.cluster.replace(samplers=2))) == []


def test_gpus_make_kinds_of_cpu_equal_and_hide_nothing():
    with_gpus = [node(name, RESOURCES | GPUS, gpus=8, gpu_error="", cpu_kind=name) for name in ("head", "two")]
    assert found(*with_gpus) == []
    no_gpus = CONFIG.replace(cluster=CONFIG.cluster.replace(gpus_per_actor=0))
    assert [line.split(":")[0] for line in found(*with_gpus, config=no_gpus)] == ["two"]


@pytest.mark.parametrize(
    "fault, words, remedy",
    [
        ({"ahead": 3.0}, "its clock is 3.0 s ahead", "chrony"),
        ({"ahead": -90.0}, "its clock is 90.0 s behind", "chrony"),
        ({"unreachable": ["head:6380", "head:8076"]}, "cannot reach head:6380, head:8076", "open these ports"),
        ({"versions": FACTS.versions | {"torch": "2.6.0"}}, "torch 2.6.0, the driver's node has 2.13.0", "install the same"),
        ({"versions": FACTS.versions | {"python": "3.12.1"}}, "python 3.12.1, the driver's node has 3.11.2", "install the same"),
        ({"versions": FACTS.versions | {"this project": "d" * 64}}, "this project dddddddddddd, the driver's node has aaaaaaa", "install"),
        ({"weights": FACTS.weights | {"/models/b.pt": "d" * 64}}, "has another /models/b.pt", "copy"),
        ({"weights": dict.fromkeys(FACTS.weights, MISSING)}, "has no /models/a.pt and 1 more", "copy"),
        ({"cpu_kind": "AuthenticAMD 25 1, AVX2"}, "its CPU is AuthenticAMD 25 1, AVX2, the driver's GenuineIntel 6 85, AVX512", "one kind"),
        ({"cpus": 4}, "Ray counts 8 CPUs, and a process there may use 4", "--num-cpus=4"),
        ({"resources": RESOURCES | GPUS, "gpus": 7, "gpu_error": "no driver"}, "Ray counts 8 GPUs, and torch can use 7 (no driver)", "0"),
        ({"shared_memory": 64 * 10**6}, "/dev/shm has 64 MB free, large groups of its samplers take 800", "--shm-size"),
        ({"resources": RESOURCES | {"object_store_memory": 2e8}}, "Ray's object store is 200 MB", "--object-store-memory=800000000"),
        ({"folder": "/shared/runs is another one than the driver's"}, "/shared/runs is another one than the driver's", "mount the same"),
    ],
)  # fmt: skip
def test_each_fault_is_one_line_with_a_remedy_and_the_node_that_has_it(fault, words, remedy):
    (line,) = found(node("head"), node("two", **fault))
    assert line.startswith(f"two: {words}") and remedy in line.split("; ", 1)[1] and "\n" not in line


def test_a_node_that_says_nothing_is_named_and_hides_no_other_fault():
    lines = found(node("head"), Seen("two", RESOURCES, "No module named 'cluster.launch'"), node("three", cpus=4))
    assert [line.split(":")[0] for line in lines] == ["two", "three"]
    assert "(No module named 'cluster.launch'); install this project" in lines[0]


def test_what_does_not_fit_is_said_as_the_run_would_say_it():
    (line,) = found(node("head", RESOURCES | {"CPU": 4.0}))
    assert line == "cluster.samplers: 8 of 1 CPU each need 8 CPUs, the cluster has 4; add nodes, or ask for less"


def test_of_a_range_of_samplers_the_least_must_fit_and_memory_be_there_for_the_most():
    ranging = CONFIG.replace(cluster=CONFIG.cluster.replace(samplers="4..16"))
    assert found(node("head", RESOURCES | {"CPU": 4.0}), config=ranging) == []
    (line,) = found(node("head", RESOURCES | {"CPU": 3.0}), config=ranging)
    assert line.startswith("cluster.samplers: 4 of 1 CPU each need 4 CPUs, the cluster has 3;")
    (line,) = found(node("head"), node("two", shared_memory=10**9), config=ranging)
    assert line.startswith("two: /dev/shm has 1000 MB free, large groups of its samplers take 1600;")


def test_a_system_without_shared_memory_has_no_fault():
    assert found(node("head"), node("two", shared_memory=None)) == []


def test_a_run_without_a_folder_works_in_a_copy():
    (line,) = found(node("head"), node("two"), config=CONFIG.replace(run_dir=None))
    assert line.startswith("--run_dir: not given")


@pytest.mark.parametrize(
    "address, words",
    [("127.0.0.1:1", "no Ray cluster at 127.0.0.1:1"), ("http://head:8265", "found http://head:8265, expected HOST:PORT")],
)
def test_an_address_of_no_cluster_is_a_finding(monkeypatch, capsys, address, words):
    monkeypatch.setenv("RAY_ADDRESS", address)
    assert main(["--check", "--nodes", "2", "--"]) == 1
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith(f"RAY_ADDRESS: {words}") and "ray status" in line


def test_several_nodes_without_an_address_are_a_finding_at_once(monkeypatch, capsys):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    assert main(["--check", "--nodes", "2", "--"]) == 1
    assert capsys.readouterr().out.startswith("--nodes: found 2 and no RAY_ADDRESS, expected the address of a cluster")


def test_weights_of_one_name_and_size_differ_by_their_content(tmp_path: Path):
    for folder, content in (("a", b"one"), ("b", b"two"), ("c", b"one")):
        (tmp_path / folder / "last_weights").mkdir(parents=True)
        (tmp_path / folder / "last_weights" / "motion_encoder.pt").write_bytes(content)
    one, two, again = (digest_of(tmp_path / folder) for folder in "abc")
    assert one == again != two and digest_of(tmp_path / "d") == MISSING
    (tmp_path / "c" / "notes.txt").write_text("more")
    assert digest_of(tmp_path / "c") != one
