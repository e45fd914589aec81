"""A range of samplers on a real Ray: more of them when a node comes, fewer when it goes, and always the same groups and adapter."""

import os
import signal
import time
from collections import Counter

import pytest

from cluster.calls import get
from cluster.samplers import Step
from cluster.training_pool import TrainingPool
from learner.config.parse import parse_config
from learner.learner import Learner
from learner.run.plan import Plan
from learner.tally import ScoredGroup
from rewards.compose import Composer
from rewards.motion.family import MOTION as REWARDS
from rollout.motion.diffusion_policy import MotionDiffusionPolicy
from rollout.motion.family import MOTION, policy_settings
from tests.tiny import write_run_config


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    cluster = {"samplers": "1..6", "gpus_per_actor": 0}
    path = write_run_config(tmp_path_factory.mktemp("run"), cluster=cluster, rollout={"prompts_per_iteration": 6})
    return parse_config(["--config", str(path)])


@pytest.fixture(scope="module")
def requests(config):
    return Plan.make(config).rollout_requests(0)


@pytest.fixture(scope="module")
def told():
    return []


@pytest.fixture(scope="module")
def pool(config, told):
    pool = TrainingPool(config, MOTION.build(config), REWARDS, {}, told.append)
    pool.publish(pool.adapter())
    return pool


@pytest.fixture(scope="module")
def alone(config, requests):
    """Digests of all groups and of the adapter after them, by one process."""
    policy = MotionDiffusionPolicy(policy_settings(config))
    learner = Learner(policy, config.objective, config.optimizer)
    groups, scorer = [policy.sample(request) for request in requests], REWARDS.load(config, "cpu", {})[0]
    totals = Composer(config.reward.parsed()).total([scorer(REWARDS.subjects(group)) for group in groups])
    update = learner.update([ScoredGroup(*pair) for pair in zip(groups, totals, strict=True)])
    return [group.group().digest for group in groups], update.adapter.sha256


def wait_for(pool, ready: int) -> None:
    """Until so many samplers hold the adapter and no more, and all others wait for room."""
    end = time.monotonic() + 120
    while Counter(steps := [sampler.step for sampler in pool.samplers.all]) != {Step.IDLE: ready, Step.PENDING: len(steps) - ready}:
        assert time.monotonic() < end, steps
        pool.samplers.turn()


def iterate(pool, requests, during=lambda arrived: None):
    """Digests of the groups of an iteration and of the adapter after it; the pool stands afterwards where it stood."""
    before = pool.state
    pool.publish(pool.adapter())
    rollout = pool.launch(requests, during).result()
    update = pool.update(rollout)
    pool.restore(before)
    return [group.digest for group in rollout.groups], update.adapter.sha256


def test_samplers_come_and_go_with_nodes_and_all_is_as_one_process_makes_it(pool, told, requests, alone, private_ray):
    wait_for(pool, 2)
    pool.publish(pool.adapter())
    told.clear()
    assert iterate(pool, requests) == alone
    assert pool.samplers.at_work() == []  # of whom waits for room nobody says that he is stuck
    node = private_ray.add_node(num_cpus=3, num_gpus=0)
    wait_for(pool, 5)
    assert iterate(pool, requests) == alone
    assert iterate(pool, requests, lambda arrived: private_ray.remove_node(node) if arrived == 1 else None) == alone
    wait_for(pool, 2)
    pool.publish(pool.adapter())
    assert [line for line in told if line.startswith("samplers: ")] == ["samplers: 5 of 1..6", "samplers: 2 of 1..6"]


def test_those_that_wait_are_in_nobodys_way_when_learner_and_reward_are_replaced_and_samplers_witnessed(pool, requests, alone, monkeypatch):
    wait_for(pool, 2)
    monkeypatch.setattr("cluster.updating.WITNESSED", 2)
    working = [sampler for sampler in pool.samplers.all if sampler.step is Step.IDLE]
    for sampler in working:
        sampler.witnessed = 9
    for actor in (pool.learner.actor, pool.scorers.actors[0]):
        os.kill(get(actor.whereabouts.remote()).pid, signal.SIGKILL)
    assert iterate(pool, requests) == alone
    assert [sampler.witnessed for sampler in working] == [1, 1]


def test_fewer_than_the_least_end_the_run_that_many_seconds_after_the_last_loss(pool, monkeypatch):
    """Those that have waited since the beginning were no sign of it."""
    wait_for(pool, 2)
    waiting = next(sampler for sampler in pool.samplers.all if sampler.step is Step.PENDING)
    waiting.since -= 1000
    assert pool.samplers._due(waiting) == float("inf")
    monkeypatch.setattr(pool.samplers, "floor", 3)
    assert pool.samplers._due(waiting) > waiting.since + 1000
