"""What an evaluation will do, read and checked before anything starts: models, captions, real motion."""

import dataclasses
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from learner.evaluate.models import BASE, EvaluatedModel, named
from learner.evaluate.motion.measures import Measured, Reader, Texts, replication_metrics
from learner.evaluate.motion.protocol import FOUR, DrawnPool, PromptsAlone, RealData, RealStored, Replications
from learner.evaluate.motion.report import best_of
from learner.evaluate.motion.settings import POOL, SHORTEST, EvaluateConfig
from rewards.motion.family import REAL
from rewards.motion.texts import Embedded
from rollout.adapter import Adapter
from rollout.io.errors import InputError
from rollout.motion.adapter_folder import load_policy
from rollout.motion.diffusion_policy import MotionDiffusionPolicy, MotionPolicySettings
from rollout.motion.family import MOTION
from rollout.motion.motion_set import read_motions
from rollout.motion.prepare import MotionPreparer
from rollout.motion.prompts import MotionPrompt, read_prompts
from rollout.motion.skeleton import MotionFormat
from rollout.policy import Conditioning, arrays_digest

REAL_ROW = "ground truth"
ENCODED_AT_ONCE = 64  # captions between two words of progress


class EncodedPools(Sequence):
    """Batches as the pool asks for them; `encoded`: a conditioning's arrays by caption, each encoded once."""

    def __init__(self, batches: list[DrawnPool], encoded: dict[str, dict[str, np.ndarray]]):
        self.batches, self.encoded = batches, encoded

    def __len__(self) -> int:
        return len(self.batches)

    def __getitem__(self, index: int) -> tuple[list[Conditioning], list[tuple[int, ...]], tuple]:
        batch = self.batches[index]
        lengths = np.array([prompt.length for prompt in batch.prompts])
        told = lengths, True, batch.prompts
        return [Conditioning(prompt, self.encoded[prompt.text]) for prompt in batch.prompts], batch.seeds, told


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """All that was read and checked before anything starts. embedded: every caption by every evaluator, for who reads
    motions. rewarded: whether the reward can read them."""

    config: EvaluateConfig
    models: list[EvaluatedModel]
    encoded: dict[str, dict[str, np.ndarray]]
    real: RealData | RealStored
    replications: Replications
    further: dict[str, Replications]  # by split
    texts: Texts
    embedded: Embedded
    rewarded: bool
    notes: list[str]
    standing: dict[str, str]  # by name, the digest of what the numbers stand on
    skipped: tuple[str, ...] = ()  # what of a data set cannot be read is counted in the notes

    @classmethod
    def make(cls, config: EvaluateConfig, encoded_so_far: Callable[[int, int], None] = lambda done, total: None) -> "Evaluation":
        """`encoded_so_far(done, total)` is told of captions: a data set has thousands, and text models are slow on a CPU.

        Raises InputError for the first file, adapter, caption or setting that does not fit.
        """
        settings = MotionPolicySettings(config.model, precision=config.cluster.precision)
        preparer, policy = MotionPreparer(config.model), load_policy(settings, None)
        preparer.require_prefix("model.prefix")
        if preparer.frames < (asked := config.model.frames):
            needed = f"{-(-asked // preparer.frames)}: {asked} frames of a model that makes {preparer.frames} at once"
            raise InputError(f"model.windows: found 1, expected {needed}")
        models = [_model(BASE, None, policy)]
        adapters = named(config.adapter, REAL_ROW, best_of(config.best_of))
        models += [_model(name, folder, load_policy(settings, folder)) for name, folder in adapters]
        embedded: Embedded = {}
        reader = Reader(config.reward, config.cluster.reward_deadline, os.getcwd(), embedded, "cpu")
        for evaluator in reader.evaluators.values():
            evaluator.require(preparer.checkpoint.format.features)
        real, notes = _real(config, preparer.checkpoint.format)
        if "tmr" not in reader.evaluators:
            notes.append(f"no TMR score: reward.tmr_path names no TMR of {preparer.checkpoint.format.name}")
        if config.model.prefix:
            notes.append(f"every motion continues {config.model.prefix}; published numbers continue the beginning of each real motion")
        if config.chooses and reader.scorer is None:
            notes.append("no row of the best of several: the reward reads no motion of this format (reward.components)")
        further = {}
        for split, file in named(config.prompts, REAL_ROW, *(model.name for model in models), setting="prompts"):
            further[split] = Replications(config, PromptsAlone(_further(file, preparer)))
            notes.append(f"{split}: {len(further[split].real.prompts())} prompts of {file}, without real motion and so without FID")
        prompts = list(dict.fromkeys(prompt for each in (real, *(draws.real for draws in further.values())) for prompt in each.prompts()))
        encoded = {}
        for first in range(0, len(prompts), ENCODED_AT_ONCE):
            some = prompts[first : first + ENCODED_AT_ONCE]
            encoded |= {conditioning.prompt.text: conditioning.arrays for conditioning in preparer.prepare(some)}
            Texts(some, reader.evaluators)  # which the evaluators remember
            encoded_so_far(first + len(some), len(prompts))
        replications = Replications(config, real)
        standing = {
            "base model": policy.base_digest(), "real motion": arrays_digest({}, repr(replications.real_draws(0))),
            **{f"adapter {model.name}": model.adapter.sha256 for model in models},
            **{f"{name} evaluator": evaluator.weights_sha256() for name, evaluator in reader.evaluators.items()},
            **{f"prompts {split}": arrays_digest({}, repr(draws.real.prompts())) for split, draws in further.items()},
            "captions": arrays_digest({text: arrays["text"] for text, arrays in encoded.items()}),
            **({} if preparer.prefix is None else {"prefix": arrays_digest({"prefix": preparer.prefix})}),
        }  # fmt: skip
        texts, rewarded = Texts(prompts, reader.evaluators), reader.scorer is not None
        return cls(config, models, encoded, real, replications, further, texts, embedded, rewarded, notes, standing)

    def metrics(self, replication: int, prompts: list[MotionPrompt], measured: Measured) -> dict[str, float]:
        return replication_metrics(prompts, measured, self.texts, self.replications.pairs_seed(replication))


def _model(name: str, folder: Path | None, policy: MotionDiffusionPolicy) -> EvaluatedModel:
    source = None if folder is None else str(folder)
    return EvaluatedModel(name, source, MotionDiffusionPolicy, policy.settings, Adapter.pack(0, policy.adapter_state()))


def _further(file: Path, preparer: MotionPreparer) -> list[MotionPrompt]:
    """The captions of a prompt file, each once, as long as they ask for: in whole fours of frames, as evaluators read them."""
    found = {}
    for prompt in preparer.read(file):
        length = min(prompt.length, preparer.frames) // FOUR * FOUR
        if length < SHORTEST:
            raise InputError(f"prompts: {file}: {prompt.text!r} has {prompt.length} frames, expected at least {SHORTEST}")
        found.setdefault(prompt.text, dataclasses.replace(prompt, length=length))
    if len(found) < POOL:
        raise InputError(f"prompts: {file} has {len(found)} captions, expected at least {POOL}, among which a motion has to find its own")
    return list(found.values())


def _real(config: EvaluateConfig, made: MotionFormat) -> tuple[RealData | RealStored, list[str]]:
    """Real motions, and what a reader of the table has to know about them."""
    frames = config.model.frames
    notes = ["FID is to the real motion of the same replication; that of ground truth, to other crops of the same motions"]
    if config.data:
        motions = read_motions(config.data, config.split)
        if motions.features != made.features:
            expected = f"{made.name}'s {made.features}, which the model makes"
            raise InputError(f"data: {config.data} has {motions.features} features a frame, expected {expected}")
        real = RealData(motions, frames)
        notes.append(f"real motion: {len(motions.motions)} motions of {config.data}, split {config.split}")
        if motions.skipped:
            notes.append(f"skipped: {', '.join(f'{count} {reason}' for reason, count in motions.skipped.items())}")
        if frames < max(len(motion.features) for motion in motions.motions) // 4 * 4:
            notes.append(f"motions are at most {real.frames} frames (--model.frames), real ones cropped alike")
        if len(motions.motions) // POOL < config.pools:
            notes.append(f"the split has fewer than {config.pools * POOL} motions: drawn again, with fresh captions, crops and noise")
        return real, notes
    if any(config.reward.custom(name) for name in ("tmr", "t2m", *config.reward.beside)):
        raise InputError("data: real motion is stored as the shipped evaluators read it; other evaluators need --data FILE_OR_FOLDER")
    prompts = read_prompts(MOTION.shipped("heldout"), frames)
    longest = max(prompt.length for prompt in prompts)
    if frames < longest:
        raise InputError(f"model.frames: found {frames}, expected at least the {longest} of the stored real motion, or --data")
    notes.append(f"{len(prompts)} held-out prompts of {longest} frames, drawn again and again; real motion from what is stored of it")
    return RealStored(prompts, stored_real_motion(prompts)), notes


def stored_real_motion(prompts: list[MotionPrompt]) -> Measured:
    """What ships of the real motion of the held-out prompts."""
    with np.load(REAL, allow_pickle=False) as stored:
        if stored["captions"].tolist() != [prompt.text for prompt in prompts]:
            raise InputError(f"{REAL}: was made for other captions than heldout_prompts.json; run learner.pretrain")
        fields = [field.name for field in dataclasses.fields(Measured)]
        unread = np.full(len(stored["crop_t2m"]), np.nan, np.float32)  # it is of a run's components, and no motion ships
        return Measured(**{name: unread if name == "reward" else stored[f"crop_{name}"] for name in fields})
