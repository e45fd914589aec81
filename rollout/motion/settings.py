"""The settings of a motion-diffusion model: what it is, its adapter, and what is sampled of it."""

import re
from pathlib import Path
from typing import Literal

from rollout.group_settings import GroupSettings
from rollout.io.settings import FilePath, HubName, Section, option, refuse
from rollout.lora_settings import AdapterSettings

SHIPPED_MODEL = Path(__file__).parent.parent / "assets" / "mdm"
LORA_TARGETS = ("q", "k", "v", "out", "linear1", "linear2")


class Model(Section):
    """The motion diffusion model that is trained, and how it samples."""

    path: FilePath | None = option(
        None, "checkpoint of the base model; null = the model that ships with the project", flags=("--model_path",)
    )
    stats: FilePath | None = option(None, "folder of the dataset's Mean.npy and Std.npy; null = beside the checkpoint, or in the MDM checkout around it")
    text_encoder: HubName | None = option(
        None, "folder or hub name of the CLIP or DistilBERT the checkpoint was trained on; null = the official one, from the hub's cache"
    )
    dataset: Literal["cmu", "humanml", "kit"] | None = option(
        None, "format of its motions: cmu, humanml (22 joints, 263 features, 20 frames a second) or kit (21, 251, 12.5); null = its weights'",
        flags=("--dataset",),
    )  # fmt: skip
    prefix: FilePath | None = option(
        None, "for a prefix-completion model (DiP), and no other: file of raw features (.npy) whose last frames every motion continues"
    )
    windows: int = option(
        1, "windows of a prefix-completion model that a motion of model.frames takes, each continuing the one before; all are trained on", minimum=1
    )
    frames: int = option(40, "length of a sampled motion in frames", minimum=2)
    steps: str = option(
        "10", "respacing of the checkpoint's diffusion schedule: a number of steps, ddimN, or empty for all of them", min_length=0
    )
    ddim_eta: float = option(
        1.0, "noise of a denoising step: 1 = DDPM, less = DDIM with that much of it; 0 only under the objectives awm and nft", minimum=0
    )
    guidance: float = option(2.5, "scale s of classifier-free guidance u + s(c - u); 1 = the conditional model alone", minimum=0)

    @property
    def checkpoint(self) -> Path:
        """Of the base model."""
        return Path(self.path or SHIPPED_MODEL)

    def check(self) -> None:
        if not re.fullmatch(r"(ddim)?[1-9][0-9]{0,5}|", self.steps):
            refuse("steps", self.steps, "a number of steps such as 10, ddimN such as ddim10, or empty for all steps")
        if self.windows > 1 and self.prefix is None:
            refuse("windows", self.windows, "1: only a prefix-completion model continues a window; see model.prefix")

    def check_beside(self, config) -> None:
        if not self.ddim_eta and not config.objective.forward:
            expected = f"a number above 0: steps without noise have no likelihood, which objective.kind {config.objective.kind} trains"
            refuse("model.ddim_eta", 0, expected)


class Lora(AdapterSettings):
    """The low-rank adapter. Disabled, every weight of the model is trained."""

    targets: tuple[str, ...] = option(LORA_TARGETS, f"linears of every layer that get an adapter, of {', '.join(LORA_TARGETS)}")


class Rollout(GroupSettings):
    """What is sampled in one iteration: prompts_per_iteration groups of group_size motions."""

    prompts: FilePath | None = option(None, "file of training prompts, or HumanML3D or KIT folder; null = those that ship with the project")
    prompts_per_iteration: int = option(12, "groups an iteration, each of one prompt", minimum=1, flags=("--batch_size",))
    group_size: int = option(16, "motions sampled for a prompt; each is compared with the mean of its group", flags=("--group_size",))
    trained_steps: int = option(
        5, "denoising steps of a motion, or of each of its windows, that are recorded and trained on; of awm and nft: noise levels", minimum=1
    )
    stochastic_steps: int | None = option(
        None, "denoising steps in a row that add noise and may be trained on, at a place of the chain drawn for each group; the others add none, "
        "and those before are one motion's where all start alike; null = every step", minimum=1,
    )  # fmt: skip
    shared_initial_noise: bool = option(True, "the motions of a group start from the same noise x_T")
    keep: Literal["all", "best_worst", "none"] = option("all", "motions that rollouts/ keeps: all, the best and worst of a group, or none")

    def check_beside(self, config) -> None:
        if self.shared_initial_noise and not config.model.ddim_eta:
            refuse("rollout.shared_initial_noise", True, "false: at model.ddim_eta 0 all motions of a group would be one")
        steps = config.model.steps
        # Step 0 adds no noise, and the outermost steps on both sides are never trained: t in 2 .. S-2.
        available = max(0, int(steps.removeprefix("ddim")) - 3) if steps else self.trained_steps
        window = self.stochastic_steps
        if config.objective.forward:  # which trains at noise levels, whatever the chain
            if window is not None:
                refuse("rollout.stochastic_steps", window, f"null: objective.kind {config.objective.kind} reads no chain; see model.ddim_eta")
        elif self.trained_steps > available:
            refuse("rollout.trained_steps", self.trained_steps, f"at most {available} (of {steps} steps, 2 .. S-2 can be trained)")
        elif window is not None and not self.trained_steps <= window <= max(available, self.trained_steps):
            refuse("rollout.stochastic_steps", window, f"from rollout.trained_steps, {self.trained_steps}, to {available}, those that can be trained")
