"""Which captions, crops and noise a replication draws, and that the seed and the replication say it all."""

import numpy as np
import pytest

from learner.evaluate.motion.measures import Measured
from learner.evaluate.motion.protocol import REPEATS, RealData, RealStored, Replications
from learner.evaluate.motion.settings import POOL, EvaluateConfig
from rollout.io.errors import InputError
from rollout.motion.humanml import Caption, CaptionedMotion
from rollout.motion.motion_set import MotionSet
from rollout.motion.prompts import MotionPrompt


def motion_set(count: int, lengths=range(40, 200)) -> MotionSet:
    """Motion i counts its frames in dim 0 and says i in dim 1; its captions name it."""
    motions = []
    for i in range(count):
        features = np.zeros((lengths[i % len(lengths)], 263), np.float32)
        features[:, 0], features[:, 1] = np.arange(len(features)), i
        captions = tuple(Caption(f"motion {i}, caption {k}", (f"m{i}/NOUN",)) for k in range(3))
        motions.append(CaptionedMotion(f"{i:06}", captions, features))
    return MotionSet(motions, {}, 263)


def replications(count: int = 100, frames: int = 196, **settings) -> Replications:
    return Replications(EvaluateConfig(**{"samples": 1000, **settings}), RealData(motion_set(count), frames))


def test_an_epoch_has_every_motion_at_most_once_in_whole_pools_with_a_caption_of_its_own():
    epoch = replications(100).real.epoch(np.random.default_rng(0))
    assert len(epoch) == 96 and len({draw.item for draw in epoch}) == 96
    assert all(draw.prompt.text.startswith(f"motion {draw.item},") and draw.prompt.tokens == (f"m{draw.item}/NOUN",) for draw in epoch)
    assert len({draw.prompt.text[-1] for draw in epoch}) == 3
    assert [draw.item for draw in epoch] != sorted(draw.item for draw in epoch)


def test_crops_are_whole_fours_one_four_shorter_for_a_third_from_any_start():
    data = RealData(motion_set(32, lengths=[50]), 196)
    draw = np.random.default_rng(0)
    draws = [each for _ in range(60) for each in data.epoch(draw)]
    lengths = np.array([each.prompt.length for each in draws])
    assert set(lengths) == {48, 44}
    assert (lengths == 44).mean() == pytest.approx(1 / 3, abs=0.03)
    for length in (48, 44):
        assert {each.start for each in draws if each.prompt.length == length} == set(range(50 - length + 1))


def test_a_crop_is_the_frames_it_says_with_zeros_after_them():
    data = RealData(motion_set(40), 196)
    draws = data.epoch(np.random.default_rng(1))
    features, lengths = data.crops(draws)
    assert features.shape == (32, max(lengths), 263)
    for row, length, draw in zip(features, lengths, draws):
        np.testing.assert_array_equal(row[:length, 0], draw.start + np.arange(length))
        assert (row[:length, 1] == draw.item).all() and not row[length:].any()


def test_real_crops_are_no_longer_than_what_the_model_makes():
    assert {draw.prompt.length for draw in replications(frames=42).real_draws(0)} == {36, 40}


def test_a_small_split_is_drawn_again_and_a_large_one_once():
    assert len(replications(100).real_draws(0)) == 11 * 96  # whole epochs until there are 1024
    assert len(replications(1500).real_draws(0)) == 1500 // 32 * 32
    assert sum(batch.repeat == 0 for batch in replications(100).batches(7)) == 32


def test_less_than_one_pool_of_motions_is_refused():
    with pytest.raises(InputError, match="data: found 31 usable motions .*expected at least 32"):
        RealData(motion_set(31), 196)


def test_multimodality_repeats_four_pools_thirty_times_in_its_replications_only():
    drawn = replications(replications=6, multimodality=2)
    for replication in range(3):
        batches = drawn.batches(replication)
        repeated = {batch.pool for batch in batches if batch.repeat}
        assert len(repeated) == (4 if replication < 2 else 0)
        assert len(batches) == 32 + len(repeated) * (REPEATS - 1)
        for pool in repeated:
            own = [batch for batch in batches if batch.pool == pool]
            assert [batch.repeat for batch in own] == list(range(REPEATS))
            assert all(batch.prompts == own[0].prompts for batch in own)
    pools = [{batch.pool for batch in drawn.batches(i) if batch.repeat} for i in (0, 1)]
    assert pools[0] != pools[1]


def test_no_two_motions_of_an_evaluation_share_their_noise():
    drawn = replications(replications=2, multimodality=1, samples=320)
    seeds = [seed for replication in (0, 1) for batch in drawn.batches(replication) for seed in batch.seeds]
    assert len(set(seeds)) == len(seeds) == POOL * (10 + 4 * 29 + 10)


def test_the_seed_and_the_replication_decide_everything():
    first, again, other = replications(seed=3), replications(seed=3), replications(seed=4)
    assert first.batches(1) == again.batches(1) and first.real_draws(1) == again.real_draws(1)
    assert first.batches(1) != first.batches(0) and first.batches(1) != other.batches(1)
    assert first.pairs_seed(1) == again.pairs_seed(1) != first.pairs_seed(0)


def test_candidates_are_every_pool_under_other_noise_the_first_time_that_of_the_base():
    drawn = replications(100, best_of=3, multimodality=0)
    candidates, plain = drawn.candidates(1), drawn.batches(1)
    assert [(batch.pool, batch.repeat) for batch in candidates] == [(pool, repeat) for pool in range(32) for repeat in range(3)]
    assert candidates[::3] == plain
    assert len({seed for batch in candidates for seed in batch.seeds}) == 3 * 1024
    assert all(batch.prompts == plain[batch.pool].prompts for batch in candidates)


def test_stored_motion_is_drawn_with_the_captions_it_was_made_for():
    prompts = [MotionPrompt(f"caption {i}", 40) for i in range(64)]
    value = np.repeat(np.arange(64), 5).astype(np.float16)  # five crops of each
    stored = RealStored(prompts, Measured(value[:, None], value[:, None], *(value,) * 4, value[:, None], value[:, None], value))
    drawn = Replications(EvaluateConfig(), stored).real_draws(0)
    assert len(drawn) == 1024 and {draw.start for draw in drawn} == set(range(5))
    measured = stored.measured(drawn)
    assert measured.t2m.dtype == np.float32
    np.testing.assert_array_equal(measured.jerk, [int(draw.prompt.text.split()[1]) for draw in drawn])
    for first in range(0, 1024, POOL):
        assert len({draw.item for draw in drawn[first : first + POOL]}) == POOL
