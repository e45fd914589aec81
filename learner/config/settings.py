"""Every setting of a training run: its default, its meaning and what values are refused.

Declared once, here and in the family's own sections: the command line, YAML files, `--help` and the tracked parameters are all read
from these.
"""

import copy
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, SerializeAsAny, ValidationInfo, model_validator
from pydantic.fields import FieldInfo

from rewards import family as rewards
from rollout.family import family
from rollout.io.settings import Count, Counted, FilePath, Section, option, refuse

FORWARD = ("awm", "nft")
# The kinds of objective that read a setting; under any other it stays at its default.
READ_BY = {
    "ratio": ("grpo",), "step_weight": ("grpo",), "clip_epsilon": ("grpo", "trajectory", "awm"), "clip_epsilon_high": ("grpo", "awm"),
    "normalise": ("grpo", *FORWARD), "constant": ("grpo", *FORWARD), "nft_beta": ("nft",), "guidance_gradient": ("grpo", "trajectory"),
    "anchor": FORWARD, "anchor_decay": FORWARD,
}  # fmt: skip


class Objective(Section):
    """How scores become a loss."""

    kind: Literal["grpo", "trajectory", "awm", "nft"] = option(
        "grpo", "grpo = a ratio per action (denoising step, token) against the policy that sampled; trajectory = the original's summed "
        "ratio against the reference; awm, nft = the model's own error at new noise levels of what was sampled, weighted by advantages "
        "(motion only)",
        flags=("--objective",),
    )  # fmt: skip
    ratio: Literal["ratio_norm", "raw"] = option("ratio_norm", "ratio_norm = the log-ratio brought to one scale at every step; raw = as it is")
    step_weight: Literal["x0", "none"] = option("x0", "x0 = steps weighted so that their gradients on the predicted motion are equal; none = all 1")
    clip_epsilon: float = option(1e-5, "the ratio is clipped to 1 +- this; inert at one update a rollout", above=0, flags=("--clip_epsilon",))
    clip_epsilon_high: float | None = option(
        None, "the same above 1, for actions that should gain; null = clip_epsilon", above=0, flags=("--clip_epsilon_high",)
    )
    normalise: Literal["token_mean", "sequence_mean", "constant"] = option(
        "token_mean", "the loss of a step: token_mean = the mean over all its actions (tokens, denoising steps); sequence_mean = the mean of "
        "each sample's, then over samples; constant = each sample's sum by objective.constant, then the mean over samples",
    )  # fmt: skip
    constant: float = option(256.0, "what a sample's sum is divided by under normalise: constant", above=0)
    guidance_gradient: Literal["conditional", "both"] = option(
        "conditional", "of the guided prediction u + s(c - u), what carries the gradient: conditional = c alone, and u is not predicted again; "
        "both = u too, which moves with the adapter"
    )  # fmt: skip
    nft_beta: float = option(1.0, "under nft, how far its two predictions lie from that of the policy that sampled", above=0)
    kl_penalty: float = option(0.0, "weight of the KL to the base model, or what else is the anchor", minimum=0, flags=("--kl_penalty",))
    anchor: Literal["reference", "average"] = option(
        "reference", "under awm and nft, what the KL of the loss is to: reference = the base model; average = a moving average of the adapter"
    )  # fmt: skip
    anchor_decay: float = option(0.3, "under anchor: average, what each optimizer step leaves of it", minimum=0, below=1)
    advantage_eps: float = option(1e-4, "added to a group's reward standard deviation before it divides", above=0, flags=("--advantage_eps",))
    advantage_clip: float = option(5.0, "advantages are clipped to +- this", above=0)
    updates_per_rollout: int = option(1, "optimizer steps on the groups of one iteration", minimum=1)

    @property
    def forward(self) -> bool:
        """Whether it reads clean outputs alone, so that any solver may make them, and steps of no chain."""
        return self.kind in FORWARD

    def check_beside(self, config) -> None:
        if self.forward and not getattr(family(config.family), "forward", False):
            refuse("objective.kind", self.kind, f"grpo or trajectory: the family {config.family} has no policy that predicts clean outputs")
        if self.guidance_gradient == "both" and getattr(config.model, "guidance", 1) == 1:
            refuse("objective.guidance_gradient", "both", "conditional: without guidance (model.guidance other than 1) there is one prediction")
        if self.anchor == "average" and not self.kl_penalty:
            refuse("objective.anchor", "average", "reference, or objective.kl_penalty above 0: without it nothing holds to the anchor")
        if self.anchor == "average" and not config.lora.enabled:
            refuse("objective.anchor", "average", "reference without lora.enabled: all weights would travel with every group")
        known = settings(Config, config.family)
        for name, readers in READ_BY.items():
            found, usual = getattr(self, name), known[f"objective.{name}"].default
            if self.kind not in readers and found != usual:
                only = " and ".join(readers)
                refuse(f"objective.{name}", found, f"its default {usual}: objective.kind {self.kind} does not read it, only {only}")


class Optimizer(Section):
    """AdamW on the trained parameters."""

    learning_rate: float = option(3e-4, "step size; 1e-4 to 3e-4 for an adapter, 1e-5 for full fine-tuning", above=0, flags=("--learning_rate",))
    weight_decay: float = option(0.0, "decoupled weight decay", minimum=0)
    grad_clip: float = option(1.0, "largest norm of the gradient; a larger one is scaled down to it", above=0)
    ema_decay: float = option(0.0, "decay of a moving average of the trained parameters, used by evaluation; 0 = off", minimum=0, below=1)
    use_checkpointing: bool = option(False, "recompute activations in the backward pass: less memory, more time", flags=("--use_checkpointing",))


Watched = Literal["ignore", "warn", "stop", "roll_back"] | None
Steered = Literal["ignore", "warn", "stop", "roll_back", "adapt"] | None


class Health(Section):
    """What is done about each finding: ignore, warn, adapt (less learning rate and more KL, then also a tighter clip), stop,
    or roll_back (end the run at its last good checkpoint). null = what the preset does."""

    preset: Literal["default", "original_ladder", "none"] = option(
        "default", "default = warn; original_ladder = also adapt at a log-ratio of "
        "5 and 10, roll back at 20; none = ignore"
    )  # fmt: skip
    log_ratio: Steered = option(None, "the largest log-ratio is 5, 10, 20 or more")
    gradient: Steered = option(None, "the gradient's norm jumps to 10 or 100 times what it was")
    kl: Steered = option(None, "the KL to the base model is 0.2 or 1")
    prediction_norm: Steered = option(None, "under awm and nft, predictions are 1.1 or 1.5 times as large as the base model's")
    clip_fraction: Steered = option(None, "half, or 9 in 10, of the ratios are clipped")
    zero_std: Watched = option(None, "half, or all, of the groups have equal rewards and teach nothing")
    reward_spread: Watched = option(None, "the rewards' spread falls to a fifth of what it was, or to nothing")
    failed_samples: Watched = option(None, "samples without a reward")
    lengths: Watched = option(None, "motions are all of nearly one length where they were of many")
    not_measured: Watched = option(None, "a number beside the update, such as a component's mean, is NaN or infinite")
    throughput: Literal["ignore", "warn"] | None = option(None, "iterations take 3, or 10, times as long as they did")


class Cluster(Section):
    """Ray actors and what each may use."""

    samplers: Counted = option(
        Count(2, 2), "sampler actors: so many to begin with, and the run goes on as long as one is left; 2..16 = what there is room for, "
        "more when nodes come, fewer when they go, and never fewer than 2",
    )  # fmt: skip
    sampler_cpus: int = option(1, "CPU cores, and threads, of each sampler; threads of the learner and of each reward actor", minimum=1)
    reward_actors: int = option(1, "reward actors, which share the groups of an iteration", minimum=1)
    reward_batch: int = option(
        1, "groups scored in one call, by their order and not by when they arrive; sets a score's last bits", minimum=1
    )
    reward_deadline: float = option(300.0, "seconds that scoring may go without an answer before its actor is replaced", above=0)
    sampler_deadline: float = option(900.0, "seconds that a sampler may take for one group, or its gradient, before it is replaced", above=0)
    learner_deadline: float = option(1800.0, "seconds that the learner may take for one optimizer step before it is replaced", above=0)
    device: int | None = option(
        None, "the one GPU of this machine that the run uses, by its number; null = all; no GPU = the CPU", minimum=0, flags=("--device",)
    )
    gpus_per_actor: float | None = option(
        None, "GPUs of each actor; null = one each when the cluster has enough, else shares that fit; 0 = none", minimum=0
    )
    wait_s: float = option(0.0, "seconds that a cluster with too few CPUs, or GPUs of gpus_per_actor, is given to grow before it is refused", minimum=0)
    precision: Literal["fp32", "tf32", "bf16"] = option(
        "fp32", "of the policy's passes, sampling and recompute alike: tf32 = matrix products of fp32 numbers in TF32, on GPUs alone; bf16 = "
        "products in bfloat16. What is trained, noise, log-probs and losses are fp32 always, and so are rewards"
    )  # fmt: skip
    deterministic: bool = option(
        True, "kernels that give the same bits each time, in every actor and whatever the precision; slower on a GPU; another kind of device has other bits still"
    )
    max_staleness: int = option(
        0, "adapter versions a group may lag behind: 0 = exactly on-policy; 1 = the next rollout is sampled and scored during the update, for slow rewards", minimum=0, below=2
    )

    def check(self) -> None:
        if not self.samplers.fixed and (self.gpus_per_actor or 0) > 1:
            refuse("gpus_per_actor", self.gpus_per_actor, f"at most 1 beside cluster.samplers {self.samplers}")


class Checkpointing(Section):
    """What a run that was killed goes on from with --resume."""

    every: int = option(1, "iterations between checkpoints", minimum=1)
    keep: int = option(2, "newest checkpoints that are kept", minimum=1)
    path: FilePath | None = option(None, "folder, or URI of pyarrow.fs such as s3://bucket/run, of this run alone; null = checkpoints/ in the run folder")


class Tracking(Section):
    """MLflow, always; and one platform beside it."""

    experiment: str = option("motion-grpo", "name of the experiment")
    uri: str | None = option(None, "tracking store; null = MLFLOW_TRACKING_URI, else an sqlite file beside the run folder")
    platform: Literal["NoPlatform", "TensorboardPlatform", "WandBPlatform", "ClearmlPlatform"] = option(
        "NoPlatform", "what else gets every number: NoPlatform = MLflow only; TensorboardPlatform needs pip install 'motion-grpo[tensorboard]', "
        "WandBPlatform 'motion-grpo[wandb]'", flags=("--train_platform_type",)
    )  # fmt: skip

    def check(self) -> None:
        if self.platform == "ClearmlPlatform":
            refuse("platform", self.platform, "NoPlatform, TensorboardPlatform or WandBPlatform: ClearML gets nothing, and MLflow has every run")


DEFAULT_FAMILY = "motion"
GONE = {  # settings of before, and what to say now
    "cluster.min_samplers": "its number as the first of cluster.samplers, such as 3..6", "model.dtype": "cluster.precision",
}  # fmt: skip


def sections(name: str) -> dict[str, type[Section]]:
    """The sections of the settings that are a family's own. InputError for one that does not exist."""
    return family(name).sections | rewards.sections(name)


def defaults(name: str) -> dict[str, Any]:
    """By dotted key, what a family has other defaults of in the sections that are shared."""
    return getattr(family(name), "defaults", {})


def _of_family(given, info: ValidationInfo):
    return given if isinstance(given, Section) else sections(info.data["family"])[info.field_name](**given)


Own = Annotated[SerializeAsAny[Section], BeforeValidator(_of_family)]


class Config(Section, validate_default=True):
    """One training run."""

    family: str = option(DEFAULT_FAMILY, "kind of generative model; it brings the sections model, lora, rollout, reward and evaluate")
    seed: int = option(0, "all noise and order of the run derive from it", minimum=0)
    seeds: tuple[Annotated[int, Field(ge=0)], ...] = option(
        (), "in place of seed: an adapter of each, such as of 0,1,2,3, trained side by side by the same actors, to the bits of its run "
        "alone; run_dir has a run folder of each, and what they say together"
    )  # fmt: skip
    iterations: int = option(60, "rounds of sample, score, update, publish", minimum=1, flags=("--num_steps",))
    run_dir: FilePath | None = option(
        None, "folder for the results, new or empty; null = runs/<UTC time>-seed<seed>, or -seeds<seed>-<seed>", flags=("--save_dir",)
    )
    resume: FilePath | None = option(
        None, "run folder to go on with: its settings are read from it, and flags may change only what changes no result"
    )
    run_name: str | None = option(
        None, "name of a run that the same command, given again, goes on with: its folder is NAME beside run_dir; nothing is done once it has finished"
    )
    dry_run: bool = option(False, "check everything, predict memory and time, start nothing")
    model: Own = {}
    lora: Own = {}
    rollout: Own = {}
    reward: Own = {}
    objective: Objective = Objective()
    optimizer: Optimizer = Optimizer()
    evaluate: Own = {}
    health: Health = Health()
    cluster: Cluster = Cluster()
    checkpoint: Checkpointing = Checkpointing()
    tracking: Tracking = Tracking()

    @model_validator(mode="before")
    @classmethod
    def _with_defaults(cls, given: dict[str, Any]) -> dict[str, Any]:
        given = dict(given)
        for key, value in defaults(str(given.get("family", DEFAULT_FAMILY))).items():
            section, _, name = key.partition(".")
            if isinstance(given.setdefault(section, {}), dict):
                given[section] = {name: value, **given[section]}
        return given

    def check(self) -> None:
        if len(set(self.seeds)) < len(self.seeds):
            refuse("seeds", self.seeds, "each seed once")
        if self.seeds and self.tracking.platform == "WandBPlatform":
            refuse("tracking.platform", self.tracking.platform, "NoPlatform or TensorboardPlatform beside seeds: W&B has one run a process")
        if self.run_name and (self.run_name in (".", "..") or "/" in self.run_name):
            refuse("run_name", self.run_name, "the name of a folder, without /")
        for _, section in self:
            if isinstance(section, Section):
                section.check_beside(self)


def kinds(config: type[Section], name: str = DEFAULT_FAMILY) -> dict[str, Any]:
    """The type of every field of a class of configs, for the family `name`: a section, or that of a single setting."""
    own = sections(name)
    return {key: own[key] if field.annotation is Section else field.annotation for key, field in config.model_fields.items()}


def settings(config: type[Section], name: str = DEFAULT_FAMILY) -> dict[str, FieldInfo]:
    """Every setting of a class of configs, for the family `name`, by its dotted key."""
    found: dict[str, FieldInfo] = {}
    for key, kind in kinds(config, name).items():
        section = isinstance(kind, type) and issubclass(kind, Section)
        found |= {f"{key}.{inner}": field for inner, field in kind.model_fields.items()} if section else {key: config.model_fields[key]}
    for key, value in defaults(name).items():
        if key in found:
            found[key] = copy.copy(found[key])
            found[key].default = value
    return found
