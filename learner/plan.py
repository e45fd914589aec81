"""What a run will do, worked out before anything starts: policy settings, prompts, requests and their seeds."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from learner.settings import Config
from rewards.pair import load_reward_and_judge
from rewards.reward import Motions
from rewards.texts import Embedded
from rollout.errors import InputError
from rollout.motion.policy import SHIPPED_MODEL, MotionDiffusionPolicy, MotionPolicySettings
from rollout.motion.skeleton import FEATURES
from rollout.policy import Conditioning, Request, arrays_digest
from rollout.prompts import Prompt, read_prompts

ASSETS = Path(__file__).parent / "assets"
MIN_FRAMES = 5  # T2M reads whole fours of frames, after the one that re-derived velocities cost
TRAINING, HELDOUT, TRAINED_AGAIN, ORDER = range(4)  # second word of every seed: what the noise is for


def policy_settings(config: Config) -> MotionPolicySettings:
    model, lora = config.model, config.lora
    return MotionPolicySettings(
        path=Path(model.path) if model.path else SHIPPED_MODEL, frames=model.frames, respacing=model.steps,
        stats=Path(model.stats) if model.stats else None, text_encoder=model.text_encoder, ddim_eta=model.ddim_eta, guidance=model.guidance, shared_initial_noise=config.rollout.shared_initial_noise,
        lora_rank=lora.r if lora.enabled else 0, lora_alpha=lora.alpha, lora_targets=lora.targets, adapter_seed=config.seed,
        activation_checkpointing=config.optimizer.use_checkpointing,
    )  # fmt: skip


@dataclass(frozen=True)
class Plan:
    """The prompts of a run, encoded, and the requests made of them. texts: their embeddings by both evaluators."""

    config: Config
    training: list[Conditioning]
    heldout: list[Conditioning]
    texts: Embedded

    @classmethod
    def make(cls, config: Config, policy: MotionDiffusionPolicy) -> "Plan":
        """Reads and encodes both prompt files. Raises InputError for a prompt that is in both."""
        frames = config.model.frames
        training = policy.prepare(read_prompts(config.rollout.prompts or ASSETS / "training_prompts.json", frames))
        heldout_file = config.evaluate.heldout or ASSETS / "heldout_prompts.json"
        heldout = policy.prepare(read_prompts(heldout_file, frames)[: config.evaluate.prompts])
        trained_on = {arrays_digest(c.arrays) for c in training}  # what the model is told, however it is written
        shared = [c.prompt.text for c in heldout if arrays_digest(c.arrays) in trained_on]
        if shared:
            raise InputError(f"evaluate.heldout: {heldout_file} holds {len(shared)} training prompts, such as {shared[0]!r}")
        return cls(config, training, heldout, check_evaluators(config, [c.prompt for c in training + heldout]))

    def rollout_requests(self, iteration: int) -> list[Request]:
        """The groups of one iteration: the next prompts of a shuffled deck, reshuffled whenever it runs out."""
        rollout, seed = self.config.rollout, self.config.seed
        first, size = iteration * rollout.prompts_per_iteration, len(self.training)
        requests = []
        for position in range(first, first + rollout.prompts_per_iteration):
            deck = np.random.default_rng((seed, ORDER, position // size)).permutation(size)
            conditioning = self.training[deck[position % size]]
            noise = (seed, TRAINING, iteration, position - first)
            requests.append(Request(conditioning, rollout.group_size, noise, rollout.trained_steps))
        return requests

    def heldout_requests(self) -> list[Request]:
        """Prompts never trained on; the same noise whenever it is asked for."""
        return self._evaluation(self.heldout, HELDOUT, self.config.evaluate.samples_per_prompt)

    def trained_requests(self) -> list[Request]:
        """The training prompts under noise that training never uses; at least as many samples as held-out ones."""
        wanted = len(self.heldout) * self.config.evaluate.samples_per_prompt
        return self._evaluation(self.training, TRAINED_AGAIN, max(2, -(-wanted // len(self.training))))

    def _evaluation(self, conditionings: list[Conditioning], purpose: int, samples: int) -> list[Request]:
        return [Request(c, samples, (self.config.seed, purpose, i), 0) for i, c in enumerate(conditionings)]


def check_evaluators(config: Config, prompts: list[Prompt]) -> Embedded:
    """The text embeddings of all prompts, so that no actor encodes one again.

    Raises InputError when reward or judge cannot be loaded, cannot read a prompt, finds its motion too short, or has not
    the chosen component."""
    kind, texts = config.reward, {}
    reward, judge = load_reward_and_judge(kind.type, kind.paths(), "cpu", kind.foot_skate, texts)
    lengths = np.array([prompt.length for prompt in prompts])
    if lengths.min() < MIN_FRAMES:
        short = prompts[int(lengths.argmin())]
        raise InputError(f"prompt {short.text!r}: {short.length} frames, expected at least {MIN_FRAMES} for the evaluators to read")
    for evaluator in (reward, judge):
        evaluator.embed_text([prompt.text for prompt in prompts], [prompt.tokens for prompt in prompts])
    one_of_each = {prompt.length: prompt for prompt in prompts}.values()  # a data set has tens of thousands of prompts
    lengths = np.array([prompt.length for prompt in one_of_each])
    features = np.zeros((len(lengths), lengths.max(), FEATURES), np.float32)
    still = Motions(features, lengths, [prompt.text for prompt in one_of_each], [prompt.tokens for prompt in one_of_each])
    judge(still)
    components = sorted(reward(still))
    if kind.component and kind.component not in components:
        raise InputError(f"reward.component: found {kind.component!r}, {kind.type} has {', '.join(components)}")
    return texts
