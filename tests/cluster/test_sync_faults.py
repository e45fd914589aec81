"""Everything that can go wrong between an update and the next rollout, injected: each ends the iteration it happens in, with
its name, before any weight is trained on it.

A fault is put where it would happen: into what the driver publishes, or into a living sampler's own policy.
"""

import dataclasses
import time

import numpy as np
import pytest

from cluster.calls import get
from cluster.training_pool import TrainingPool
from learner.config.parse import parse_config
from learner.gradient import SyncError, digest
from learner.run.plan import Plan
from rollout.adapter import Adapter
from rollout.lora import FoldedLinear
from tests.cluster.impatient import impatient
from tests.tiny import write_run_config


@pytest.fixture(scope="module")
def plan(tmp_path_factory):
    config = parse_config(["--config", str(write_run_config(tmp_path_factory.mktemp("run")))])
    return Plan.make(config)


@pytest.fixture(scope="module")
def lines():
    return []


@pytest.fixture(scope="module")
def pool(plan, lines):
    return TrainingPool(plan.config, plan.family.build(plan.config), plan.rewards, plan.shared, lines.append)


@pytest.fixture
def update(pool, plan):
    """A run after its first iteration, about to publish what it learned."""
    pool.reload(plan.family.build(plan.config))  # whatever the last fault left in the sampler
    pool.restore(first_state(pool, plan))
    pool.publish(pool.adapter())
    return pool.update(pool.launch(plan.rollout_requests(0)).result())


def first_state(pool, plan, kept={}):
    return kept.setdefault("state", pool.state)


def iterate(pool, plan, adapter) -> None:
    """What follows an update: publish, the next rollout, the next update."""
    pool.publish(adapter)
    pool.update(pool.launch(plan.rollout_requests(1)).result())


def repacked(adapter: Adapter, change) -> Adapter:
    """With other tensors, and the digest that belongs to them."""
    return Adapter.pack(adapter.version, change({name: value.copy() for name, value in adapter.tensors().items()}))


def zeroed(adapter):
    return dataclasses.replace(adapter, buffer=np.zeros_like(adapter.buffer))


def zeroed_and_signed(adapter):
    return repacked(adapter, lambda tensors: {name: np.zeros_like(value) for name, value in tensors.items()})


def emptied(adapter):
    return Adapter(adapter.version, adapter.buffer[:0], (), Adapter(0, adapter.buffer[:0], (), "").sha256)


def renamed(adapter):
    return repacked(adapter, lambda tensors: {f"model.{name}": value for name, value in tensors.items()})


def without_one(adapter):
    return repacked(adapter, lambda tensors: dict(list(tensors.items())[1:]))


def truncated(adapter):
    return dataclasses.replace(adapter, buffer=adapter.buffer[:-1])


def one_bit_flipped(adapter):
    buffer = adapter.buffer.copy()
    buffer.view(np.uint32)[11] ^= 1
    return dataclasses.replace(adapter, buffer=buffer)


def doubles(adapter):
    return dataclasses.replace(adapter, buffer=adapter.buffer.astype(np.float64))


def halves(adapter):
    return repacked(adapter, lambda tensors: {name: value.astype(np.float16).astype(np.float32) for name, value in tensors.items()})


def reordered(adapter):
    (first, second), rest = adapter.index[:2], adapter.index[2:]
    return dataclasses.replace(adapter, index=(second, first, *rest))


def of_another_run(adapter):
    return repacked(adapter, lambda tensors: {name: value + np.float32(0.01) for name, value in tensors.items()})


def of_the_future(adapter):
    return dataclasses.replace(adapter, version=adapter.version + 1)


@pytest.mark.parametrize(
    "fault, name",
    [
        (zeroed, "not published: adapter version 1: changed on its way"),
        (zeroed_and_signed, "is published, the learner made 1 "),
        (emptied, "not published: adapter version 1: changed on its way"),
        (renamed, r"refused what was published: .* tensors \['layers.* do not match the policy"),
        (without_one, "refused what was published: .* do not match the policy"),
        (truncated, "not published: adapter version 1: truncated or padded"),
        (one_bit_flipped, "not published: adapter version 1: changed on its way"),
        (doubles, "not published: adapter version 1: wrong dtype, its buffer is float64"),
        (halves, "is published, the learner made 1 "),
        (reordered, "not published: adapter version 1: changed on its way"),
        (of_another_run, "is published, the learner made 1 "),
        (of_the_future, "adapter version 2 .* is published, the learner made 1 "),
    ],
)
def test_what_is_wrong_with_a_published_adapter_is_named(pool, plan, update, fault, name):
    with pytest.raises(SyncError, match=name):
        iterate(pool, plan, fault(update.adapter))
    assert pool.adapter().sha256 == update.adapter.sha256  # nothing was trained on it
    iterate(pool, plan, update.adapter)


def test_publishing_the_version_before_is_noticed(pool, plan, update):
    base = first_state(pool, plan).adapter()
    with pytest.raises(SyncError, match="adapter version 0 .* is published, the learner made 1 "):
        iterate(pool, plan, base)
    assert pool.adapter().sha256 == update.adapter.sha256


# --- inside a sampler: each of these is given the actor and changes what its policy does ------------------------------


def ignores(actor):
    load = type(actor.policy).load_adapter
    held = actor.policy.loaded[1]
    actor.policy.load_adapter = lambda adapter: held if adapter.version else load(actor.policy, adapter)


def applies_twice(actor):
    load = type(actor.policy).load_adapter

    def twice(adapter):
        before = actor.policy.adapter_state()
        load(actor.policy, adapter)
        state = {name: 2 * value - before[name] for name, value in actor.policy.adapter_state().items()}
        return load(actor.policy, Adapter.pack(adapter.version, state))

    actor.policy.load_adapter = twice


def exchanges_two_tensors(actor):
    load = type(actor.policy).load_adapter

    def exchange(adapter):
        state = {name: value.copy() for name, value in adapter.tensors().items()}
        one, two = [name for name in state if name.endswith("q.lora_B")]
        state[one], state[two] = state[two], state[one]
        return load(actor.policy, Adapter.pack(adapter.version, state))

    actor.policy.load_adapter = exchange


def loads_what_came_before(actor):
    load, seen = type(actor.policy).load_adapter, [actor.policy.adapter_state()]

    def late(adapter):
        return load(actor.policy, Adapter.pack(adapter.version, seen[0]))

    actor.policy.load_adapter = late


def says_so_without_loading(actor):
    def lie(adapter):
        actor.policy.loaded = (adapter.version, adapter.sha256)
        return adapter.sha256

    actor.policy.load_adapter = lie


def loads_and_does_not_use_it(actor):
    sample = type(actor.policy).sample

    def without_adapter(request):
        with actor.policy.reference():
            return sample(actor.policy, request)

    actor.policy.sample = without_adapter


def uses_another_scale(actor):
    for module in actor.policy.network.modules():
        if isinstance(module, FoldedLinear):
            module.scale *= 1.5


def has_its_memory_damaged(actor):
    """After it acknowledged: one number of the frozen weights, so that all it computes agrees with itself."""
    weight = next(module for module in actor.policy.network.modules() if isinstance(module, FoldedLinear)).weight
    weight.view(-1)[3] += 0.01


def predicts_the_unconditional_branch_otherwise(actor):
    """It trains on what it sampled, which agrees with itself."""
    guided = type(actor.policy)._guided_x0

    def otherwise(x_t, t, batch, unconditional=None):
        unconditional = guided(actor.policy, x_t, t, batch)[1] * 1.01 if unconditional is None else unconditional
        return guided(actor.policy, x_t, t, batch, unconditional)

    actor.policy._guided_x0 = otherwise


def differentiates_otherwise(actor):
    """Its log-probs are right, and the gradient of its loss is not."""
    score = type(actor.policy).score

    def otherwise(*given):
        return (dataclasses.replace(each, log_ratio=1.001 * each.log_ratio) for each in score(actor.policy, *given))

    actor.policy.score = otherwise


@pytest.mark.parametrize(
    "fault, name",
    [
        (ignores, r"a sampler holds other weights, 1 \("),
        (applies_twice, r"a sampler holds other weights, 1 \("),
        (exchanges_two_tensors, r"a sampler holds other weights, 1 \("),
        (loads_what_came_before, r"a sampler holds other weights, 1 \("),
        (says_so_without_loading, "the recomputed log-probs differ from the sampled ones"),
        (loads_and_does_not_use_it, "the recomputed log-probs differ from the sampled ones"),
        (uses_another_scale, "the recomputed log-probs differ from the sampled ones"),
        (has_its_memory_damaged, "the recomputed log-probs differ from the sampled ones"),
        (predicts_the_unconditional_branch_otherwise, "the recomputed log-probs differ from the sampled ones"),
        (differentiates_otherwise, "a sampler's gradient is not what the learner's own weights give: prompt '.*', part ., adapter version 1, norm "),
    ],
)
def test_a_sampler_that_does_not_do_what_it_says_is_named(pool, plan, update, fault, name):
    get(pool.samplers.all[0].actor.__ray_call__.remote(fault))
    with pytest.raises(SyncError, match=name):
        iterate(pool, plan, update.adapter)
    assert pool.adapter().sha256 == update.adapter.sha256


def test_a_gradient_that_is_damaged_on_its_way_is_not_added(pool, update):
    sent = np.zeros(sum(value.size for value in update.adapter.tensors().values()), np.float32)
    arrived = sent.copy()
    arrived[5] = 1e-9
    with pytest.raises(SyncError, match="a gradient of adapter version 1 was damaged on its way"):
        get(pool.learner.actor.step.remote(0, True, [digest(sent)], 0, arrived))
    assert pool.learner.ask(lambda actor: actor.state.remote(0)).facts["version"] == 1


def test_two_adapters_that_arrive_in_the_wrong_order_are_noticed(pool, plan, update):
    pool.publish(update.adapter)
    get(pool.samplers.all[0].actor.load_adapter.remote(first_state(pool, plan).adapter()))
    with pytest.raises(SyncError, match="a sampler with adapter .* was asked to sample under"):
        pool.launch(plan.rollout_requests(1)).result()


def test_a_gradient_is_taken_under_no_other_adapter_than_the_one_asked_for(pool, plan, update):
    pool.publish(update.adapter)
    rollout = pool.launch(plan.rollout_requests(1)).result()
    get(pool.samplers.all[0].actor.load_adapter.remote(first_state(pool, plan).adapter()))
    with pytest.raises(SyncError, match="a sampler with adapter .* was asked for a gradient under"):
        pool.update(rollout)
    assert pool.adapter().sha256 == update.adapter.sha256


def test_what_a_busy_sampler_loads_only_once_it_gets_to_it_is_acknowledged_all_the_same(pool, plan, update):
    """Published for a run beside, whose adapter no sampler holds yet when that returns."""
    pool.publish(update.adapter)
    beside = pool.beside(plan.config)
    pending = pool.launch(plan.rollout_requests(1))
    beside.publish(update.adapter)
    get(pool.samplers.all[0].actor.__ray_call__.remote(lambda actor: setattr(actor.policy, "load_adapter", lambda adapter: "another")))
    waiting = beside.launch(plan.rollout_requests(2))
    with pytest.raises(SyncError, match=r"a sampler holds other weights, 1 \(another\), after adapter version 1 "):
        pending.result()
        waiting.result()


def test_an_acknowledgement_that_never_comes_costs_the_sampler_and_nothing_else(pool, plan, update, lines):
    """Last in the file: the sampler is another one afterwards."""

    def sleeps(actor):
        actor.policy.load_adapter = lambda adapter: time.sleep(1000)

    get(pool.samplers.all[0].actor.__ray_call__.remote(sleeps))
    impatient(pool.samplers, 3.0, lines.append)
    iterate(pool, plan, update.adapter)
    assert "gave no answer within cluster.sampler_deadline, 3 s (loading the current adapter)" in lines[-1]
