"""The motion-diffusion policy: guided ancestral DDPM sampling of an MDM, and its log-probs with gradient.

The policy is the guided prediction x0 = u + s (c - u) inside the posterior of the fixed-small variance,
    p(x_{t-1} | x_t) = N(c1 x0(x_t) + c2 x_t, sigma_t^2).
Sampling and recompute go through `_guided_x0` and `_posterior_mean` with the same shapes and module, in eval mode and one
precision, so that on a CPU the recomputed log-probs equal the sampled ones bit for bit.
"""

import dataclasses
import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from rollout.io.errors import InputError
from rollout.motion.checkpoint import open_checkpoint
from rollout.motion.denoiser_inputs import DenoiserInputs
from rollout.motion.mdm import MDMShape
from rollout.motion.settings import LORA_TARGETS, Model
from rollout.motion.skeleton import FORMATS
from rollout.motion.windows import continued, cut, joined, seed_of_window
from rollout.policy import Conditioning, Request, Score, Trajectories
from rollout.seeds import Stream
from rollout.trainable import Trainable

# Nats a dimension, by which two recomputes may differ where a device may choose another kernel. Summed in another order, bf16 differs
# from itself by no more than from fp32: 8e-3 on a CPU, at the last trained step of 50. TF32 keeps three bits more: an eighth.
RECOMPUTE_GAP = {"fp32": 1e-5, "tf32": 2.5e-3, "bf16": 2e-2}


@dataclass(frozen=True)
class MotionPolicySettings:
    """What defines a motion policy, the same in every process of a run. `lora_rank` 0 trains every weight of the denoiser
    instead of an adapter."""

    model: Model = Model()
    shared_initial_noise: bool = True
    lora_rank: int = 0
    lora_alpha: float = 1.0
    lora_targets: tuple[str, ...] = LORA_TARGETS
    adapter_seed: int = 0
    activation_checkpointing: bool = False
    stochastic_steps: int | None = None
    unconditional_gradient: bool = False
    precision: str = "fp32"  # see `cluster.precision`


def check_model(model: Model, shape: MDMShape, options: dict) -> int:
    """The frames of all windows of a network of this shape and these options. InputError for settings it cannot be sampled with."""
    if model.dataset not in (None, *(kind := FORMATS[shape.features]).datasets):
        raise InputError(f"dataset: found {model.dataset!r}, but {model.checkpoint} makes {kind.name}'s {shape.features} features")
    frames = options["pred_len"] if options["context_len"] else model.frames
    if frames + options["context_len"] >= shape.max_positions:
        raise InputError(f"frames: found {frames}, the model has {shape.max_positions - 1} positions")
    if model.windows > 1 and model.windows != (needed := -(-model.frames // frames) if options["context_len"] else 1):
        raise InputError(f"windows: found {model.windows}, expected {needed}: {model.frames} frames of a model that makes {frames} at once")
    if not shape.text:
        raise InputError(f"{model.checkpoint}: trained without text; expected a text-to-motion model")
    if model.guidance != 1 and options["cond_mask_prob"] == 0:
        raise InputError(f"guidance: found {model.guidance}, but {model.checkpoint} was trained without dropping its text")
    return frames * model.windows


class MotionDiffusionPolicy(Trainable):
    """Samples groups and recomputes them with gradient; see `rollout.policy.Policy`."""

    whole_file = "denoiser.safetensors"

    def __init__(self, settings: MotionPolicySettings, device: str = "cpu"):
        model = settings.model
        checkpoint = open_checkpoint(model.checkpoint, model.stats)
        self.settings, self.device = settings, torch.device(device)
        self.tolerance = 0.0 if self.device.type == "cpu" else RECOMPUTE_GAP[settings.precision]
        self.shape, self.options, self.taken = checkpoint.shape, checkpoint.options, checkpoint.taken
        self.frames = check_model(model, self.shape, self.options)
        self.schedule, still = checkpoint.schedule(model.steps, model.ddim_eta), checkpoint.schedule(model.steps, 0.0)
        self.mean, self.std = checkpoint.mean, checkpoint.std
        denoiser = checkpoint.denoiser().to(self.device)
        denoiser.activation_checkpointing = settings.activation_checkpointing
        self.train_part_of(denoiser, settings.lora_rank, settings.lora_alpha, settings.lora_targets, settings.adapter_seed)
        # Per-step constants, [S] fp32 on the device, computed in float64.
        sigma_over_c1 = np.zeros(len(self.schedule))
        sigma_over_c1[1:] = self.schedule.sigma[1:] / self.schedule.c1[1:]
        trainable = sigma_over_c1[self.schedule.trainable_steps]
        weight = sigma_over_c1 / (trainable.mean() if trainable.any() else 1)  # all 0 at eta 0, none in a chain of 2
        self._c1, self._c2, self._sigma, self._x0_weight, *self._still = (
            torch.tensor(values, dtype=torch.float32, device=self.device)
            for values in (self.schedule.c1, self.schedule.c2, self.schedule.sigma, weight, still.c1, still.c2)
        )
        self._model_t = torch.tensor(self.schedule.timestep_map, device=self.device)

    @property
    def shortcuts(self) -> tuple[str, ...]:
        return () if self.settings.unconditional_gradient else ("unconditional",)

    # --- sampling ------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def sample(self, request: Request) -> Trajectories:
        """G motions and `trained_steps` recorded transitions of each, stratified over the trainable steps.

        Noise and recorded steps are functions of (seed, window, sample index) alone. `actions`, window after window, are those of
        `_sample_window`, 0 past the end of a shorter last one; and of several windows `prefix` [G,W-1,C,F], what each after the first
        continued. The adapter fields of the group say what is loaded; see `load_adapter`.
        """
        parts, prefixes, prefix_GCF = [], [], None
        for number, conditioning in enumerate(self._windows(request.conditioning)):
            batch = self._batch([conditioning] * request.group_size, self._width(conditioning), prefix_GCF)
            asked = dataclasses.replace(request, conditioning=conditioning, seed=seed_of_window(request.seed, number))
            parts.append(self._sample_window(asked, batch, shared=number == 0))
            prefixes.append(prefix_GCF := continued(batch, parts[-1][0]))
        x0, log_probs = (torch.cat(values, dim=1) for values in list(zip(*parts))[:2])
        made = {name: joined([actions[name] for *_, actions in parts]) for name in parts[0][2]}
        if len(parts) > 1:
            made["prefix"] = torch.stack(prefixes[:-1], dim=1).cpu().numpy()
        return self._made(request, x0, log_probs.cpu().numpy(), made)

    def _sample_window(self, request: Request, batch: DenoiserInputs, shared: bool) -> tuple[Tensor, Tensor, dict[str, np.ndarray]]:
        """x0 [G,T,F], log-probs [G,K] and actions of one window: t [G,K]; x_t, x_prev, mean and, with guidance, the unconditional
        prediction [G,K,T,F] in normalised features. The last carries no gradient, so whoever takes one need not predict it again.

        shared: whether all continue the same.
        """
        conditioning, group_size, seed, trained_steps = request.conditioning, request.group_size, request.seed, request.trained_steps
        noise_SGTF, noisy = self._group_noise(seed, group_size, batch.frames), self._noisy_steps(seed)
        recorded_GK = self._recorded_steps(seed, group_size, trained_steps)
        start = self._shared_start(conditioning, noise_SGTF, noisy) if shared else ()
        shape = (group_size, trained_steps, *noise_SGTF.shape[2:])
        names = "x_t", "x_prev", "mean", *(self.shortcuts if self._guided else ())
        actions = {name: torch.empty(shape, device=self.device) for name in names}  # which leave the device once, as a whole
        log_probs = torch.empty(shape[:2], device=self.device)
        for t, x, mean, x_prev, unconditional in self._denoise(noise_SGTF, batch, noisy, *start):
            g, k = torch.tensor(np.array(np.nonzero(recorded_GK == t)), device=self.device)
            if len(g):
                for name, value in zip(actions, (x, x_prev, mean, unconditional)):
                    actions[name][g, k] = value[g]
                log_probs[g, k] = self._log_prob(x_prev, mean, torch.full((group_size,), t, device=self.device), conditioning)[g]
        return x_prev, log_probs, {name: value.cpu().numpy() for name, value in actions.items()} | {"t": recorded_GK}

    @torch.no_grad()
    def generate(self, conditionings: list[Conditioning], seeds: list[tuple[int, ...]]) -> np.ndarray:
        """Raw features float32 [N,T,F], one motion for each conditioning, in one batch of mixed prompts and lengths.

        The noise of a motion is a function of its own seed alone. T is `frames`: what lies past a motion's length is what
        the model made of it, as in the official generation.
        """
        windows, prefix_NCF = [], None
        for number in range(self.settings.model.windows):
            of_window = conditionings if self.settings.model.windows == 1 else [cut(each, number, self.window) for each in conditionings]
            batch = self._batch(of_window, self.window, prefix_NCF)
            noise_SNTF = torch.stack([self._noise(seed_of_window(seed, number), self.window) for seed in seeds], dim=1).to(self.device)
            for _, _, _, x_prev, _ in self._denoise(noise_SNTF, batch):
                pass
            windows.append(x_prev)
            prefix_NCF = continued(batch, x_prev)
        return torch.cat(windows, dim=1).cpu().numpy() * self.std + self.mean

    def _denoise(
        self, noise_SBTF: Tensor, batch: DenoiserInputs, noisy: range | None = None, steps: range | None = None, x: Tensor | None = None
    ) -> Iterator[tuple[int, Tensor, Tensor, Tensor, Tensor | None]]:
        """The chain from noise to data: for t = S-1 .. 0 the step, x_t, the mean of x_{t-1}, x_{t-1}, and the unconditional prediction.

        noisy: the steps that add noise, None for all. steps, x: of the chain, those that are left, and where it has got to.
        """
        self.require_eval()
        x = noise_SBTF[0] if x is None else x
        for t in reversed(steps or range(len(self.schedule))):
            t_B = torch.full((len(x),), t, device=self.device)
            x0, unconditional = self._guided_x0(x, t_B, batch)
            if noisy is None or t in noisy:
                mean = self._posterior_mean(x, t_B, x0)
                x_prev = mean + self._at(self._sigma, t_B) * noise_SBTF[len(self.schedule) - t]
            else:
                c1, c2 = self._still
                mean = x_prev = self._at(c1, t_B) * x0 + self._at(c2, t_B) * x
            yield t, x, mean, x_prev, unconditional
            x = x_prev

    def _noisy_steps(self, seed: tuple[int, ...]) -> range | None:
        """Those in a row that add noise in this group, of the trainable ones (MixGRPO, arXiv 2507.21802); None: every step."""
        if self.settings.stochastic_steps is None:
            return None
        trainable, count = self.schedule.trainable_steps, self.settings.stochastic_steps
        rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(Stream.STOCHASTIC_STEPS,)))
        first = int(trainable[rng.integers(len(trainable) - count + 1)])
        return range(first, first + count)

    def _shared_start(self, conditioning: Conditioning, noise_SGTF: Tensor, noisy: range | None) -> tuple[range, Tensor] | tuple[()]:
        """The steps that are left of the chain, and x there for each sample, once those that are the same for all were made for one."""
        if noisy is None or not self.settings.shared_initial_noise or noisy.stop == len(self.schedule):
            return ()
        one = self._batch([conditioning], noise_SGTF.shape[2])
        for *_, x, _ in self._denoise(noise_SGTF[:, :1], one, noisy, range(noisy.stop, len(self.schedule))):
            pass
        return range(noisy.stop), x.expand(noise_SGTF.shape[1:]).contiguous()

    def _made(self, request: Request, x0: Tensor, log_probs: np.ndarray, actions: dict[str, np.ndarray]) -> Trajectories:
        conditioning, lengths = request.conditioning, np.full(request.group_size, request.conditioning.prompt.length)
        outputs = x0.cpu().numpy() * self.std + self.mean
        return Trajectories(
            conditioning.prompt, conditioning.digest, outputs, lengths, log_probs, None, {"timesteps": actions["t"]}, tuple(request.seed),
            *self.loaded, conditioning, actions,
        )  # fmt: skip

    @property
    def window(self) -> int:
        """The frames that the network makes at once."""
        return self.frames // self.settings.model.windows

    def _windows(self, conditioning: Conditioning) -> list[Conditioning]:
        """One for each window that its length takes."""
        if self.settings.model.windows == 1:
            return [conditioning]
        return [cut(conditioning, number, self.window) for number in range(-(-conditioning.prompt.length // self.window))]

    def _width(self, conditioning: Conditioning) -> int:
        """Frames that a window is denoised in: a model trained with `mask_frames` need not see padding, an older one was
        always given its full window."""
        return conditioning.prompt.length if self.options["mask_frames"] else self.window

    def _batch(self, conditionings: list[Conditioning], frames: int, prefix_BCF: Tensor | None = None) -> DenoiserInputs:
        """prefix_BCF: what a window after the first continues, None for the prefix of the conditionings."""
        batch = DenoiserInputs.of(conditionings, frames, self.options["mask_frames"], self.options["context_len"], self.device)
        return batch if prefix_BCF is None else dataclasses.replace(batch, prefix=prefix_BCF)

    def _noise(self, seed: tuple[int, ...], frames: int) -> Tensor:
        """[S+1,T,F]: the initial noise, then one draw for each step in sampling order (the last one is unused)."""
        own = np.random.Generator(np.random.Philox(np.random.SeedSequence(seed)))
        return torch.from_numpy(own.standard_normal((len(self.schedule) + 1, frames, len(self.mean)), dtype=np.float32))

    def _group_noise(self, seed: tuple[int, ...], size: int, frames: int) -> Tensor:
        """[S+1,G,T,F] on the device: each sample's own, from the shared start if that is wanted."""
        noise_GSTF = [self._noise((*seed, i), frames) for i in range(size)]
        if self.settings.shared_initial_noise:
            shared = np.random.Generator(np.random.Philox(np.random.SeedSequence(seed, spawn_key=(Stream.SHARED_NOISE,))))
            start = torch.from_numpy(shared.standard_normal(noise_GSTF[0].shape[1:], dtype=np.float32))
            for noise_STF in noise_GSTF:
                noise_STF[0] = start
        return torch.stack(noise_GSTF, dim=1).to(self.device)

    def _recorded_steps(self, seed: tuple[int, ...], group_size: int, count: int) -> np.ndarray:
        """[G,K] steps to train on: one at random from each of K equal strata of the trainable steps that add noise, per sample."""
        noisy = self._noisy_steps(seed)
        trainable = self.schedule.trainable_steps if noisy is None else np.array(noisy)
        if count and not self.schedule.ddim_eta:
            raise InputError("ddim_eta: found 0, expected a number above 0: steps without noise have no likelihood to train")
        if count > len(trainable):
            raise InputError(f"trained_steps: found {count}, a chain of {len(self.schedule)} steps has {len(trainable)} trainable ones")
        rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(Stream.TRAINED_STEPS,)))
        strata = np.array_split(trainable, count) if count else []
        columns = [rng.choice(stratum, group_size) for stratum in strata]
        return np.stack(columns, axis=1) if columns else np.empty((group_size, 0), np.int64)

    # --- recompute -----------------------------------------------------------------------------------------------

    def score(self, trajectories: Trajectories, reference: frozenset[int] = frozenset(), only: int | None = None) -> Iterator[Score]:
        """One denoising step of every sample after the other, so that memory does not grow with their number.

        `log_ratio` is RatioNorm, mean(eps * dx0) over valid dims with eps the behaviour noise: equal to
        (sigma/c1) (d log p + mean(d mu^2) / (2 sigma^2)) without its cancellation, zero-mean and of one unit at every t. `kl`
        is the mean over valid dims of the squared x0 difference, `weight` sigma/c1.
        """
        steps = trajectories.log_probs.shape[1]
        for step in range(steps) if only is None else [only % steps]:
            yield self.score_step(trajectories, step, step in reference)

    def _recorded_window(self, group: Trajectories, step: int) -> tuple[int, Conditioning, DenoiserInputs]:
        """The window that recorded step `step` is of, its conditioning, and what its denoiser read: the prefix as it was sampled,
        whatever the weights would make of it now."""
        windows = self._windows(group.conditioning)
        number = step * len(windows) // group.log_probs.shape[1]
        prefix_GCF = torch.tensor(group.actions["prefix"][:, number - 1], device=self.device) if number else None
        return number, windows[number], self._batch([windows[number]] * len(group.actions["t"]), self._width(windows[number]), prefix_GCF)

    def score_step(self, group: Trajectories, step: int, reference: bool) -> Score:
        """Recorded step `step` of every sample."""
        self.require_eval()
        actions, (_, conditioning, batch) = group.actions, self._recorded_window(group, step)
        names = "x_t", "x_prev", "mean"
        x_t, x_prev, old_mean = (torch.tensor(actions[name][:, step, : batch.frames], device=self.device) for name in names)
        t_G = torch.tensor(actions["t"][:, step], device=self.device)
        unconditional = None
        if "unconditional" in actions and group.adapter_sha256 == self.loaded[1]:  # it moves with the adapter
            unconditional = torch.tensor(actions["unconditional"][:, step, : batch.frames], device=self.device)
        mean = self._posterior_mean(x_t, t_G, self._guided_x0(x_t, t_G, batch, unconditional)[0])
        noise = (x_prev - old_mean) / self._at(self._sigma, t_G)
        log_ratio = self._valid_mean(noise * (mean - old_mean), conditioning) / self._c1[t_G]
        kl = log_prob_ref = None
        if reference:
            with torch.no_grad(), self.reference():
                ref_mean = self._posterior_mean(x_t, t_G, self._guided_x0(x_t, t_G, batch)[0])
            log_prob_ref = self._log_prob(x_prev, ref_mean, t_G, conditioning)
            kl = self._valid_mean((mean - ref_mean) ** 2, conditioning) / self._c1[t_G] ** 2
        log_prob, dims = self._log_prob(x_prev, mean, t_G, conditioning), conditioning.prompt.length * x_t.shape[2]
        return Score(step, log_prob, log_ratio, self._x0_weight[t_G], kl, log_prob_ref, dims)

    # --- the one computation both sides share --------------------------------------------------------------------

    def _guided_x0(self, x_t: Tensor, t_B: Tensor, batch: DenoiserInputs, unconditional: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """u + s (c - u) [B,T,F], and u: as given, else predicted. It carries a gradient only under `unconditional_gradient`.

        In two passes: one of twice the batch takes as long on a CPU, and at 2 or 3 samples gives other bits.
        """
        conditional = self._prediction(x_t, self._model_t[t_B], batch.text, batch)
        if not self._guided:
            return conditional, None
        if unconditional is None:
            with torch.set_grad_enabled(torch.is_grad_enabled() and self.settings.unconditional_gradient):
                unconditional = self._prediction(x_t, self._model_t[t_B], torch.zeros_like(batch.text), batch)
        return unconditional + self.settings.model.guidance * (conditional - unconditional), unconditional

    def _prediction(self, x_t: Tensor, t_B: Tensor, text_BLE: Tensor, batch: DenoiserInputs) -> Tensor:
        """One pass: the clean motion [B,T,F], fp32. `t_B`: of the schedule that the model was trained on."""
        with self.computing():
            return self.network(x_t, t_B, text_BLE, batch.frame_mask, batch.text_mask, batch.prefix).float()

    @property
    def _guided(self) -> bool:
        return self.settings.model.guidance != 1

    def _posterior_mean(self, x_t: Tensor, t_G: Tensor, x0: Tensor) -> Tensor:
        return self._at(self._c1, t_G) * x0 + self._at(self._c2, t_G) * x_t

    def _log_prob(self, x_prev: Tensor, mean: Tensor, t_G: Tensor, conditioning: Conditioning) -> Tensor:
        """[G] log N(x_prev; mean, sigma_t^2), mean over valid dims (nats per dim)."""
        sigma_G = self._sigma[t_G]
        squared_G = self._valid_mean((x_prev - mean) ** 2, conditioning)
        return -squared_G / (2 * sigma_G**2) - sigma_G.log() - 0.5 * math.log(2 * math.pi)

    def _valid_mean(self, values_GTF: Tensor, conditioning: Conditioning) -> Tensor:
        return values_GTF[:, : conditioning.prompt.length].mean(dim=(1, 2))

    @staticmethod
    def _at(values_S: Tensor, t_G: Tensor) -> Tensor:
        return values_S[t_G][:, None, None]
