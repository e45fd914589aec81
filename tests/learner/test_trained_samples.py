"""Training on the best and the worst of a group, all compared with the mean of the whole group."""

import dataclasses

import numpy as np
import pytest
import torch

from learner.advantage import extremes
from learner.config.settings import Objective
from learner.tally import ScoredGroup
from tests.learner.bench import Run


@pytest.mark.parametrize(
    "advantages, count, expected",
    [
        ([0.1, -2, 3, 0.2, -1, 1], 4, [1, 2, 4, 5]),
        ([3, 2, 1, 0, -1, -2], 2, [0, 5]),
        ([1, 1, 1, -1, -1, -1], 4, [1, 2, 3, 4]),  # of equals the first are the worse
        ([1, -1, 0, 0], 4, [0, 1, 2, 3]),
    ],
)
def test_they_are_the_best_and_the_worst(advantages, count, expected):
    assert extremes(np.array(advantages, np.float32), count).tolist() == expected


@pytest.mark.parametrize("objective", [Objective(), Objective(kl_penalty=0.1), Objective(ratio="raw"), Objective(normalise="sequence_mean")])
def test_the_gradient_is_that_of_the_trained_samples_with_the_advantages_of_all(mdm_folder, objective):
    run = Run(mdm_folder, objective)
    scored = run.rollout(groups=1, size=10)
    group, state = scored[0].group, run.learner.state()
    found = run.learner.update(scored, trained_samples=4)
    (advantages,) = found.advantages
    rows = np.argsort(advantages)[[0, 1, -2, -1]]
    assert len(advantages) == 10 and found.metrics["log_prob_gap"] == 0 and found.metrics["mean_ratio"] == 1
    gradients = run.gradients()

    run.learner.load(state)
    total = 0.0
    for score in run.policy.score(group, frozenset(range(3))):
        likelihood = (score.log_prob - score.log_prob.detach())[rows] * score.weight[rows]
        move = likelihood if objective.ratio == "raw" else score.log_ratio[rows]
        kl = 0 if not objective.kl_penalty else objective.kl_penalty * score.kl[rows].mean()
        total = total + (kl - (torch.tensor(advantages[rows]) * move).mean()) / (1 if objective.normalise == "sequence_mean" else 3)
    if objective.normalise == "sequence_mean":
        total = total / 3
    expected = torch.autograd.grad(total, run.policy.parameters())
    norm = torch.cat([each.flatten() for each in expected]).norm().clamp(min=1.0)  # grad_clip
    for one, two in zip(gradients, expected):
        torch.testing.assert_close(one, two / norm, rtol=2e-3, atol=1e-5)


@pytest.mark.parametrize("steps", [1, 3])
def test_every_number_of_an_update_is_of_what_was_trained(mdm_folder, steps):
    run = Run(mdm_folder, Objective(updates_per_rollout=steps, clip_epsilon=0.1))
    scored = run.rollout(size=8)
    found = run.learner.update(scored, trained_samples=4)
    rows = [extremes(advantages, 4) for advantages in found.advantages]
    expected = np.mean([entry.group.log_probs[own] for entry, own in zip(scored, rows)])
    for place, own in enumerate(rows):
        log_ratio = found.recomputed[place]["log_ratio"]
        assert np.flatnonzero(np.isfinite(log_ratio).all(axis=1)).tolist() == sorted(own)
        assert log_ratio.shape == scored[place].group.log_probs.shape and np.isnan(np.delete(log_ratio, own, axis=0)).all()
    assert found.metrics["mean_log_prob_old"] == pytest.approx(expected, rel=1e-5)
    assert found.metrics["mean_reward"] == pytest.approx(np.mean([entry.rewards for entry in scored]), rel=1e-5), "of all that was sampled"
    assert (found.metrics["mean_ratio"] == 1) == (steps == 1)


def test_groups_of_older_weights_are_recomputed_where_they_are_trained(mdm_folder):
    run = Run(mdm_folder, max_staleness=1)
    old = run.rollout(size=8)
    run.learner.update(run.rollout(size=8), trained_samples=4)
    assert run.learner.update(old, trained_samples=4).metrics["log_prob_gap"] == 0


def test_a_broken_sample_is_neither_best_nor_worst(mdm_folder):
    run = Run(mdm_folder)
    first, second = run.rollout(size=8)
    outputs = first.group.outputs.copy()
    outputs[int(np.argmax(first.rewards))] = np.nan
    spoilt = ScoredGroup(dataclasses.replace(first.group, outputs=outputs), first.rewards)
    found = run.learner.update([spoilt, second], trained_samples=4)
    assert found.metrics["broken_samples"] == 1 and np.isfinite(found.metrics["grad_norm"]) and found.metrics["log_prob_gap"] == 0
    assert int(np.argmax(first.rewards)) not in extremes(found.advantages[0], 4)


def test_a_group_whose_extremes_count_for_nothing_teaches_nothing(mdm_folder):
    """As answers that were cut off, under `rollout.mask_truncated`."""
    run = Run(mdm_folder)
    (entry,) = run.rollout(groups=1, size=8)
    mask = np.ones_like(entry.group.log_probs, bool)
    mask[np.r_[np.argsort(entry.rewards)[:2], np.argsort(entry.rewards)[-2:]]] = False
    before = run.digest()
    found = run.learner.update([ScoredGroup(dataclasses.replace(entry.group, mask=mask), entry.rewards)], trained_samples=4)
    assert found.metrics["grad_norm"] == 0 and run.digest() == before
