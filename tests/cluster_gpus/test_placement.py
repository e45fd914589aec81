"""Every actor of a run finds a place: by Ray's rules over clusters of many shapes, and on a real Ray with declared GPUs."""

import random

import pytest
import ray
import torch

from cluster.actors import LearnerActor, RewardActor, SamplerActor
from cluster.calls import get
from cluster.placement import UNIT, Node, Shares, place, shares
from cluster.training_pool import TrainingPool
from learner.config.parse import parse_config
from learner.config.settings import Cluster
from rewards.motion.family import MOTION as REWARDS
from rollout.family import family
from rollout.io.errors import InputError
from tests.tiny import write_run_config


class ByRaysRules:
    """Nodes as Ray's schedulers see them: one whose free sums suffice is taken for one that has room, at random; there the
    actor gets whole free GPUs, or a share of the fullest that has it, and where none has it waits for ever."""

    def __init__(self, nodes: list[Node], seed: int):
        self.cpus = [node.cpus for node in nodes]
        self.gpus = [[UNIT] * node.gpus for node in nodes]
        self.random = random.Random(seed)

    def room(self, cpus: int, share: float) -> list[int]:
        """Nodes that seem to have it."""
        return [i for i in range(len(self.cpus)) if self.cpus[i] >= cpus and sum(self.gpus[i]) >= round(share * UNIT)]

    def add(self, cpus: int, share: float):
        units, seen = round(share * UNIT), self.room(cpus, share)
        assert seen, f"no node has room for {cpus} CPUs and {share} GPUs: {self.cpus}, {self.gpus}"
        node = self.random.choice(seen)
        free = self.gpus[node]
        if units >= UNIT:
            given = [gpu for gpu in range(len(free)) if free[gpu] == UNIT][: units // UNIT]
            assert len(given) == units // UNIT, f"no {share} GPUs on node {node}: {free}"
        else:
            given = sorted((gpu for gpu in range(len(free)) if free[gpu] >= units), key=free.__getitem__)[:1] if units else []
            assert given or not units, f"no {share} GPU on node {node}: {free}"
        self._change(node, cpus, given, units, -1)
        return node, cpus, given, units

    def remove(self, placed) -> None:
        self._change(*placed, 1)

    def _change(self, node, cpus, given, units, sign) -> None:
        self.cpus[node] += sign * cpus
        for gpu in given:
            self.gpus[node][gpu] += sign * min(units, UNIT)


def place_and_lose(nodes: list[Node], cluster: Cluster, others: int, given: Shares, seed: int) -> list:
    """All actors in random order, then a few lost and placed again, some times over."""
    site = ByRaysRules(nodes, seed)
    actors = [(cluster.sampler_cpus, given.sampler)] * cluster.samplers.high + [(0, given.other)] * others
    placed = []
    for _ in range(4):
        site.random.shuffle(actors)
        placed += [(actor, site.add(*actor)) for actor in actors]
        site.random.shuffle(placed)
        lost, placed = placed[: len(placed) // 3], placed[len(placed) // 3 :]
        for _, where in lost:
            site.remove(where)
        actors = [actor for actor, _ in lost]
    return placed


def shapes(gpus: int):
    """So many GPUs on one node, or uneven ones; with many CPUs, with a few, and a head that has CPUs alone."""
    for parts in {(gpus,), (gpus // 2, gpus - gpus // 2), (1, gpus - 1), (gpus // 3, gpus // 3, gpus - 2 * (gpus // 3))}:
        if all(parts):
            yield [Node(64, part) for part in parts]
            yield [Node(1 + 2 * part, part) for part in parts]
            yield [Node(8, 0), *(Node(40 // part, part) for part in parts)]


@pytest.mark.parametrize("others", [1, 2, 3, 5])
def test_whoever_is_given_a_share_finds_it(others):
    """Up to 24 actors and 16 GPUs, whatever the order, after losses too."""
    tried = 0
    for gpus in range(1, 17):
        for nodes in shapes(gpus):
            for samplers in range(1, 25 - others):
                cluster = Cluster(samplers=samplers, sampler_cpus=1 + samplers % 2)
                try:
                    given = shares(nodes, cluster, others)
                except InputError as error:
                    assert "CPU each need" in str(error)  # never for want of GPUs
                    continue
                place_and_lose(nodes, cluster, others, given, tried)
                tried += 1
    assert tried > 1500


def test_what_is_asked_for_finds_its_place_or_is_refused_and_what_would_fit_does():
    refused = 0
    for gpus in range(1, 9):
        for nodes in shapes(gpus):
            for asked in (1, 2, 0.75, 0.6, 0.5, 0.4, 0.3, 0.1):
                for samplers in (1, 2, 5, 8):
                    cluster = Cluster(samplers=samplers, gpus_per_actor=asked)
                    try:
                        given = shares(nodes, cluster, 2)
                    except InputError as error:
                        if "would fit" not in str(error):
                            assert "CPU each need" in str(error)
                            continue
                        would = float(str(error).split("; ")[1].split()[0])
                        cluster = Cluster(samplers=samplers, gpus_per_actor=would)
                        given = shares(nodes, cluster, 2)
                        refused += 1
                    place_and_lose(nodes, cluster, 2, given, samplers)
    assert refused > 100


@pytest.mark.parametrize("asked", [None, 1, 0.5, 0.3])
def test_of_a_range_as_many_as_there_is_room_for_and_who_waits_is_in_nobodys_way(asked):
    """Up to 24 samplers, of which those that wait try first whenever anything changes: a node comes, all others are lost, a node goes."""
    tried = 0
    for gpus in range(1, 17):
        for nodes in shapes(gpus):
            for low in (1, 2, 5):
                cluster = Cluster(samplers=f"{low}..24", gpus_per_actor=asked, sampler_cpus=1 + gpus % 2)
                try:
                    given = shares(nodes, cluster, 3)
                except InputError as error:
                    assert "CPU each need" in str(error) or asked
                    continue
                play_a_range(nodes, cluster, given, ByRaysRules(nodes, tried))
                tried += 1
    assert tried > 150


def play_a_range(nodes: list[Node], cluster: Cluster, given: Shares, site: ByRaysRules) -> None:
    on_one, samplers = int(1 / given.sampler), []

    def settle(nodes: list[Node]) -> None:
        while len(samplers) < cluster.samplers.high and site.room(cluster.sampler_cpus, given.sampler):
            samplers.append(site.add(cluster.sampler_cpus, given.sampler))
        assert len(samplers) == min(24, sum(min(int(node.cpus // cluster.sampler_cpus), node.gpus * on_one) for node in nodes))

    others = [site.add(0, given.other) for _ in range(3)]
    settle(nodes)
    assert len(samplers) >= cluster.samplers.low
    for came in (Node(4, 2), Node(64, 16)):
        site.cpus.append(came.cpus)
        site.gpus.append([UNIT] * came.gpus)
        settle([*nodes, came])
        for other in others:
            site.remove(other)
            settle([*nodes, came])
        others = [site.add(0, given.other) for _ in range(3)]
        away = [other for other in others if other[0] == len(nodes)]
        samplers[:] = [sampler for sampler in samplers if sampler[0] != len(nodes)]
        others = [other for other in others if other not in away]
        site.cpus.pop()
        site.gpus.pop()
        settle(nodes)
        others += [site.add(0, given.other) for _ in away]


@pytest.mark.parametrize(
    "nodes, samplers, others, expected",
    [
        ([Node(8, 4)], 2, 2, (1, 1)),
        ([Node(2, 4)], 2, 2, (1, 1)),  # the others may take the places that no sampler has CPUs for
        ([Node(64, 8), Node(64, 8)], 14, 2, (1, 1)),
        ([Node(3, 0)], 2, 2, (0, 0)),
        ([Node(8, 3)], 2, 2, (0.7501, 0.1249)),
        ([Node(8, 1)], 2, 2, (0.3334, 0.1666)),
        ([Node(64, 8)], 8, 2, (0.8889, 0.0555)),
        ([Node(64, 8)], 16, 2, (0.4706, 0.0294)),
        ([Node(64, 8)], "2..16", 2, (0.9412, 0.0294)),
        ([Node(64, 1)], "2..16", 2, (0.4849, 0.0151)),
        ([Node(3, 0)], "2..16", 2, (0, 0)),
    ],
)
def test_a_gpu_for_everybody_or_one_for_as_few_samplers_as_can_be(nodes, samplers, others, expected):
    given = shares(nodes, Cluster(samplers=samplers), others)
    assert (given.sampler, given.other) == pytest.approx(expected)


@pytest.mark.parametrize(
    "nodes, settings, message",
    [
        ([Node(8, 3)], {"gpus_per_actor": 0.75}, "cluster.gpus_per_actor: 4 actors of 0.75 GPU each need 4 GPUs, the cluster has 3; 0.5 would fit"),
        ([Node(8, 2)], {"gpus_per_actor": 0.6}, "cluster.gpus_per_actor: 4 actors of 0.6 GPU each need 4 GPUs, the cluster has 2; 0.5 would fit"),
        ([Node(8, 0)], {"gpus_per_actor": 0.5}, "cluster.gpus_per_actor: 4 actors of 0.5 GPU each need 2 GPUs, the cluster has 0"),
        ([Node(8, 8)], {"gpus_per_actor": 1.5}, "cluster.gpus_per_actor: found 1.5, expected a whole number, or at most 1"),
        (
            [Node(0, 2), Node(2, 2)], {"gpus_per_actor": 1},
            "cluster.gpus_per_actor: 4 actors of 1 GPU each need 4 GPUs, the cluster has 4, some without CPUs for a sampler; 0.5 would fit",
        ),
        ([Node(8, 2)], {"samplers": "3..8", "gpus_per_actor": 1}, "cluster.gpus_per_actor: 3 actors of 1 GPU each need 3 GPUs, the cluster has 2; 0.5 would fit"),
        ([Node(3, 0)], {"samplers": "4..9"}, "cluster.samplers: 4 of 1 CPU each need 4 CPUs, the cluster has 3"),
        ([Node(3, 0)], {"samplers": 4}, "cluster.samplers: 4 of 1 CPU each need 4 CPUs, the cluster has 3"),
        ([Node(3, 0)] * 2, {"sampler_cpus": 2, "samplers": 3}, "cluster.samplers: 3 of 2 CPU each need 6 CPUs, the cluster has 6 on 2 nodes that hold 2 of them"),
        ([Node(8, 0)], {"precision": "tf32"}, "cluster.precision: found 'tf32', expected fp32 or bf16: TF32 is of GPUs alone, and this run has none"),
        (
            [Node(8, 4)], {"precision": "tf32", "gpus_per_actor": 0},
            "cluster.precision: found 'tf32', expected fp32 or bf16: TF32 is of GPUs alone, and this run has none",
        ),
        (
            [Node(8, 0), Node(1, 4)], {},
            "cluster.samplers: 2 of 1 CPU each need 2 CPUs, its nodes with GPUs (which --cluster.gpus_per_actor 0 leaves alone) have 1",
        ),
    ],
)  # fmt: skip
def test_what_the_cluster_lacks_is_one_line(nodes, settings, message):
    with pytest.raises(InputError) as caught:
        shares(nodes, Cluster(**settings), 2)
    assert str(caught.value) == message


def test_four_actors_on_three_gpus_all_start():
    cluster = Cluster()
    given = place(cluster, 2, print)
    kinds = [(LearnerActor, 0, given.other), (RewardActor, 0, given.other), (SamplerActor, 1, given.sampler), (SamplerActor, 1, given.sampler)]
    actors = [kind.options(num_cpus=cpus, num_gpus=gpus).remote() for kind, cpus, gpus in kinds]
    gpus = [get(actor.__ray_call__.remote(lambda actor: ray.get_gpu_ids()), 60) for actor in actors]
    assert all(len(found) == 1 for found in gpus) and gpus[2] != gpus[3]
    for actor in actors:
        ray.kill(actor)


def test_a_gpu_that_torch_cannot_use_is_one_line_and_no_silent_cpu(tmp_path):
    if torch.cuda.is_available():
        pytest.skip("torch can use a GPU here")
    config = parse_config(["--config", str(write_run_config(tmp_path))])
    with pytest.raises(InputError, match=r"^cluster.gpus_per_actor: node [\d.]+ gave an actor GPU \d, which torch \S+ cannot use \(.*\); 0 leaves GPUs alone$"):
        TrainingPool(config, family("motion").build(config), REWARDS, {})


def test_a_cluster_that_grows_is_waited_for(private_ray):
    """A sampler of three CPUs: with the first node that joins there are as many, on no single node; the second has them."""
    told, nodes = [], []

    def tell(line: str) -> None:
        told.append(line)
        nodes.append(private_ray.add_node(num_cpus=1 if len(told) == 1 else 3, num_gpus=1))

    assert place(Cluster(samplers=1, sampler_cpus=3, gpus_per_actor=0.25, wait_s=120), 2, tell) == Shares(0.25, 0.25)
    assert told == [
        "waiting for 3 CPUs, 1 GPUs: the cluster has 2 CPUs, 3 GPUs",
        "waiting for 3 CPUs, 1 GPUs: the cluster has 3 CPUs, 4 GPUs on 2 nodes",
    ]
    for node in nodes:
        private_ray.remove_node(node)


def test_one_that_does_not_grow_is_refused_with_both_numbers():
    told = []
    with pytest.raises(InputError, match="^cluster.samplers: 400 of 4 CPU each need 1600 CPUs, the cluster has [2-5]"):
        place(Cluster(samplers=400, sampler_cpus=4, wait_s=1), 2, told.append)
    assert told[0].startswith("waiting for 1600 CPUs: the cluster has ")
    told.clear()
    with pytest.raises(InputError, match="^cluster.samplers: 400 of 4 CPU each need 1600 CPUs"):
        place(Cluster(samplers=400, sampler_cpus=4), 2, told.append)
    assert told == []
