"""The acceptance test of a policy that sees: what is to be answered depends on the picture alone, and a blind one cannot learn it."""

import numpy as np
import pytest
from PIL import Image

from learner.config.settings import Objective, Optimizer
from learner.learner import Learner
from learner.tally import ScoredGroup
from rollout.language.checkpoint import open_checkpoint
from rollout.language.items import Item
from rollout.language.processor import Processor
from rollout.language.settings import Model
from rollout.policy import Conditioning, Request
from tests.tiny_language import make_policy, write_checkpoint

STEPS, BRIGHTNESS = 40, {"dark": 30, "bright": 220}


def reward(group, bright: bool) -> np.ndarray:
    """[G]: the share of an answer's tokens in the half of the alphabet that the picture asks for."""
    right = (group.outputs < 128) == bright
    return (right & group.mask).sum(axis=1) / group.mask.sum(axis=1)


def learn(folder, blank: bool) -> list[float]:
    """The mean reward of each step."""
    processor = Processor(open_checkpoint(folder), Model(blank=blank, min_pixels=3600, max_pixels=4096))
    conditionings = []
    for name, level in BRIGHTNESS.items():
        item = Item("?", media=(("image", f"/{name}"),))
        conditionings.append(Conditioning(item, processor(item, [processor.encoded("image", Image.new("RGB", (64, 64), (level,) * 3))])))
    # With the head as it is, a temperature of 1 could not be sure of half the tokens.
    policy = make_policy(folder, max_new_tokens=1, temperature=0.3, lora_rank=8, lora_alpha=16.0)
    learner, means = Learner(policy, Objective(clip_epsilon=0.2, clip_epsilon_high=0.28), Optimizer(learning_rate=1e-2)), []
    for step in range(STEPS):
        policy.load_adapter(learner.adapter)
        groups = [policy.sample(Request(each, 8, (0, 0, step, i), 1)) for i, each in enumerate(conditionings)]
        scored = [ScoredGroup(group, reward(group, name == "bright").astype(np.float32)) for group, name in zip(groups, BRIGHTNESS)]
        means.append(float(np.mean([each.rewards.mean() for each in scored])))
        assert learner.update(scored).metrics["log_prob_gap"] == 0
    return means


@pytest.mark.parametrize("blank", [False, True], ids=["sighted", "blind"])
def test_t5_brightness_is_learned_and_only_by_looking(tmp_path, blank):
    means = learn(write_checkpoint(tmp_path / "model"), blank)
    last = np.mean(means[-10:])
    assert (last < 0.65) if blank else (last > 0.9), np.round(means, 2)
