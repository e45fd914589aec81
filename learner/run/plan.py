"""What a run will do, worked out before anything starts: policy settings, prompts, requests and their seeds."""

import dataclasses
import functools
import logging
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from learner.config.settings import Config
from rewards.motion.texts import Embedded
from rewards.own_class import use_folder
from rewards.reward import Motions
from rewards.scoring import load_reward_and_judge
from rollout.io.errors import InputError
from rollout.motion.policy import SHIPPED_MODEL, MotionDiffusionPolicy, MotionPolicySettings
from rollout.motion.prompts import Prompt, read_prompts
from rollout.motion.settings import Model
from rollout.motion.skeleton import FEATURES
from rollout.policy import Conditioning, Request, arrays_digest
from rollout.seeds import Purpose, seed_of

log = logging.getLogger(__name__)
ASSETS = Path(__file__).parent.parent / "assets"
MIN_FRAMES = 5  # T2M reads whole fours of frames, after the one that re-derived velocities cost


def base_settings(model: Model) -> MotionPolicySettings:
    """The base model as it samples, without an adapter."""
    return MotionPolicySettings(
        path=Path(model.path) if model.path else SHIPPED_MODEL, frames=model.frames, respacing=model.steps,
        guidance=model.guidance, stats=Path(model.stats) if model.stats else None, text_encoder=model.text_encoder,
        ddim_eta=model.ddim_eta, lora_rank=0,
    )  # fmt: skip


def policy_settings(config: Config) -> MotionPolicySettings:
    lora = config.lora
    return dataclasses.replace(
        base_settings(config.model), shared_initial_noise=config.rollout.shared_initial_noise,
        lora_rank=lora.r if lora.enabled else 0, lora_alpha=lora.alpha, lora_targets=lora.targets, adapter_seed=config.seed,
        activation_checkpointing=config.optimizer.use_checkpointing,
    )  # fmt: skip


@dataclass(frozen=True)
class Plan:
    """The prompts of a run, encoded, and the requests made of them.

    training: by place in the prompt file, those that this run comes to; of tens of thousands most runs need few. prompts:
    how many there are. examined: the places of those that are evaluated. texts: all embeddings by reward and judge.
    """

    config: Config
    training: dict[int, Conditioning]
    prompts: int
    examined: list[int]
    heldout: list[Conditioning]
    texts: Embedded

    @classmethod
    def make(cls, config: Config, policy: MotionDiffusionPolicy) -> "Plan":
        """Reads both prompt files and encodes what the run needs of them.

        A held-out prompt that is trained on, however it is written, is left out and reported. Raises InputError when none
        is left, and for a model that cannot be trained.
        """
        _require_trainable(config, policy)
        frames, wanted = config.model.frames, config.evaluate.prompts
        prompts = read_prompts(config.rollout.prompts or ASSETS / "training_prompts.json", frames)
        examined = sorted({deal(config.seed, position, len(prompts)) for position in range(min(wanted, len(prompts)))})
        positions = range(min(config.iterations * config.rollout.prompts_per_iteration, len(prompts)))  # then all are out
        dealt = {deal(config.seed, position, len(prompts)) for position in positions}
        places = sorted(dealt.union(examined))
        training = dict(zip(places, policy.prepare([prompts[place] for place in places])))
        heldout = _never_trained_on(config, policy, prompts, training)
        texts = check_evaluators(config, [c.prompt for c in [*training.values(), *heldout]])
        return cls(config, training, len(prompts), examined, heldout, texts)

    def rollout_requests(self, iteration: int) -> list[Request]:
        """The groups of one iteration: the next prompts of a shuffled deck, reshuffled whenever it runs out."""
        rollout, seed = self.config.rollout, self.config.seed
        first = iteration * rollout.prompts_per_iteration
        requests = []
        for i in range(rollout.prompts_per_iteration):
            conditioning = self.training[deal(seed, first + i, self.prompts)]
            requests.append(Request(conditioning, rollout.group_size, seed_of(seed, Purpose.TRAINING, iteration, i), rollout.trained_steps))
        return requests

    def heldout_requests(self) -> list[Request]:
        """Prompts never trained on; the same noise whenever it is asked for."""
        return self._evaluation(self.heldout, Purpose.HELDOUT, self.config.evaluate.samples_per_prompt)

    def trained_requests(self) -> list[Request]:
        """Training prompts, the first that the deck deals, under noise that training never uses; at least as many samples
        as held-out ones."""
        wanted = len(self.heldout) * self.config.evaluate.samples_per_prompt
        conditionings = [self.training[place] for place in self.examined]
        return self._evaluation(conditionings, Purpose.TRAINED_AGAIN, max(2, -(-wanted // len(conditionings))))

    def _evaluation(self, conditionings: list[Conditioning], purpose: Purpose, samples: int) -> list[Request]:
        return [Request(c, samples, seed_of(self.config.seed, purpose, i), 0) for i, c in enumerate(conditionings)]


def deal(seed: int, position: int, prompts: int) -> int:
    """The place in the prompt file of card `position` of a deck that is shuffled anew whenever it runs out."""
    return int(_deck(seed, position // prompts, prompts)[position % prompts])


@functools.lru_cache(maxsize=2)
def _deck(seed: int, round_: int, prompts: int) -> np.ndarray:
    return np.random.default_rng(seed_of(seed, Purpose.ORDER, round_)).permutation(prompts)


def _require_trainable(config: Config, policy: MotionDiffusionPolicy) -> None:
    if not config.model.ddim_eta:
        raise InputError("model.ddim_eta: found 0, expected a number above 0: steps without noise have no likelihood to train")
    if policy.options["context_len"]:
        raise InputError(f"{policy.settings.path}: a prefix-completion model can be sampled (rollout.sample --prefix), not trained")
    if policy.shape.features != FEATURES:
        raise InputError(f"{policy.settings.path}: {policy.shape.features} motion features can be sampled, not trained; expected {FEATURES}")


def _never_trained_on(
    config: Config, policy: MotionDiffusionPolicy, prompts: list[Prompt], training: dict[int, Conditioning]
) -> list[Conditioning]:  # fmt: skip
    """The first held-out prompts whose text no training prompt has, nor what the model is told of it."""
    file = config.evaluate.heldout or ASSETS / "heldout_prompts.json"
    texts = {prompt.text.casefold() for prompt in prompts}
    told = {arrays_digest(conditioning.arrays) for conditioning in training.values()}
    heldout, shared = [], []
    for prompt in read_prompts(file, config.model.frames):
        if len(heldout) == config.evaluate.prompts:
            break
        (conditioning,) = policy.prepare([prompt])
        known = prompt.text.casefold() in texts or arrays_digest(conditioning.arrays) in told
        (shared if known else heldout).append(conditioning)
    if not heldout:
        raise InputError(f"evaluate.heldout: every prompt of {file} is a training prompt, such as {shared[0].prompt.text!r}")
    if shared:
        log.warning("evaluate.heldout: left out %d training prompts of %s, such as %r", len(shared), file, shared[0].prompt.text)
    return heldout


def check_evaluators(config: Config, prompts: list[Prompt]) -> Embedded:
    """The text embeddings of all prompts, so that no actor encodes one again.

    Raises InputError when a component of the reward or the judge cannot be loaded, cannot read a prompt, finds its motion
    too short, or does not score a body that stands still."""
    (judge_name, independent), texts = config.reward.chosen_judge(), {}
    use_folder(os.getcwd())
    scorer, judge = load_reward_and_judge(config.reward.parsed(), judge_name, config.reward, "cpu", texts)
    if not independent:
        log.warning("reward.judge: the reward reads %s too: this run has no independent judge", judge_name)
    lengths = np.array([prompt.length for prompt in prompts])
    if lengths.min() < MIN_FRAMES:
        short = prompts[int(lengths.argmin())]
        raise InputError(f"prompt {short.text!r}: {short.length} frames, expected at least {MIN_FRAMES} for the evaluators to read")
    for evaluator in {**scorer.evaluators, judge_name: judge}.values():
        evaluator.embed_text([prompt.text for prompt in prompts], [prompt.tokens for prompt in prompts])
    one_of_each = {prompt.length: prompt for prompt in prompts}.values()  # a data set has tens of thousands of prompts
    lengths = np.array([prompt.length for prompt in one_of_each])
    features = np.zeros((len(lengths), lengths.max(), FEATURES), np.float32)
    produced = np.pad(features, ((0, 0), (0, 1), (0, 0)))
    tokens = [prompt.tokens for prompt in one_of_each]
    still = Motions(features, lengths, [prompt.text for prompt in one_of_each], tokens, produced)
    judge(still)
    scorer.check(still, config.cluster.reward_deadline)
    return texts
