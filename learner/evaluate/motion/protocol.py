"""The public evaluation protocol of HumanML3D and KIT-ML (Guo et al., CVPR 2022; MDM): which captions, crops and noise a replication has.

Pools of 32 in random order, an incomplete last pool dropped; a random caption of each motion; a crop of whole fours of
frames, one four shorter for a third of them, from a random start. Everything follows from (seed, replication), never from
the row that is evaluated or from who samples it.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from learner.evaluate.motion.measures import Measured
from learner.evaluate.motion.settings import POOL, EvaluateConfig
from rollout.io.errors import InputError
from rollout.motion.features import padded
from rollout.motion.motion_set import MotionSet
from rollout.motion.prompts import MotionPrompt
from rollout.seeds import Purpose, seed_of

FOUR = 4  # frames that the T2M evaluator reads as one
MULTIMODAL_POOLS, REPEATS = 4, 30  # 100 captions // 32 + 1 pools, and motions of each caption


@dataclass(frozen=True)
class Draw:
    """A caption with its length, and the real motion it belongs to: frames from `start` of motion `item`."""

    item: int
    prompt: MotionPrompt
    start: int


@dataclass(frozen=True)
class DrawnPool:
    """A pool to generate: one motion for each prompt. Motion i's noise is that of seeds[i]. `repeat` 0 counts in every
    metric, the others in MultiModality alone, or are what is chosen among."""

    pool: int
    repeat: int
    prompts: list[MotionPrompt]
    seeds: list[tuple[int, ...]]


def shuffled_pools(motions: int, draw: np.random.Generator) -> list[int]:
    """The places of as many motions, each once in random order, without an incomplete last pool."""
    return draw.permutation(motions)[: motions // POOL * POOL].tolist()


class RealData:
    """Real motions out of a data set. `crops` cuts them for an evaluator to read."""

    def __init__(self, motions: MotionSet, frames: int):
        """`frames`: the longest motion that the model makes; real crops are kept as short, so that like is compared with like."""
        if len(motions.motions) < POOL:
            raise InputError(f"data: found {len(motions.motions)} usable motions (skipped {motions.skipped or 'none'}), expected at least {POOL}")
        self.motions, self.frames = motions.motions, frames // FOUR * FOUR

    def prompts(self) -> list[MotionPrompt]:
        """Every caption that can be drawn, for checking before anything starts."""
        return [MotionPrompt(caption.text, self.frames, caption.tokens) for motion in self.motions for caption in motion.captions]

    def epoch(self, draw: np.random.Generator) -> list[Draw]:
        return [self._draw(item, draw) for item in shuffled_pools(len(self.motions), draw)]

    def _draw(self, item: int, draw: np.random.Generator) -> Draw:
        motion = self.motions[item]
        caption = motion.captions[draw.integers(len(motion.captions))]
        fours = len(motion.features) // FOUR - (draw.integers(3) == 2)
        length = min(int(fours) * FOUR, self.frames)
        return Draw(item, MotionPrompt(caption.text, length, caption.tokens), int(draw.integers(len(motion.features) - length + 1)))

    def crops(self, draws: list[Draw]) -> tuple[np.ndarray, np.ndarray]:
        """Features [N, T, F] with 0 past each length, and lengths [N]; T is the longest of them."""
        return padded([self.motions[draw.item].features[draw.start : draw.start + draw.prompt.length] for draw in draws])


class RealStored:
    """The captions that ship, with what the shipped evaluators read off crops of their real motions: no motion ships."""

    def __init__(self, prompts: list[MotionPrompt], measured: Measured):
        """`measured`: C crops of each prompt, prompt by prompt."""
        self._prompts, self._measured, self._crops = prompts, measured, len(measured) // len(prompts)

    def prompts(self) -> list[MotionPrompt]:
        return self._prompts

    def epoch(self, draw: np.random.Generator) -> list[Draw]:
        items = shuffled_pools(len(self._prompts), draw)
        return [Draw(item, self._prompts[item], int(draw.integers(self._crops))) for item in items]

    def measured(self, draws: list[Draw]) -> Measured:
        return self._measured.rows(np.array([draw.item * self._crops + draw.start for draw in draws]))


class PromptsAlone:
    """Captions without real motion, each with the length that is wanted of it."""

    def __init__(self, prompts: list[MotionPrompt]):
        self._prompts = prompts

    def prompts(self) -> list[MotionPrompt]:
        return self._prompts

    def epoch(self, draw: np.random.Generator) -> list[Draw]:
        return [Draw(item, self._prompts[item], 0) for item in shuffled_pools(len(self._prompts), draw)]


class Replications:
    """What each replication of an evaluation draws."""

    def __init__(self, config: EvaluateConfig, real: RealData | RealStored | PromptsAlone):
        self.config, self.real = config, real

    def real_draws(self, replication: int) -> list[Draw]:
        """Whole epochs until there are enough samples: the whole split at once when it is large."""
        return self._draws(Purpose.REAL, replication)

    def batches(self, replication: int) -> list[DrawnPool]:
        """Every pool to generate, those of MultiModality repeated."""
        seed, pools = self.config.seed, self.config.pools
        repeated: set[int] = set()
        if replication < self.config.multimodal_rounds:
            chosen = np.random.default_rng(seed_of(seed, Purpose.MULTIMODAL, replication)).permutation(pools)[:MULTIMODAL_POOLS]
            repeated = set(chosen.tolist())
        return self._pools(replication, lambda pool: REPEATS if pool in repeated else 1)

    def candidates(self, replication: int) -> list[DrawnPool]:
        """Every pool as often as motions of a caption are chosen among; the first time that of `batches`."""
        return self._pools(replication, lambda pool: self.config.best_of)

    def pairs_seed(self, replication: int) -> int:
        """Seed of the random pairs of Diversity and MultiModality, the same for every row."""
        return int(np.random.SeedSequence(seed_of(self.config.seed, Purpose.PAIRS, replication)).generate_state(1)[0])

    def _pools(self, replication: int, repeats: Callable[[int], int]) -> list[DrawnPool]:
        draws, batches = self._draws(Purpose.GENERATED, replication), []
        for pool in range(self.config.pools):
            prompts = [draw.prompt for draw in draws[pool * POOL : (pool + 1) * POOL]]
            for repeat in range(repeats(pool)):
                seeds = [seed_of(self.config.seed, Purpose.NOISE, replication, pool, i, repeat) for i in range(POOL)]
                batches.append(DrawnPool(pool, repeat, prompts, seeds))
        return batches

    def _draws(self, purpose: Purpose, replication: int) -> list[Draw]:
        draw = np.random.default_rng(seed_of(self.config.seed, purpose, replication))
        draws: list[Draw] = []
        while len(draws) < self.config.pools * POOL:
            draws += self.real.epoch(draw)
        return draws
