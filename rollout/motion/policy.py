"""The motion-diffusion policy: guided ancestral DDPM sampling of an MDM, and its log-probs with gradient.

The policy is the guided prediction x0 = u + s (c - u) inside the posterior of the fixed-small variance,
    p(x_{t-1} | x_t) = N(c1 x0(x_t) + c2 x_t, sigma_t^2).
Sampling and recompute go through `_guided_x0` and `_posterior_mean` with the same shapes and module, in eval mode and
fp32, so that on a CPU the recomputed log-probs equal the sampled ones bit for bit.
"""

import copy
import logging
import math
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from rollout.adapter import Adapter
from rollout.errors import InputError
from rollout.motion.checkpoint import load_checkpoint
from rollout.policy import Conditioning, Group, Request, StepScore, arrays_digest
from rollout.prompts import Prompt

log = logging.getLogger(__name__)
SHIPPED_MODEL = Path(__file__).parent.parent / "assets" / "mdm"


@dataclass(frozen=True)
class MotionPolicySettings:
    """What defines a motion policy, the same in every process of a run.

    `frames`: longest motion generated. `respacing`: kept diffusion steps ("" all). `guidance`: s above; 1 is conditional.
    `lora_rank` 0 trains every weight of the denoiser instead of an adapter.
    """

    path: Path = SHIPPED_MODEL
    frames: int = 40
    respacing: str = "10"
    guidance: float = 2.5
    shared_initial_noise: bool = True
    lora_rank: int = 16
    lora_alpha: int = 32
    lora_targets: tuple[str, ...] = ("q", "k", "v", "out", "linear1", "linear2")
    adapter_seed: int = 0
    activation_checkpointing: bool = False


class MotionDiffusionPolicy:
    """Samples groups and recomputes them with gradient; see `rollout.policy.Policy`."""

    def __init__(self, settings: MotionPolicySettings, device: str = "cpu"):
        checkpoint = load_checkpoint(settings.path)
        self.settings, self.device = settings, torch.device(device)
        self.schedule = checkpoint.schedule(settings.respacing)
        self.text_encoder, self.args = checkpoint.text_encoder, checkpoint.args
        if self.text_encoder is None:
            raise InputError(f"{settings.path}: no text_encoder.pt beside the weights; only such checkpoints are supported so far")
        if settings.frames >= checkpoint.denoiser.shape.max_positions:
            raise InputError(f"frames: found {settings.frames}, the model has {checkpoint.denoiser.shape.max_positions - 1} positions")
        if settings.guidance != 1 and self.args["cond_mask_prob"] == 0:
            raise InputError(f"guidance: found {settings.guidance}, but {settings.path} was trained without dropping its text")
        self.mean, self.std = checkpoint.mean, checkpoint.std
        checkpoint.denoiser.activation_checkpointing = settings.activation_checkpointing
        self._wrap(checkpoint.denoiser.to(self.device).requires_grad_(False))
        # Per-step constants, [S] fp32 on the device, computed in float64.
        sigma_over_c1 = np.zeros(len(self.schedule))
        sigma_over_c1[1:] = self.schedule.sigma[1:] / self.schedule.c1[1:]
        weight = sigma_over_c1 / sigma_over_c1[self.schedule.trainable_steps].mean()
        self._c1, self._c2, self._sigma, self._x0_weight = (
            torch.tensor(values, dtype=torch.float32, device=self.device)
            for values in (self.schedule.c1, self.schedule.c2, self.schedule.sigma, weight)
        )
        self._model_t = torch.tensor(self.schedule.timestep_map, device=self.device)

    def _wrap(self, base: torch.nn.Module) -> None:
        """Puts a fresh adapter around the frozen base, or unfreezes it beside a frozen copy (lora_rank 0)."""
        settings = self.settings
        self._frozen = None
        if settings.lora_rank == 0:
            self._frozen, self.denoiser = copy.deepcopy(base), base.requires_grad_(True)
        else:
            from peft import LoraConfig, get_peft_model  # seconds and 380 MB, for processes that hold an adapter only

            config = LoraConfig(
                r=settings.lora_rank, lora_alpha=settings.lora_alpha, target_modules=list(settings.lora_targets), lora_dropout=0.0
            )  # fmt: skip
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(settings.adapter_seed)
                try:
                    self.denoiser = get_peft_model(base, config)
                except ValueError as error:
                    raise InputError(f"lora targets {list(settings.lora_targets)}: {str(error).splitlines()[0][:120]}") from None
        self.denoiser.eval()
        self._trainable = {name: p for name, p in self.denoiser.named_parameters() if p.requires_grad}
        self.loaded = (-1, "nothing loaded")

    # --- prompts -------------------------------------------------------------------------------------------------

    def prepare(self, prompts: list[Prompt]) -> list[Conditioning]:
        """One conditioning each; `arrays` holds the text embedding [E] fp32. Lengths are capped at `frames`.

        Words the text encoder does not know are reported; a prompt of nothing else raises InputError.
        """
        conditionings = []
        for prompt in prompts:
            embedding = self.text_encoder.encode(prompt.text).numpy()
            if unknown := self.text_encoder.vocabulary.unknown_words(prompt.text):
                log.warning("prompt %r: the model does not know %s", prompt.text, ", ".join(unknown))
            length = min(prompt.length, self.settings.frames)
            conditionings.append(Conditioning(Prompt(prompt.text, length, prompt.tokens), {"text": embedding}))
        return conditionings

    # --- sampling ------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def sample(self, request: Request) -> Group:
        """G motions and `trained_steps` recorded transitions of each, stratified over the trainable steps.

        Noise and recorded steps are functions of (seed, sample index) alone. `actions`: t [G,K]; x_t, x_prev and mean
        [G,K,T,F] in normalised features. The adapter fields of the group say what is loaded; see `load_adapter`.
        """
        self._require_eval()
        conditioning, group_size, seed, trained_steps = request.conditioning, request.group_size, request.seed, request.trained_steps
        frames = self._padded_frames(conditioning)
        noise_SGTF = torch.stack([self._noise(seed, i, frames) for i in range(group_size)], dim=1).to(self.device)
        recorded_GK = self._recorded_steps(seed, group_size, trained_steps)
        x = noise_SGTF[0]
        shape = (group_size, trained_steps, *x.shape[1:])
        actions = {name: np.empty(shape, np.float32) for name in ("x_t", "x_prev", "mean")}
        log_probs = np.empty(shape[:2], np.float32)
        for t in reversed(range(len(self.schedule))):
            t_G = torch.full((group_size,), t, device=self.device)
            mean = self._posterior_mean(x, t_G, self._guided_x0(x, t_G, conditioning))
            x_prev = mean + self._at(self._sigma, t_G) * noise_SGTF[len(self.schedule) - t]
            log_prob_G = self._log_prob(x_prev, mean, t_G, conditioning) if t else None
            for g, k in np.argwhere(recorded_GK == t):
                actions["x_t"][g, k], actions["x_prev"][g, k], actions["mean"][g, k] = (v[g].cpu() for v in (x, x_prev, mean))
                log_probs[g, k] = log_prob_G[g]
            x = x_prev
        outputs = x.cpu().numpy() * self.std + self.mean
        lengths = np.full(group_size, conditioning.prompt.length)
        actions["t"] = recorded_GK
        version, sha256 = self.loaded
        return Group(conditioning, actions, log_probs, outputs, lengths, tuple(seed), version, sha256)

    def _noise(self, seed: tuple[int, ...], sample: int, frames: int) -> Tensor:
        """[S+1,T,F]: the initial noise, then one draw for each step in sampling order (the last one is unused)."""
        shape = (len(self.schedule), frames, len(self.mean))
        own = np.random.Generator(np.random.Philox(np.random.SeedSequence((*seed, sample))))
        noise = own.standard_normal((shape[0] + 1, *shape[1:]), dtype=np.float32)
        if self.settings.shared_initial_noise:
            shared = np.random.Generator(np.random.Philox(np.random.SeedSequence(seed, spawn_key=(0,))))
            noise[0] = shared.standard_normal(shape[1:], dtype=np.float32)
        return torch.from_numpy(noise)

    def _recorded_steps(self, seed: tuple[int, ...], group_size: int, count: int) -> np.ndarray:
        """[G,K] steps to train on: one at random from each of K equal strata of the trainable steps, per sample."""
        trainable = self.schedule.trainable_steps
        if count > len(trainable):
            raise InputError(f"trained_steps: found {count}, a chain of {len(self.schedule)} steps has {len(trainable)} trainable ones")
        rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(1,)))
        strata = np.array_split(trainable, count) if count else []
        columns = [rng.choice(stratum, group_size) for stratum in strata]
        return np.stack(columns, axis=1) if columns else np.empty((group_size, 0), np.int64)

    # --- recompute -----------------------------------------------------------------------------------------------

    def score_step(self, group: Group, step: int, reference: bool) -> StepScore:
        """Recomputes recorded step `step` of every sample with gradient.

        `log_ratio` is RatioNorm, mean(eps * dx0) over valid dims with eps the behaviour noise: equal to
        (sigma/c1) (d log p + mean(d mu^2) / (2 sigma^2)) without its cancellation, zero-mean and of one unit at every t.
        """
        self._require_eval()
        actions, conditioning = group.actions, group.conditioning
        x_t, x_prev, old_mean = (torch.tensor(actions[name][:, step], device=self.device) for name in ("x_t", "x_prev", "mean"))
        t_G = torch.tensor(actions["t"][:, step], device=self.device)
        mean = self._posterior_mean(x_t, t_G, self._guided_x0(x_t, t_G, conditioning))
        noise = (x_prev - old_mean) / self._at(self._sigma, t_G)
        log_ratio = self._valid_mean(noise * (mean - old_mean), conditioning) / self._c1[t_G]
        kl = log_prob_ref = None
        if reference:
            with torch.no_grad(), self._reference():
                ref_mean = self._posterior_mean(x_t, t_G, self._guided_x0(x_t, t_G, conditioning))
            log_prob_ref = self._log_prob(x_prev, ref_mean, t_G, conditioning)
            kl = self._valid_mean((mean - ref_mean) ** 2, conditioning) / self._c1[t_G] ** 2
        return StepScore(self._log_prob(x_prev, mean, t_G, conditioning), log_ratio, self._x0_weight[t_G], kl, log_prob_ref)

    # --- the one computation both sides share --------------------------------------------------------------------

    def _guided_x0(self, x_t: Tensor, t_G: Tensor, conditioning: Conditioning) -> Tensor:
        """u + s (c - u) [G,T,F]; the unconditional branch never carries a gradient."""
        text = torch.tensor(conditioning.arrays["text"], device=self.device).expand(len(x_t), -1)
        conditional = self.denoiser(x_t, self._model_t[t_G], text)
        if self.settings.guidance == 1:
            return conditional
        with torch.no_grad():
            unconditional = self.denoiser(x_t, self._model_t[t_G], torch.zeros_like(text))
        return unconditional + self.settings.guidance * (conditional - unconditional)

    def _posterior_mean(self, x_t: Tensor, t_G: Tensor, x0: Tensor) -> Tensor:
        return self._at(self._c1, t_G) * x0 + self._at(self._c2, t_G) * x_t

    def _log_prob(self, x_prev: Tensor, mean: Tensor, t_G: Tensor, conditioning: Conditioning) -> Tensor:
        """[G] log N(x_prev; mean, sigma_t^2), mean over valid dims (nats per dim)."""
        sigma_G = self._sigma[t_G]
        squared_G = self._valid_mean((x_prev - mean) ** 2, conditioning)
        return -squared_G / (2 * sigma_G**2) - sigma_G.log() - 0.5 * math.log(2 * math.pi)

    def _valid_mean(self, values_GTF: Tensor, conditioning: Conditioning) -> Tensor:
        return values_GTF[:, : conditioning.prompt.length].mean(dim=(1, 2))

    def _padded_frames(self, conditioning: Conditioning) -> int:
        """A model trained with `mask_frames` never sees padding; an older one was always given its full window."""
        return conditioning.prompt.length if self.args["mask_frames"] else self.settings.frames

    @staticmethod
    def _at(values_S: Tensor, t_G: Tensor) -> Tensor:
        return values_S[t_G][:, None, None]

    def _require_eval(self) -> None:
        if any(module.training for module in self.denoiser.modules()):
            raise RuntimeError("a module of the policy is in train mode: its dropout would make sampler and learner disagree")

    @contextmanager
    def _reference(self):
        """Inside, the denoiser is the base model the run started from."""
        if self._frozen is None:
            with self.denoiser.disable_adapter():
                yield
        else:
            tuned, self.denoiser = self.denoiser, self._frozen
            try:
                yield
            finally:
                self.denoiser = tuned

    # --- adapter -------------------------------------------------------------------------------------------------

    def parameters(self) -> list[torch.nn.Parameter]:
        """The trainable parameters, in the order of their names in the module."""
        return list(self._trainable.values())

    def adapter_state(self) -> dict[str, np.ndarray]:
        """Copies of every trainable tensor, fp32, by parameter name (the parameters themselves go on changing)."""
        return {name: p.detach().cpu().numpy().copy() for name, p in self._trainable.items()}

    @torch.no_grad()
    def load_adapter(self, adapter: Adapter) -> str:
        """Loads `adapter` and returns the digest of the weights now held, read back from the parameters.

        Raises InputError unless the names and shapes are exactly those of the trainable parameters.
        """
        tensors = adapter.tensors()
        if tensors.keys() != self._trainable.keys():
            odd = sorted(tensors.keys() ^ self._trainable.keys())
            raise InputError(f"adapter version {adapter.version}: tensors {odd[:3]} do not match the policy's {len(self._trainable)}")
        for name, parameter in self._trainable.items():
            if parameter.shape != tensors[name].shape:
                raise InputError(f"adapter version {adapter.version}: {name} is {tensors[name].shape}, expected {tuple(parameter.shape)}")
        for name, parameter in self._trainable.items():
            parameter.copy_(torch.tensor(tensors[name]))
        held = Adapter.pack(adapter.version, self.adapter_state()).sha256
        self.loaded = (adapter.version, held)
        return held

    def base_digest(self) -> str:
        """sha256 of every frozen weight: constant over a run, or training touched what it must not."""
        frozen = self._frozen.named_parameters() if self._frozen else self.denoiser.named_parameters()
        return arrays_digest({name: p.detach().cpu().numpy() for name, p in frozen if not p.requires_grad})
