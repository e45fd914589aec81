"""Reward actors as real Ray actors: how many there are, and what becomes of them, changes no score."""

import re
import time

import numpy as np
import pytest
import ray

from cluster.actors import RewardActor
from cluster.pool import started
from cluster.scorers import Scorers
from learner.config.parse import parse_config
from rewards.motion.family import MOTION
from rollout.io.errors import InputError, RunFailed
from tests.tiny import TRAINING, make_policy, sample_group, write_mdm, write_run_config

MODULE = '''
import os, time
from pathlib import Path
import numpy as np

MOOD = Path(__file__).with_name("mood")

class Moody:
    """The height of the root; what else it does, a file says."""

    def __init__(self):
        mood = MOOD.read_text().split() if MOOD.exists() else [""]
        if mood == ["stillborn", "once"]:
            MOOD.unlink()
        if mood[0] == "stillborn":
            os._exit(1)

    def __call__(self, motions):
        mood = MOOD.read_text().split() if MOOD.exists() else [""]
        if mood[0] and mood[-1] == "once":
            MOOD.unlink()
        if mood[0] == "die":
            os._exit(1)
        if mood[0] == "sleep":
            time.sleep(1000)
        scores = motions.features[:, 0, 3].copy()
        if mood[0] == "fail":
            scores[0] = np.nan
        return scores[1:] if mood[0] == "shape" else scores
'''


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The user's working directory, which no actor starts in."""
    folder = tmp_path_factory.mktemp("users")
    (folder / "users_moody.py").write_text(MODULE)
    return folder


@pytest.fixture
def mood(folder):
    yield (folder / "mood").write_text
    (folder / "mood").unlink(missing_ok=True)


@pytest.fixture(scope="module")
def begin(folder, tmp_path_factory):
    parts = {"tmr": {"path": "tmr.cosine"}, "feet": {"path": "foot_skate"}, "mine": {"path": "users_moody:Moody"}}
    config = parse_config(["--config", str(write_run_config(tmp_path_factory.mktemp("run"), reward={"components": parts}))])

    def begin():
        actor = RewardActor.options(num_cpus=0, runtime_env={"env_vars": {"OMP_NUM_THREADS": "1"}}).remote()
        return actor, actor.start.remote(config, MOTION, {}, str(folder), 1)

    return begin


@pytest.fixture(scope="module")
def another(begin):
    return lambda: started(begin)


@pytest.fixture(scope="module")
def scorers(another):
    return Scorers([another(), another()], another, batch=1, deadline_s=60, tell=print)


@pytest.fixture(scope="module")
def groups(tmp_path_factory):
    policy = make_policy(write_mdm(tmp_path_factory.mktemp("mdm") / "mdm"), lora_rank=0)
    return [ray.put(sample_group(policy, size, 0, (0, 0, size), TRAINING[size % 4])) for size in (2, 5, 3, 4, 6)]


def scored(scorers, groups, order=None):
    scoring = scorers.begin("score", len(groups))
    for i in order or range(len(groups)):
        scoring.add(i, groups[i])
    return scoring.results()


def assert_same(found, expected) -> None:
    for one, other in zip(found, expected, strict=True):
        assert one.failures == other.failures and one.values.keys() == other.values.keys() == {"tmr", "feet", "mine"}
        for name in one.values:
            np.testing.assert_array_equal(one.values[name], other.values[name])


@pytest.mark.parametrize("batch", [1, 2, 3])
def test_one_and_two_actors_agree_bit_for_bit_whatever_arrives_first(scorers, groups, batch):
    two = Scorers(scorers.actors, None, batch, 60, print)
    one = Scorers(scorers.actors[:1], None, batch, 60, print)
    expected = scored(one, groups)
    assert [len(scores.values["tmr"]) for scores in expected] == [2, 5, 3, 4, 6]
    assert np.ptp(np.concatenate([scores.values["tmr"] for scores in expected])) > 1e-3
    assert_same(scored(two, groups), expected)
    assert_same(scored(two, groups, order=[3, 1, 4, 0, 2]), expected)


def test_an_actor_is_at_work_until_it_has_answered_whether_or_not_that_was_read(another, groups, mood):
    """Else a hung one and one whose answers are read later would look alike."""
    own = Scorers([another()], another, 1, 60, print)
    own.begin("score", len(groups)).add(1, groups[1])
    ray.wait(list(own.running))
    assert own.running and own.at_work() == []
    mood("sleep once")
    own.begin("score", len(groups)).add(0, groups[0])
    ((actor, what, since),) = own.at_work()
    time.sleep(0.1)
    assert (actor, what) == ("reward 0", "score") and own.at_work() == [(actor, what, since)] and since <= time.monotonic() - 0.1


def test_an_actor_that_dies_is_replaced_and_its_groups_are_scored_again(scorers, groups, mood):
    expected, before = scored(scorers, groups), list(scorers.actors)
    mood("die once")
    assert_same(scored(scorers, groups), expected)
    assert sum(now is not then for now, then in zip(scorers.actors, before)) == 1
    assert_same(scored(scorers, groups), expected)


def test_two_scorings_that_share_actors_replace_a_dead_one_once(scorers, groups, mood):
    """As with a rollout under way while an evaluation is examined. What the other had finished before, it keeps."""
    expected, told = scored(scorers, groups), []
    shared = Scorers(list(scorers.actors), scorers.another, 1, 60, told.append)
    mood("die once")
    first, second = shared.begin("score", len(groups)), shared.begin("score", len(groups))
    for i in range(len(groups)):
        first.add(i, groups[i])
        second.add(i, groups[i])
    assert_same(second.results(), expected)
    replaced = list(shared.actors)
    assert_same(first.results(), expected)
    assert shared.actors == replaced and sum(now is not then for now, then in zip(replaced, scorers.actors)) == 1
    (line,) = told
    assert re.fullmatch(r"a reward actor .* \[process \d+ on [\d.]+.*\]: it is replaced, its work is done again", line)
    scorers.actors[:] = replaced


def test_an_actor_that_sleeps_is_caught_by_the_deadline(scorers, groups, mood):
    expected, before = scored(scorers, groups), list(scorers.actors)
    impatient = Scorers(scorers.actors, scorers.another, 1, 2, print)
    mood("sleep once")
    started = time.monotonic()
    assert_same(scored(impatient, groups), expected)
    assert time.monotonic() - started < 60 and sum(now is not then for now, then in zip(scorers.actors, before)) == 1


def test_an_actor_that_dies_while_it_starts_is_begun_again(scorers, begin, groups, mood):
    """As one does that is sent to a node which is dead, before anybody knows."""
    expected = scored(scorers, groups)
    mood("stillborn once")
    assert_same(scored(Scorers([started(begin)], None, 1, 60, print), groups), expected)
    mood("stillborn")
    with pytest.raises(RunFailed, match="^actors keep dying while they start, 3 times in a row: the last one died"):
        started(begin)


def test_actors_that_always_die_end_the_run_in_one_line(scorers, groups, mood):
    mood("die")
    with pytest.raises(RunFailed, match="^reward: its actor was lost 3 times over the same motions .request 0.: the last one died"):
        scored(Scorers(scorers.actors[:1], scorers.another, 1, 60, print), groups[:1])


def test_failed_samples_and_wrong_shapes_come_through(another, groups, mood):
    scorers = Scorers([another()], None, 1, 60, print)
    mood("fail")
    (found,) = scored(scorers, groups[:1])
    assert np.isnan(found.values["mine"]).tolist() == [True, False] and found.failures == {0: "mine: gave nan"}
    mood("shape")
    with pytest.raises(InputError, match=r"^reward.components.mine: gave shape \(1,\), expected 2 numbers for 2 samples"):
        scored(scorers, groups[:1])
