"""The two sizes that are measured: the model that ships, and one of the official size with random weights."""

import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.official_files import write_mdm
from rollout.motion.diffusion_policy import MotionDiffusionPolicy, MotionPolicySettings
from rollout.motion.prompts import MotionPrompt
from rollout.motion.settings import Lora, Model
from rollout.policy import Conditioning, Request


@dataclass(frozen=True)
class Size:
    """group, trained_steps: of a request. text: width of a caption's encoding."""

    model: Model
    group: int
    trained_steps: int
    text: int

    def policy(self, device: str = "cpu", **settings) -> MotionDiffusionPolicy:
        lora = Lora()
        given = {"lora_rank": lora.r, "lora_alpha": lora.alpha, "lora_targets": lora.targets} | settings
        return MotionDiffusionPolicy(MotionPolicySettings(self.model, **given), device)

    def requests(self, count: int, round_: int = 0) -> list[Request]:
        """Captions are random numbers: no encoder is measured."""
        rng = np.random.default_rng(count)
        encoded = [rng.normal(size=(1, self.text)).astype(np.float32) for _ in range(count)]
        prompts = [Conditioning(MotionPrompt(f"prompt {i}", self.model.frames, ()), {"text": text}) for i, text in enumerate(encoded)]
        return [Request(prompt, self.group, (round_, i), self.trained_steps) for i, prompt in enumerate(prompts)]


def demo() -> Size:
    policy = MotionDiffusionPolicy(MotionPolicySettings())
    return Size(Model(), 16, 5, policy.shape.text)


def official(folder: Path | None = None) -> Size:
    """The network and frames of the official MDM, trans_enc 512 x 8 and 196, in 10 steps of its chain so that it takes minutes and not an
    hour; its weights are written to `folder`."""
    folder = Path(folder or tempfile.mkdtemp())
    if not (folder / "save").exists():
        write_mdm(folder)
    return Size(Model(path=str(folder / "save" / "humanml_trans_enc_512"), frames=196, steps="10"), 4, 5, 512)
