"""Samplers, reward and learner as real Ray actors: one small local cluster, tiny models."""

import dataclasses
import json
import os
import pickle
import shutil
import signal
import sys
import threading
import time
from collections import Counter

import numpy as np
import pytest
import ray
from ray.exceptions import OwnerDiedError

from cluster.actors import RewardActor, SamplerActor
from cluster.calls import get
from cluster.device import AS_TOLD, EXACT, environment
from cluster.present import Present
from cluster.samplers import Job, Samplers
from cluster.training_pool import TrainingPool
from learner.config.parse import parse_config
from learner.gradient import SyncError
from learner.learner import Learner, State
from learner.run.plan import Plan
from learner.tally import ScoredGroup
from rewards.compose import Composer
from rewards.motion.family import MOTION as REWARDS
from rewards.motion.motions import as_motions
from rewards.motion.tmr import TMRReward
from rollout.adapter import Adapter
from rollout.io.errors import InputError, RunFailed
from rollout.io.settings import Count
from rollout.motion.adapter_folder import load_policy
from rollout.motion.diffusion_policy import MotionDiffusionPolicy
from rollout.motion.family import MOTION, policy_settings
from rollout.policy import Group, Trajectories
from tests.cluster.impatient import impatient
from tests.processes import still_there
from tests.tiny import noisy_adapter, write_run_config

SIZES = (9, 2, 3, 2, 5, 2)  # samples a group: the first is the slowest
build = MOTION.build


def sampled(actor, request, sha256: str):
    """A group from one sampler, whole."""
    made = actor.sample.remote(request.conditioning, request.group_size, request.seed, request.trained_steps, sha256)
    group, actions = (get(part) for part in made)
    return Trajectories.of(group, request.conditioning, actions)


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    path = write_run_config(tmp_path_factory.mktemp("run"), cluster={"samplers": 2})
    return parse_config(["--config", str(path)])


@pytest.fixture(scope="module")
def policy(config):
    return MotionDiffusionPolicy(policy_settings(config))


@pytest.fixture(scope="module")
def requests(config):
    """Three iterations' groups, of different sizes."""
    plan = Plan.make(config)
    found = [request for iteration in range(3) for request in plan.rollout_requests(iteration)]
    return [dataclasses.replace(request, group_size=size) for request, size in zip(found, SIZES, strict=True)]


@pytest.fixture(scope="module")
def tuned(policy):
    return noisy_adapter(policy, version=5)


@pytest.fixture(scope="module")
def pool(config):
    return TrainingPool(config, build(config), REWARDS, {})


@pytest.fixture
def published(pool, tuned):
    """The learner's state is that of `tuned`, and every sampler holds it."""
    own = pool.state
    arrays = {f"adapter/{name}": value for name, value in tuned.tensors().items()}
    pool.restore(State(arrays, own.facts | {"version": 5, "recent": {"5": tuned.sha256}}))
    pool.samplers.await_all()
    pool.publish(tuned)
    return pool


def pids(pool) -> list[int]:
    return [get(sampler.actor.__ray_call__.remote(lambda actor: os.getpid())) for sampler in pool.samplers.all]


def held(pool) -> list[tuple[int, str]]:
    """Version and digest of the weights in every sampler, read from its parameters."""

    def read(actor):
        return actor.policy.loaded[0], Adapter.pack(0, actor.policy.adapter_state()).sha256

    return [get(sampler.actor.__ray_call__.remote(read)) for sampler in pool.samplers.all]


def assert_same(rollout, expected) -> None:
    assert [group.digest for group in rollout.groups] == [group.digest for group in expected.groups]
    for group, other in zip(rollout.groups, expected.groups):
        np.testing.assert_array_equal(group.log_probs, other.log_probs)
    for result, other in zip(rollout.results, expected.results, strict=True):
        assert result.failures == other.failures
        for name, values in other.values.items():
            np.testing.assert_array_equal(result.values[name], values)


def test_every_sampler_holds_what_was_published(pool, policy, tuned):
    for adapter in (noisy_adapter(policy, version=4, seed=3), tuned):
        pool.publish(adapter)
        assert held(pool) == [(adapter.version, adapter.sha256)] * 2


def test_every_actor_computes_exactly_unless_told_otherwise(pool, config):
    """Its environment too, which CUDA reads when it starts. On a CPU attention keeps the kernel it has."""

    def read(actor):
        import torch

        environment = {name: os.environ.get(name) for name in (*AS_TOLD, *EXACT)}
        return environment, torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn.allow_tf32, torch.backends.cuda.flash_sdp_enabled()

    off = config.cluster.replace(deterministic=False)
    inexact = RewardActor.options(num_cpus=0, runtime_env={"env_vars": environment(off, 1)}).remote(off.deterministic)
    for actor in (pool.samplers.all[0].actor, pool.learner.actor, pool.scorers.actors[0]):
        assert get(actor.__ray_call__.remote(read)) == (AS_TOLD | EXACT, True, False, True)
    assert get(inexact.__ray_call__.remote(read)) == (AS_TOLD | dict.fromkeys(EXACT), False, True, True)
    ray.kill(inexact)


def test_an_adapter_damaged_on_its_way_is_acknowledged_by_none(published, tuned):
    buffer = tuned.buffer.copy()
    buffer[7] += 1
    with pytest.raises(SyncError, match="not published: adapter version 5: changed on its way"):
        published.publish(dataclasses.replace(tuned, buffer=buffer))
    assert held(published) == [(5, tuned.sha256)] * 2


def test_a_sampler_samples_under_no_other_adapter_than_the_one_asked_for(published, requests, tuned, policy):
    other = noisy_adapter(policy, seed=9).sha256
    for sampler in published.samplers.all:
        with pytest.raises(SyncError, match=f"with adapter {tuned.sha256[:14]} was asked to sample under {other[:14]}"):
            sampled(sampler.actor, requests[0], other)
        assert sampled(sampler.actor, requests[1], tuned.sha256).adapter_sha256 == tuned.sha256


def test_a_group_is_the_same_whichever_sampler_made_it(published, requests, tuned):
    for request in requests[:3]:
        one, two = (sampled(sampler.actor, request, tuned.sha256) for sampler in published.samplers.all)
        assert one.digest == two.digest
        np.testing.assert_array_equal(one.log_probs, two.log_probs)


def test_groups_and_results_come_in_the_order_of_their_requests(published, requests, config):
    reward = TMRReward.load(config.reward.tmr_path)
    rollout = published.launch(requests).result()
    assert [len(group) for group in rollout.groups] == list(SIZES)
    assert [group.seed for group in rollout.groups] == [request.seed for request in requests]
    assert [group.conditioning_sha256 for group in rollout.groups] == [request.conditioning.digest for request in requests]
    for group, result in zip(rollout.groups, rollout.results, strict=True):
        np.testing.assert_allclose(result.values["tmr"], reward(as_motions(group)), rtol=1e-5)
    assert len({group.digest for group in rollout.groups}) == len(requests)


def test_seconds_are_those_that_were_waited(published, requests):
    """What is sampled while the driver does something else costs nothing."""
    started = time.perf_counter()
    pending = published.launch(requests[:2])
    time.sleep(0.5)
    rollout = pending.result()
    assert 0 < rollout.seconds == pending.waited <= time.perf_counter() - started - 0.5 - rollout.tail_seconds


def test_every_actor_says_what_it_did_and_when(published, requests):
    published.spans.take()
    started = time.time()
    published.publish(published.update(published.launch(requests[:3]).result()).adapter)
    spans, ended = published.spans.take(), time.time()
    assert all(started <= span.start <= span.end <= ended for span in spans) and published.spans.take() == []
    done = Counter((span.actor.split()[0], span.what) for span in spans)
    assert done == {
        ("sampler", "sample"): 3, ("reward", "score"): 3, ("sampler", "gradient"): 3, ("learner", "step"): 1,
        ("sampler", "take adapter"): 2, ("driver", "publish"): 1,
    }  # fmt: skip
    for actor in {span.actor for span in spans} - {"driver"}:  # none does two things at once
        own = sorted((span for span in spans if span.actor == actor), key=lambda span: span.start)
        assert all(one.end <= two.start + 0.05 for one, two in zip(own, own[1:]))


def test_while_the_driver_waits_it_tells_what_every_actor_is_at(published, requests, monkeypatch):
    told = []
    monkeypatch.setattr(published, "present", Present(published.spans, told.append))
    monkeypatch.setattr("cluster.present.EVERY_S", 0.0)
    started = time.time()
    published.update(published.launch(requests[:3]).result())
    assert {"score", "gradient"} <= {each["doing"] for each in told} and json.loads(json.dumps(told)) == told
    for doing in ("score", "gradient"):
        done = [each["done"] for each in told if each["doing"] == doing]
        assert done == sorted(done) and {each["of"] for each in told if each["doing"] == doing} == {3}
    actors, ended = [actor for each in told for actor in each["actors"]], time.time()
    assert {actor["actor"] for actor in actors} >= {"sampler 0", "sampler 1", "learner"}
    assert {(actor["actor"].split()[0], actor["what"]) for actor in actors} <= {
        ("sampler", "sample"), ("sampler", "gradient"), ("reward", "score"), ("learner", "step"),
    }  # fmt: skip
    assert all(started <= each["at"] <= ended and 0 <= each["quiet"] for each in told)
    assert [actor for actor in actors if not 0 <= actor["seconds"] <= ended - started] == []
    assert all(actor["usual"] > 0 for actor in actors if actor["what"] == "sample")


def test_it_is_told_once_a_second_at_most(published, requests):
    told = []
    present, started = Present(published.spans, told.append), time.monotonic()
    while len(told) < 2:
        present.take(published.samplers, published.scorers, published.learner)
    assert time.monotonic() - started >= 1.0


def test_examining_says_how_many_groups_are_in(published, requests):
    arrived = []
    rollout = published.examine(requests, arrived.append).result()
    assert arrived == [1, 2, 3, 4, 5, 6]
    assert [(len(result.reward), len(result.judge)) for result in rollout.results] == [(size, size) for size in SIZES]


def test_the_learner_takes_each_rollout_once(pool, requests):
    """After an update the same groups are another policy's; the pool says so before any weight changes."""
    pool.publish(pool.adapter())
    rollout = pool.launch(requests[1:3]).result()
    update = pool.update(rollout)
    assert update.adapter.version == rollout.groups[0].adapter_version + 1
    assert update.adapter.sha256 == pool.adapter().sha256 != rollout.groups[0].adapter_sha256
    with pytest.raises(SyncError, match="a group was sampled under adapter version"):
        pool.update(rollout)
    assert pool.adapter().sha256 == update.adapter.sha256


def test_saving_an_adapter_leaves_the_learner_with_its_own(pool, tuned, config, tmp_path):
    before = pool.adapter().sha256
    pool.save_adapter(tmp_path, tuned)
    learner = pool.learner.actor.__ray_call__.remote(lambda actor: Adapter.pack(0, actor.policy.adapter_state()).sha256)
    assert get(learner) == before != tuned.sha256
    assert load_policy(policy_settings(config), tmp_path).loaded[1] == tuned.sha256


def test_killed_samplers_are_replaced_and_the_result_is_unchanged(published, requests, tuned):
    expected, killed = published.launch(requests).result(), pids(published)

    def kill_all(arrived: int) -> None:
        if arrived == 1:
            for pid in killed:
                os.kill(pid, signal.SIGKILL)

    rollout = published.launch(requests, kill_all).result()
    published.samplers.await_all()
    assert not set(pids(published)) & set(killed)
    assert held(published) == [(5, tuned.sha256)] * 2
    assert_same(rollout, expected)


def test_a_sampler_that_died_before_an_adapter_came_gets_it(published, policy, requests):
    killed = pids(published)
    os.kill(killed[1], signal.SIGKILL)
    adapter = noisy_adapter(policy, version=6, seed=4)
    published.publish(adapter)
    published.samplers.await_all()
    assert held(published) == [(6, adapter.sha256)] * 2
    assert pids(published)[0] == killed[0] and pids(published)[1] != killed[1]


def test_a_sampler_that_hangs_is_replaced_by_the_deadline(published, requests, tuned):
    expected, stopped = published.launch(requests).result(), pids(published)
    impatient(published.samplers, 3.0)
    os.kill(stopped[0], signal.SIGSTOP)
    assert_same(published.launch(requests).result(), expected)
    published.samplers.await_all()
    assert stopped[0] not in pids(published) and held(published) == [(5, tuned.sha256)] * 2
    assert not still_there(stopped[0])


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_a_learner_that_is_lost_in_an_update_is_replaced_and_the_update_is_the_same(published, requests, number):
    rollout = published.launch(requests[1:3]).result()
    before = published.state
    expected = published.update(rollout)
    published.restore(before)
    victim = get(published.learner.actor.whereabouts.remote()).pid
    impatient(published.learner, 3.0)
    threading.Timer(0.02, os.kill, (victim, number)).start()
    update = published.update(rollout)
    assert update.adapter.sha256 == expected.adapter.sha256 == published.adapter().sha256
    assert update.metrics == expected.metrics
    assert get(published.learner.actor.whereabouts.remote()).pid != victim and not still_there(victim)


def test_samplers_that_are_killed_while_they_take_gradients_are_replaced_and_the_update_is_the_same(published, requests):
    rollout = published.launch(requests).result()
    before = published.state
    expected = published.update(rollout)
    published.restore(before)
    published.publish(published.adapter())
    victims = pids(published)
    for victim in victims:
        threading.Timer(0.02, os.kill, (victim, signal.SIGKILL)).start()
    update = published.update(rollout)
    assert update.adapter.sha256 == expected.adapter.sha256 and update.metrics == expected.metrics
    published.samplers.await_all()
    assert not set(pids(published)) & set(victims)


def test_a_gradient_is_the_same_whoever_takes_it(published, requests):
    """Both at home and away."""
    rollout = published.launch(requests[1:4]).result()
    before, digests = published.state, set()
    for makers in (rollout.makers, rollout.makers[::-1], [None] * 3):
        published.restore(before)
        published.publish(published.adapter())
        rollout.makers = makers
        digests.add(published.update(rollout).adapter.sha256)
    assert len(digests) == 1


def test_several_steps_on_one_rollout_are_those_of_one_process(config, policy, requests):
    """Each inner step is published to the samplers, and the next gradient is of its weights, and of the trained samples alone."""
    several = config.replace(
        objective=config.objective.replace(updates_per_rollout=3, clip_epsilon=0.1), cluster=config.cluster.replace(samplers=1),
        rollout=config.rollout.replace(group_size=6, trained_samples=4),
    )  # fmt: skip
    pool = TrainingPool(several, build(several), REWARDS, {})
    alone = Learner(policy, several.objective, several.optimizer)
    pool.publish(pool.adapter())
    own = [requests[0], requests[4]]  # of more samples than are trained on
    rollout = pool.launch(own).result()
    assert alone.adapter.sha256 == pool.adapter().sha256
    whole = [Trajectories.of(group, request.conditioning, get(made.actions)) for group, request, made in zip(rollout.groups, own, rollout.made)]
    totals = Composer(several.reward.parsed()).total(rollout.results)
    expected = alone.update([ScoredGroup(*pair) for pair in zip(whole, totals)], trained_samples=4)
    update = pool.update(rollout)
    assert update.adapter.sha256 == expected.adapter.sha256 and update.adapter.version == 1
    assert update.metrics == expected.metrics and update.metrics["mean_ratio"] != 1
    for actor in (*(sampler.actor for sampler in pool.samplers.all), pool.learner.actor, *pool.scorers.actors):
        ray.kill(actor)


def test_runs_of_two_seeds_by_the_same_actors_are_each_that_of_one_process(config, requests):
    """The groups of one are sampled while the other updates, an adapter of one is published while the other has work under way, and the
    learner is lost in between."""
    configs = [config.replace(seed=seed, cluster=config.cluster.replace(samplers=1)) for seed in (3, 4)]
    pool = TrainingPool(configs[0], build(configs[0]), REWARDS, {}, print, others={each.seed: build(each) for each in configs})
    pools, learners = [pool, pool.beside(configs[1])], [Learner(build(each)("cpu"), each.objective, each.optimizer) for each in configs]
    for each in pools:
        each.publish(each.adapter())
    turns = [(1, 3), (3, 5)]
    pending = [each.launch(requests[slice(*turns[0])]) for each in pools]
    for turn in (0, 1):
        for each, alone in zip(pools, learners):
            assert each.adapter().sha256 == alone.adapter.sha256
            place = pools.index(each)
            rollout, own = pending[place].result(), requests[slice(*turns[turn])]
            parts = zip(rollout.groups, own, rollout.made)
            whole = [Trajectories.of(group, request.conditioning, get(made.actions)) for group, request, made in parts]
            if turn and place:
                ray.kill(pool.learner.actor)
            update = each.update(rollout)
            expected = alone.update([ScoredGroup(*pair) for pair in zip(whole, each.composer.total(rollout.results))])
            assert update.adapter.sha256 == expected.adapter.sha256 and update.metrics == expected.metrics
            each.publish(update.adapter)
            pending[place] = each.launch(requests[slice(*turns[1])])
    assert len({alone.adapter.sha256 for alone in learners}) == 2
    work = [Counter(span.what for span in each.spans.take()) for each in pools]
    assert [(each["gradient"], each["score"], each["step"]) for each in work] == [(4, 4, 2)] * 2
    for actor in (*(sampler.actor for sampler in pool.samplers.all), pool.learner.actor, *pool.scorers.actors):
        ray.kill(actor)


def lost(rollout, index: int = 0, **changed):
    """The rollout, as when the node that made one of its groups is gone with what it held, as far as this can be had on one node."""
    holder = SamplerActor.options(num_cpus=0).remote()
    (actions,) = get(holder.__ray_call__.remote(lambda actor, part: [ray.put(part)], rollout.made[index].actions))
    ray.kill(holder)
    with pytest.raises(OwnerDiedError):  # it takes a moment until nobody has them
        while True:
            get(actions, 60)
            time.sleep(0.1)
    rollout.made[index] = dataclasses.replace(rollout.made[index], actions=actions, **changed)
    return rollout


def test_groups_that_went_with_their_node_are_sampled_again(published, requests, tuned):
    rollout = published.launch(requests[1:3]).result()
    before = published.state
    expected = published.update(rollout)
    published.restore(before)
    published.publish(published.adapter())
    workers = pids(published)
    assert published.update(lost(rollout)).adapter.sha256 == expected.adapter.sha256
    assert pids(published) == workers, "whoever lives is not replaced"
    assert held(published) == [(5, tuned.sha256)] * 2


def test_a_group_that_is_another_one_when_sampled_again_ends_the_run(published, requests):
    rollout = published.launch(requests[1:3]).result()
    other = dataclasses.replace(rollout.groups[1], outputs=rollout.groups[1].outputs + 1)
    with pytest.raises(SyncError, match="sampled again, its group is another one than before"):
        published.update(lost(rollout, 1, group=ray.put(other)))


def test_what_the_driver_reads_of_a_group_is_small_and_the_actions_stay_where_they_were_made(published, requests):
    rollout = published.launch(requests[:2]).result()
    assert all(type(group) is Group for group in rollout.groups)
    seen = sum(len(pickle.dumps(group)) for group in rollout.groups)
    actions = sum(array.nbytes for made in rollout.made for array in get(made.actions).values())
    assert actions > 5 * seen


def test_a_rollout_is_sampled_while_the_learner_updates_and_is_trained_on_under_its_own_weights(config, policy, requests):
    """One version ahead: the groups of the second rollout come from the adapter before the update."""
    ahead = config.replace(cluster=config.cluster.replace(samplers=1, sampler_cpus=1, max_staleness=1))
    pool = TrainingPool(ahead, build(ahead), REWARDS, {}, print)
    base = pool.adapter()
    pool.publish(base)
    first = pool.launch(requests[1:3]).result()
    second = pool.launch(requests[3:5])
    update = pool.update(first)
    pool.publish(update.adapter)
    rollout = second.result()
    assert {group.adapter_sha256 for group in rollout.groups} == {base.sha256} != {update.adapter.sha256}
    assert pool.update(rollout).metrics["staleness"] == 1
    assert pool.adapter(1).sha256 == update.adapter.sha256 != pool.adapter().sha256
    with pytest.raises(SyncError, match="2 behind the learner's 2"):
        pool.update(rollout)
    for sampler in pool.samplers.all:
        ray.kill(sampler.actor)


def test_what_is_under_way_is_finished_before_another_adapter_is_loaded(published, requests, tuned, policy):
    """More groups than samplers: some are not even begun when the adapter is published."""
    expected = published.launch(requests).result()
    pending = published.launch(requests)
    adapter = noisy_adapter(policy, version=8, seed=6)
    published.publish(adapter)
    assert held(published) == [(8, adapter.sha256)] * 2
    rollout = pending.result()
    assert {group.adapter_sha256 for group in rollout.groups} == {tuned.sha256}
    assert_same(rollout, expected)


def test_a_sampler_that_still_loads_the_adapter_before_gets_the_new_one_too(published, policy):
    """As one that was replaced just before the next adapter came."""
    published.samplers._load_into(published.samplers.all[0], published.published)
    adapter = noisy_adapter(policy, version=7, seed=5)
    published.publish(adapter)
    assert held(published) == [(7, adapter.sha256)] * 2


def test_samplers_that_keep_dying_end_the_run_with_the_cause_and_their_last_words(config, requests):
    """Each dies of the same thing as soon as it is started."""

    def dying() -> ray.actor.ActorHandle:
        return SamplerActor.options(num_cpus=0).remote()

    def build(actor):
        def fail(actor):
            print("CUDA error: an illegal address", file=sys.stderr, flush=True)
            os._exit(1)

        return actor.__ray_call__.remote(fail)

    told = []
    samplers = Samplers(dying, build, Count(1, 1), 60.0, told.append)
    with pytest.raises(RunFailed, match="samplers keep dying, 3 times in a row .* died .* CUDA error: an illegal address"):
        samplers.await_all()
    assert len(told) == 2 and "it is replaced" in told[0]


def test_work_that_kills_whoever_does_it_ends_the_run(published):
    """Each sampler is lost once or twice over it, which alone would be forgiven."""

    def send(actor, index: int):
        return actor.__ray_call__.remote(lambda actor: os._exit(1))

    published.samplers.begin(Job(published.published, 1, send, print))
    with pytest.raises(RunFailed, match=r"a sampler was lost 3 times over the same work \(piece 0\), the last one"):
        published.samplers.finish(published)
    assert len(published.samplers.all) == 2


def test_a_fresh_sampler_refuses_until_it_was_given_an_adapter(config, requests, tuned):

    def allowed(actor):
        import torch

        return torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32

    sampler = SamplerActor.options(num_cpus=0).remote()
    get(sampler.start.remote(build(config), 1, "tf32"))  # which a CPU has no use for, but a GPU would
    assert get(sampler.__ray_call__.remote(allowed)) == (True, True)
    with pytest.raises(SyncError, match="with adapter nothing loaded was asked"):
        sampled(sampler, requests[0], tuned.sha256)


def test_what_an_actor_cannot_load_is_one_line(config, tmp_path):
    """On another node, say; on the driver's it is found before."""
    folder = tmp_path / "tmr"
    shutil.copytree(config.reward.tmr_path, folder)
    (folder / "word_embeddings.pt").write_bytes(b"")
    broken = config.replace(reward=config.reward.replace(tmr_path=str(folder)))
    with pytest.raises(InputError, match="word_embeddings.pt: not a readable weights file") as caught:
        get(RewardActor.remote().start.remote(broken, REWARDS, {}, ".", 1))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "resources, message",
    [
        ({"samplers": 4}, "cluster.samplers: 4 of 1 CPU each need 4 CPUs, the cluster has 3"),
        ({"sampler_cpus": 2}, "cluster.samplers: 2 of 2 CPU each need 4 CPUs, the cluster has 3"),
        ({"gpus_per_actor": 0.5}, "cluster.gpus_per_actor: 4 actors of 0.5 GPU each need 2 GPUs, the cluster has 0"),
    ],
)
def test_more_than_the_cluster_has_is_one_line(config, resources, message):
    asked = config.replace(cluster=config.cluster.replace(**resources))
    with pytest.raises(InputError) as caught:
        TrainingPool(asked, build(asked), REWARDS, {})
    assert str(caught.value) == message
