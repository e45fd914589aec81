"""Samplers and an evaluator as real Ray actors, without a learner: batches of motions in, what was measured out, in order."""

import dataclasses
import functools
import os
import signal
from collections.abc import Sequence

import numpy as np
import pytest

from cluster.calls import get
from cluster.evaluation_pool import EvaluationPool
from learner.config.parse import parse_config
from learner.evaluate.motion.measures import Measured, Reader
from learner.evaluate.motion.plan import EncodedPools, Evaluation
from learner.evaluate.motion.settings import EvaluateConfig
from learner.evaluate.parts import Parts
from learner.gradient import SyncError
from rollout.motion.adapter_folder import load_policy
from tests.tiny import make_policy, noisy_adapter, write_evaluate_config


@pytest.fixture(scope="module")
def evaluation(tmp_path_factory):
    """The base model and an adapter, two samplers."""
    path = write_evaluate_config(tmp_path_factory.mktemp("evaluate"), cluster={"samplers": 2})
    policy = make_policy(path.parent / "mdm")
    policy.load_adapter(noisy_adapter(policy))
    policy.save_adapter(path.parent / "tuned" / "adapter")
    flags = ["--config", str(path), "--adapter", str(path.parent / "tuned" / "adapter")]
    return Evaluation.make(parse_config(flags, EvaluateConfig))


@pytest.fixture(scope="module")
def pool(evaluation):
    read = functools.partial(Reader, evaluation.config.reward, 5.0, ".", evaluation.embedded)
    return EvaluationPool(evaluation.config.cluster, evaluation.models[0].build, read)


@pytest.fixture
def published(pool, evaluation):
    base = evaluation.models[0]
    pool.reload(base.build)
    pool.publish(base.adapter)
    return pool


@pytest.fixture(scope="module")
def pending(evaluation):
    return EncodedPools(evaluation.replications.batches(1)[:5], evaluation.encoded)


@pytest.fixture(scope="module")
def reader(evaluation):
    return Reader(evaluation.config.reward, 5.0, ".", {}, "cpu")


def alone(model, pending, reader) -> list[Measured]:
    """What one process makes of the same batches."""
    policy = load_policy(model.settings, model.source)
    found = []
    for conditionings, seeds, told in pending:
        found.append(reader(policy.generate(conditionings, seeds), *told))
    return found


def assert_equal(found: list[Measured], expected: list[Measured]) -> None:
    assert len(found) == len(expected)
    for one, other in zip(found, expected):
        for field in dataclasses.fields(Measured):
            np.testing.assert_array_equal(getattr(one, field.name), getattr(other, field.name))


def test_an_evaluation_starts_no_learner(published):
    assert not hasattr(published, "learner") and not hasattr(published, "reward")
    assert len(published.samplers.all) == 2


def test_batches_come_back_in_order_as_one_process_makes_them(published, evaluation, pending, reader):
    arrivals = []
    found = published.generate(pending, arrivals.append)
    assert_equal(found, alone(evaluation.models[0], pending, reader))
    assert arrivals == [1, 2, 3, 4, 5]


def test_samplers_take_the_next_rows_model(published, evaluation, pending, reader):
    tuned = evaluation.models[1]
    published.reload(tuned.build)
    published.publish(tuned.adapter)
    found = published.generate(pending)
    assert_equal(found, alone(tuned, pending, reader))
    assert not np.array_equal(found[0].t2m, alone(evaluation.models[0], pending, reader)[0].t2m)


class Recorded(Sequence):
    """Batches that keep which of them were asked for."""

    def __init__(self, batches):
        self.batches, self.taken = batches, []

    def __len__(self):
        return len(self.batches)

    def __getitem__(self, index):
        self.taken.append(index)
        return self.batches[index]


def test_what_was_measured_before_is_read_and_the_rest_alone_is_made(published, evaluation, pending, tmp_path):
    config, made, arrivals = evaluation.config.replace(out=str(tmp_path / "out")), Recorded(pending), []

    def generated(row="base"):
        """By a process that begins or goes on, and does not come to its end."""
        return Parts.begin(config, evaluation.standing, Measured.read).generate(published, row, made, arrivals.append)

    first = generated()
    assert made.taken == [0, 1, 2, 3, 4]
    files = sorted((tmp_path / "out" / "parts").glob("*/*-*"))
    assert len(files) == 5
    files[1].unlink()
    files[3].write_bytes(files[3].read_bytes()[:-1] + b"x")
    made.taken, arrivals[:] = [], []
    again = generated()
    assert made.taken == [1, 3] and arrivals == [1, 2, 3, 4, 5]
    assert_equal(again, first)
    made.taken = []
    assert_equal(generated(), first)
    assert made.taken == []
    generated("another")
    assert sorted(made.taken) == [0, 1, 2, 3, 4]


def test_a_sampler_that_was_given_no_weights_generates_nothing(published, evaluation, pending):
    published.reload(evaluation.models[0].build)
    with pytest.raises(SyncError, match="samplers that were given no adapter were asked to sample"):
        published.generate(pending)


def test_a_killed_sampler_is_replaced_and_nothing_changes(published, evaluation, pending, reader):
    killed = []

    def kill_once(done):
        if not killed:
            killed.append(get(published.samplers.all[0].actor.__ray_call__.remote(lambda actor: os.getpid())))
            os.kill(killed[0], signal.SIGKILL)

    found = published.generate(pending, kill_once)
    assert_equal(found, alone(evaluation.models[0], pending, reader))


def test_real_crops_are_measured_in_order_without_a_tail(published, evaluation, reader):
    draws = evaluation.replications.real_draws(0)
    pools = [evaluation.real.crops(draws[first : first + 32]) for first in range(0, 6 * 32, 32)]
    assert_equal(published.measure([(*crops, False) for crops in pools]), [reader(*crops, False) for crops in pools])
