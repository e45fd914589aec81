"""The adapter as a record: what is packed is what arrives, and anything else is refused by name."""

import dataclasses

import numpy as np
import pytest

from rollout.adapter import Adapter
from rollout.io.errors import InputError
from tests.tiny import make_policy, noisy_adapter, sample_group


def state() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {
        name: rng.standard_normal(shape).astype(np.float32)
        for name, shape in {"b": (2, 3), "a": (4,), "c": (1, 1, 5)}.items()
    }


def refused(call) -> str:
    with pytest.raises(InputError) as caught:
        call()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_what_is_packed_is_what_arrives():
    before = state()
    adapter = Adapter.pack(3, before)
    assert adapter.version == 3 and adapter.buffer.dtype == np.float32 and adapter.buffer.shape == (15,)
    assert adapter.index == (("a", (4,)), ("b", (2, 3)), ("c", (1, 1, 5)))
    tensors = adapter.tensors()
    assert tensors.keys() == before.keys()
    for name, tensor in tensors.items():
        np.testing.assert_array_equal(tensor, before[name], strict=True)


def test_the_digest_is_that_of_the_weights():
    base = Adapter.pack(0, state())
    assert Adapter.pack(7, dict(reversed(state().items()))).sha256 == base.sha256
    changes = {
        "one bit": {**state(), "a": np.nextafter(state()["a"], np.float32(9))},
        "a name": {("d" if name == "c" else name): value for name, value in state().items()},
        "a shape": {**state(), "b": state()["b"].reshape(3, 2)},
    }
    digests = {base.sha256, *(Adapter.pack(0, changed).sha256 for changed in changes.values())}
    assert len(digests) == 1 + len(changes)


def test_a_packed_adapter_does_not_follow_its_source_and_cannot_be_written():
    source = {"a": np.zeros(3, np.float32)}
    adapter = Adapter.pack(0, source)
    source["a"][0] = 1
    assert not adapter.tensors()["a"].any()
    with pytest.raises(ValueError):
        adapter.buffer[0] = 1
    with pytest.raises(ValueError):
        adapter.tensors()["a"][0] = 1


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_weights_that_are_not_finite_are_named(value):
    spoilt = state()
    spoilt["b"][1, 2] = value
    assert "adapter version 4: tensor b" in refused(lambda: Adapter.pack(4, spoilt))


def damaged(adapter: Adapter, how: str) -> Adapter:
    buffer = adapter.buffer.copy()
    if how == "a flipped bit":
        buffer.view(np.uint32)[5] ^= 1
    if how == "too short":
        buffer = buffer[:-1]
    if how == "another type":
        buffer = buffer.astype(np.float64)
    if how == "another shape in the index":
        return dataclasses.replace(adapter, index=(*adapter.index[:-1], (adapter.index[-1][0], (3, 1))))
    if how == "another name in the index":
        return dataclasses.replace(adapter, index=(*adapter.index[:-1], ("z", adapter.index[-1][1])))
    return dataclasses.replace(adapter, buffer=buffer)


@pytest.mark.parametrize(
    "how, message",
    [
        ("a flipped bit", "sha256"),
        ("too short", "its index needs (15,)"),
        ("another type", "buffer is float64"),
        ("another shape in the index", "its index needs (13,)"),
        ("another name in the index", "sha256"),
    ],
)
def test_an_adapter_damaged_on_its_way_is_refused(how, message):
    assert message in refused(damaged(Adapter.pack(2, state()), how).tensors)
    assert "adapter version 2" in refused(damaged(Adapter.pack(2, state()), how).tensors)


@pytest.fixture
def policy(mdm_folder):
    policy = make_policy(mdm_folder)
    policy.load_adapter(noisy_adapter(policy))
    return policy


def test_a_policy_acknowledges_the_digest_of_what_it_holds(policy):
    adapter = noisy_adapter(policy, version=9)
    assert policy.load_adapter(adapter) == adapter.sha256 == Adapter.pack(0, policy.adapter_state()).sha256
    group = sample_group(policy)
    assert (group.adapter_version, group.adapter_sha256) == (9, adapter.sha256)
    next(iter(policy.parameters())).data += 1
    assert Adapter.pack(0, policy.adapter_state()).sha256 != adapter.sha256


def test_a_fresh_policy_says_that_nothing_was_loaded(mdm_folder):
    group = sample_group(make_policy(mdm_folder))
    assert group.adapter_version == -1 and len(group.adapter_sha256) != 64


def test_adapter_state_is_a_copy(policy):
    before = policy.adapter_state()
    kept = {name: value.copy() for name, value in before.items()}
    policy.load_adapter(noisy_adapter(policy, seed=3))
    assert all(np.array_equal(before[name], kept[name]) for name in kept)
    for value in before.values():
        value += 1
    assert not any(np.array_equal(before[name], value) for name, value in policy.adapter_state().items())


def altered(policy, how: str) -> Adapter:
    tensors = noisy_adapter(policy, seed=8).tensors()
    first, *_, last = sorted(tensors)
    if how == "missing":
        del tensors[last]
    if how == "extra":
        tensors["extra"] = np.zeros(3, np.float32)
    if how == "renamed":
        tensors[last + "_"] = tensors.pop(last)
    if how == "transposed":
        tensors[last] = tensors[last].T.copy()
    adapter = Adapter.pack(6, tensors)
    return damaged(adapter, "a flipped bit") if how == "a flipped bit" else adapter


@pytest.mark.parametrize("how", ["missing", "extra", "renamed", "transposed", "a flipped bit"])
def test_an_adapter_that_does_not_fit_is_refused_and_nothing_of_it_loaded(policy, how):
    before, loaded = policy.adapter_state(), policy.loaded
    assert "adapter version 6" in refused(lambda: policy.load_adapter(altered(policy, how)))
    assert policy.loaded == loaded
    assert all(np.array_equal(before[name], value) for name, value in policy.adapter_state().items())
