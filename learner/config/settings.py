"""Every setting of a training run: its default, its meaning and what values are refused.

This is the only list of settings. The command line, the YAML file, `--help` and the tracked parameters are all read from it.
"""

import dataclasses
import math
import re
from dataclasses import dataclass, field
from typing import Any, Literal

from rewards.components import DEFAULT, Component, parse_components
from rewards.motion.paths import EvaluatorPaths
from rewards.registry import choose_judge, kind_of
from rollout.io.credentials import refuse_credentials
from rollout.io.errors import InputError

LONGEST_TEXT = 4096  # characters, as of a path
LORA_TARGETS = ("q", "k", "v", "out", "linear1", "linear2")


def option(default: Any, text: str, minimum: float | None = None, above: float | None = None, below: float | None = None):
    """A dataclass field with its help text and the open or closed bounds a value must respect."""
    return field(default=default, metadata={"help": text, "minimum": minimum, "above": above, "below": below})


@dataclass(frozen=True)
class Model:
    """The motion diffusion model that is trained, and how it samples."""

    path: str | None = option(None, "checkpoint of the base model; null = the model that ships with the project")
    stats: str | None = option(None, "folder of the dataset's Mean.npy and Std.npy; null = beside the checkpoint, or in the MDM checkout around it")
    text_encoder: str | None = option(
        None, "folder or hub name of the CLIP or DistilBERT the checkpoint was trained on; null = the official one, from the hub's cache"
    )
    dataset: Literal["cmu", "humanml", "kit"] = option(
        "cmu", "feature layout of the model and its prompts: cmu and humanml have 22 joints and 263 features, kit is not supported yet"
    )
    frames: int = option(40, "length of a sampled motion in frames, at 20 frames a second", minimum=2)
    steps: str = option("10", "respacing of the checkpoint's diffusion schedule: a number of steps, ddimN, or empty for all of them")
    ddim_eta: float = option(1.0, "noise of a denoising step: 1 = DDPM, less = DDIM with that much of it; training needs some", minimum=0)
    guidance: float = option(2.5, "scale s of classifier-free guidance u + s(c - u); 1 = the conditional model alone", minimum=0)


@dataclass(frozen=True)
class Lora:
    """The low-rank adapter. Disabled, every weight of the model is trained."""

    enabled: bool = option(True, "train an adapter; false = full fine-tuning")
    r: int = option(16, "rank of the adapter's matrices", minimum=1)
    alpha: float = option(32.0, "the adapter's output is scaled by alpha / r", above=0)
    targets: tuple[str, ...] = option(LORA_TARGETS, f"linears of every layer that get an adapter, of {', '.join(LORA_TARGETS)}")


@dataclass(frozen=True)
class Rollout:
    """What is sampled in one iteration: prompts_per_iteration groups of group_size motions."""

    prompts: str | None = option(None, "file of training prompts or HumanML3D folder; null = the prompts that ship with the project")
    prompts_per_iteration: int = option(12, "groups an iteration, each of one prompt", minimum=1)
    group_size: int = option(16, "motions sampled for a prompt; each is compared with the mean of its group", minimum=2)
    trained_steps: int = option(5, "denoising steps of a motion that are recorded and trained on", minimum=1)
    shared_initial_noise: bool = option(True, "the motions of a group start from the same noise x_T")


@dataclass(frozen=True)
class Evaluators:
    """The two networks that read motions: TMR and T2M."""

    t2m_path: str | None = option(
        None, "T2M evaluator: a finest.tar, or the MDM checkout around it with glove folder and statistics; null = the shipped one"
    )
    tmr_path: str | None = option(
        None, "TMR evaluator: a run folder with config.json, last_weights and stats; null = the shipped one"
    )
    tmr_stats: str | None = option(
        None, "folder of TMR's mean.pt and std.pt; null = stats in its run folder, or where config.json says"
    )
    text_encoder: str | None = option(
        None, "DistilBERT that TMR reads text with, a folder or a hub name; null = distilbert-base-uncased in the hub cache"
    )
    tmr_text_encoder_path: str | None = option(
        None, "weights file of TMR's text encoder, instead of tmr_path; one file may hold both encoders"
    )
    tmr_motion_encoder_path: str | None = option(None, "weights file of TMR's motion encoder, instead of tmr_path")
    tmr_movement_encoder_path: str | None = option(
        None, "checked and not used by the score: TMR has no movement encoder; its motion_decoder.pt may be given"
    )

    def __post_init__(self):
        self.paths()  # refuses a run folder beside single files

    def paths(self) -> EvaluatorPaths:
        """The part of these settings that rewards read."""
        return EvaluatorPaths(**{item.name: getattr(self, item.name) for item in dataclasses.fields(EvaluatorPaths)})


@dataclass(frozen=True)
class Reward(Evaluators):
    """What a motion is scored by: a weighted sum of components. The judge reports and never trains."""

    components: dict[str, dict[str, Any]] = field(
        default_factory=dict,
        metadata={"help": "terms of the reward by name: path, weight, normalise, options; none = TMR cosine, less sliding feet"},
    )
    judge: Literal["tmr", "t2m"] | None = option(None, "evaluator that judges; null = the one that no component reads")

    def __post_init__(self):
        super().__post_init__()
        object.__setattr__(self, "components", self.components or DEFAULT)
        for name, component in self.parsed().items():
            kind_of(name, component.path)

    def parsed(self) -> dict[str, Component]:
        """The components as rewards read them."""
        return parse_components(self.components)

    def chosen_judge(self) -> tuple[str, bool]:
        """The evaluator that judges, and whether no component reads it."""
        return choose_judge(self.parsed(), self.judge)


@dataclass(frozen=True)
class Objective:
    """How scores become a loss."""

    kind: Literal["grpo", "trajectory"] = option(
        "grpo", "grpo = a ratio per denoising step against the policy that sampled; trajectory = the original's summed ratio against the reference"
    )
    ratio: Literal["ratio_norm", "raw"] = option("ratio_norm", "ratio_norm = the log-ratio brought to one scale at every step; raw = as it is")
    step_weight: Literal["x0", "none"] = option("x0", "x0 = steps weighted so that their gradients on the predicted motion are equal; none = all 1")
    clip_epsilon: float = option(1e-5, "the ratio is clipped to 1 +- this; inert at one update a rollout", above=0)
    kl_penalty: float = option(0.0, "weight of the KL to the base model", minimum=0)
    advantage_eps: float = option(1e-4, "added to a group's reward standard deviation before it divides", above=0)
    advantage_clip: float = option(5.0, "advantages are clipped to +- this", above=0)
    updates_per_rollout: int = option(1, "optimizer steps on the groups of one iteration", minimum=1)


@dataclass(frozen=True)
class Optimizer:
    """AdamW on the trained parameters."""

    learning_rate: float = option(3e-4, "step size; 1e-4 to 3e-4 for an adapter, 1e-5 for full fine-tuning", above=0)
    weight_decay: float = option(0.0, "decoupled weight decay", minimum=0)
    grad_clip: float = option(1.0, "largest norm of the gradient; a larger one is scaled down to it", above=0)
    ema_decay: float = option(0.0, "decay of a moving average of the trained parameters, used by evaluation; 0 = off", minimum=0, below=1)
    use_checkpointing: bool = option(False, "recompute activations in the backward pass: less memory, more time")


@dataclass(frozen=True)
class Evaluate:
    """The same prompts and noise, base model beside tuned. Always before and after training."""

    every: int = option(0, "iterations between evaluations during training; 0 = only before and after", minimum=0)
    prompts: int = option(64, "held-out prompts, never trained on; and at most as many training prompts", minimum=1)
    samples_per_prompt: int = option(4, "motions sampled for each of them", minimum=1)
    patience: int = option(3, "evaluations in a row with the reward risen and the judge fallen, beyond noise, after which the run warns", minimum=1)
    on_divergence: Literal["warn", "stop"] = option("warn", "what that does: warn, or stop = end the run there, its adapter saved; needs evaluate.every")
    heldout: str | None = option(None, "file of held-out prompts, or list of clips such as HumanML3D/test.txt; null = those that ship with the project")


Watched = Literal["ignore", "warn", "stop", "roll_back"] | None
Steered = Literal["ignore", "warn", "stop", "roll_back", "adapt"] | None


@dataclass(frozen=True)
class Health:
    """What is done about each finding: ignore, warn, adapt (less learning rate and more KL, then also a tighter clip), stop,
    or roll_back (end the run at its last good checkpoint). null = what the preset does."""

    preset: Literal["default", "original_ladder", "none"] = option(
        "default", "default = stop on what is not finite or not reproduced, warn of the rest; original_ladder = also adapt at a log-ratio of "
        "5 and 10, roll back at 20; none = ignore"
    )  # fmt: skip
    log_prob_gap: Watched = option(None, "the recomputed log-probs are not the sampled ones")
    non_finite: Watched = option(None, "a number of the update is NaN or infinite")
    log_ratio: Steered = option(None, "the largest log-ratio is 5, 10, 20 or more")
    gradient: Steered = option(None, "the gradient's norm jumps to 10 or 100 times what it was")
    kl: Steered = option(None, "the KL to the base model is 0.2 or 1")
    clip_fraction: Steered = option(None, "half, or 9 in 10, of the ratios are clipped")
    zero_std: Watched = option(None, "half, or all, of the groups have equal rewards and teach nothing")
    reward_spread: Watched = option(None, "the rewards' spread falls to a fifth of what it was, or to nothing")
    failed_samples: Watched = option(None, "samples without a reward")
    lengths: Watched = option(None, "motions are all of nearly one length where they were of many")
    not_measured: Watched = option(None, "a number beside the update, such as a component's mean, is NaN or infinite")
    throughput: Literal["ignore", "warn"] | None = option(None, "iterations take 3, or 10, times as long as they did")


@dataclass(frozen=True)
class Cluster:
    """Ray actors and what each may use."""

    samplers: int = option(2, "sampler actors", minimum=1)
    min_samplers: int = option(1, "the run goes on as long as so many are left or can be replaced", minimum=1)
    sampler_cpus: int = option(1, "CPU cores, and threads, of each sampler", minimum=1)
    learner_cpus: int = option(2, "threads of the learner: it works while the samplers wait", minimum=1)
    reward_actors: int = option(1, "reward actors, which share the groups of an iteration", minimum=1)
    reward_batch: int = option(
        1, "groups scored in one call, by their order and not by when they arrive; sets a score's last bits", minimum=1
    )
    reward_deadline: float = option(300.0, "seconds that scoring may go without an answer before its actor is replaced", above=0)
    sampler_deadline: float = option(900.0, "seconds that a sampler may take for one group before it is replaced", above=0)
    learner_deadline: float = option(1800.0, "seconds that the learner may take for one update before it is replaced", above=0)
    gpus_per_actor: float | None = option(None, "GPUs of each actor; null = one each when the cluster has enough", minimum=0)
    max_staleness: int = option(
        0, "adapter versions a group may lag behind: 0 = exactly on-policy; 1 = the next rollout is sampled during the update", minimum=0, below=2
    )

    def __post_init__(self):
        if self.min_samplers > self.samplers:
            _refuse("cluster.min_samplers", self.min_samplers, f"at most cluster.samplers, {self.samplers}")


@dataclass(frozen=True)
class Checkpoint:
    """What a run that was killed goes on from with --resume."""

    every: int = option(1, "iterations between checkpoints", minimum=1)
    keep: int = option(2, "newest checkpoints that are kept", minimum=1)
    path: str | None = option(None, "folder, or URI of pyarrow.fs such as s3://bucket/run, of this run alone; null = checkpoints/ in the run folder")


@dataclass(frozen=True)
class Tracking:
    """MLflow."""

    experiment: str = option("motion-grpo", "name of the experiment")
    uri: str | None = option(None, "tracking store; null = MLFLOW_TRACKING_URI, else an sqlite file beside the run folder")


@dataclass(frozen=True)
class Config:
    """One training run. Building one checks every value and raises InputError for the first that is wrong."""

    seed: int = option(0, "all noise and order of the run derive from it", minimum=0)
    iterations: int = option(60, "rounds of sample, score, update, publish", minimum=1)
    run_dir: str | None = option(None, "folder for the results, new or empty; null = runs/<UTC time>-seed<seed>")
    resume: str | None = option(
        None, "run folder to go on with: its settings are read from it, and flags may change only what changes no result"
    )
    dry_run: bool = option(False, "check everything, predict memory and time, start nothing")
    model: Model = field(default_factory=Model)
    lora: Lora = field(default_factory=Lora)
    rollout: Rollout = field(default_factory=Rollout)
    reward: Reward = field(default_factory=Reward)
    objective: Objective = field(default_factory=Objective)
    optimizer: Optimizer = field(default_factory=Optimizer)
    evaluate: Evaluate = field(default_factory=Evaluate)
    health: Health = field(default_factory=Health)
    cluster: Cluster = field(default_factory=Cluster)
    checkpoint: Checkpoint = field(default_factory=Checkpoint)
    tracking: Tracking = field(default_factory=Tracking)

    def __post_init__(self):
        check_bounds(self)
        check_model(self.model)
        _check_meaning(self)


def check_bounds(config) -> None:
    """Every setting of a dataclass of sections against its own bounds; InputError names the first that is outside."""
    for section in dataclasses.fields(config):
        value = getattr(config, section.name)
        if dataclasses.is_dataclass(value):
            for setting in dataclasses.fields(value):
                _check_bounds(f"{section.name}.{setting.name}", getattr(value, setting.name), setting.metadata)
        else:
            _check_bounds(section.name, value, section.metadata)


def _refuse(key: str, found: Any, expected: str):
    raise InputError(f"{key}: found {found!r}, expected {expected}")


def _check_bounds(key: str, value: Any, metadata) -> None:
    refuse_credentials(key, value)
    if value == "" and key != "model.steps":
        _refuse(key, value, "text that is not empty")
    if isinstance(value, str) and len(value) > LONGEST_TEXT:
        _refuse(key, value[:60], f"at most {LONGEST_TEXT} characters, found {len(value)}")
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return
    minimum, above, below = metadata["minimum"], metadata["above"], metadata["below"]
    if isinstance(value, int) and abs(value) >= 2**63:
        raise InputError(f"{key}: found a number of {value.bit_length()} bits, expected at most 63")
    if not math.isfinite(value):
        _refuse(key, value, "a finite number")
    if minimum is not None and value < minimum:
        reason = " (a group of one has no baseline)" if key == "rollout.group_size" else ""
        _refuse(key, value, f"at least {minimum}{reason}")
    if above is not None and value <= above:
        _refuse(key, value, f"a number above {above}")
    if below is not None and value >= below:
        _refuse(key, value, f"a number below {below}")


def check_model(model: Model) -> None:
    if model.dataset == "kit":
        _refuse("model.dataset", "kit", "cmu or humanml (KIT's 21 joints and 251 features are not supported yet)")
    if not re.fullmatch(r"(ddim)?[1-9][0-9]{0,5}|", model.steps):
        _refuse("model.steps", model.steps, "a number of steps such as 10, ddimN such as ddim10, or empty for all steps")


def _check_meaning(config: Config) -> None:
    if config.model.steps:
        # Step 0 adds no noise, and the outermost steps on both sides are never trained: t in 2 .. S-2.
        available = max(0, int(config.model.steps.removeprefix("ddim")) - 3)
        if config.rollout.trained_steps > available:
            _refuse(
                "rollout.trained_steps",
                config.rollout.trained_steps,
                f"at most {available} (of {config.model.steps} steps, 2 .. S-2 can be trained)",
            )
    if config.evaluate.on_divergence == "stop" and not config.evaluate.every:
        _refuse("evaluate.on_divergence", "stop", "evaluate.every above 0 beside it: without evaluations nothing is seen to diverge")
    targets = config.lora.targets
    if not targets or len(set(targets)) < len(targets) or not set(targets) <= set(LORA_TARGETS):
        _refuse("lora.targets", list(targets), f"one or more different names of {', '.join(LORA_TARGETS)}")
