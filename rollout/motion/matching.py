"""The motion-diffusion policy of forward objectives: what is trained on are noise levels of clean motions, not steps of their chain.

A motion x0, made by any solver, is noised anew as in pre-training, x_t = sqrt(abar_t) x0 + sqrt(1 - abar_t) eps, and minus the mean
squared error of the prediction stands for its log-likelihood (AWM, arXiv 2509.25050). The policy that sampled makes its prediction at
the same levels right away: so log-ratios are 0 before the first step and stay known after it, in a run of staleness 1 as well.
The KL may be to a moving average of the adapter instead of the base model: AWM, whose decay .3 is the default, holds by it.
"""

import numpy as np
import torch
from torch import Tensor
from torch.func import functional_call

from rollout.motion.denoiser_inputs import DenoiserInputs
from rollout.motion.diffusion_policy import MotionDiffusionPolicy, MotionPolicySettings
from rollout.motion.schedule import Schedule
from rollout.policy import Conditioning, Request, Score, Trajectories
from rollout.seeds import Stream


class MatchingPolicy(MotionDiffusionPolicy):
    """See `rollout.policy.Policy`, and `Score` of what an action is here. It is the conditional prediction that is trained, as in
    pre-training, whatever guidance samples."""

    shortcuts = ()
    anchor = None

    def __init__(self, settings: MotionPolicySettings, device: str = "cpu"):
        super().__init__(settings, device)
        abar = Schedule.create(self.options["noise_schedule"], self.options["diffusion_steps"]).alphas_cumprod
        self._signal, self._spread = (torch.tensor(np.sqrt(share), dtype=torch.float32, device=self.device) for share in (abar, 1 - abar))

    def _sample_window(self, request: Request, batch: DenoiserInputs, shared: bool) -> tuple[Tensor, Tensor, dict[str, np.ndarray]]:
        """G motions, each noised to `trained_steps` levels. Actions: t [G,K] in the schedule the model was trained on; x0 [G,T,F],
        which of several windows is the whole motion; x_t and its prediction x0_old [G,K,T,F]; all in normalised features."""
        size, conditioning = request.group_size, request.conditioning
        for *_, x0, _ in self._denoise(self._group_noise(request.seed, size, batch.frames), batch):
            pass
        x0 = x0.contiguous()  # as the recompute finds it
        t_K, noise_KTF = self._levels(request, batch.frames)
        actions = {name: torch.empty((size, len(t_K), *x0.shape[1:]), device=self.device) for name in ("x_t", "x0_old")}
        log_probs = torch.empty((size, len(t_K)), device=self.device)
        for k, t in enumerate(t_K):
            x_t = self._signal[t] * x0 + self._spread[t] * noise_KTF[k]
            x0_old = self._prediction(x_t, torch.full((size,), t, device=self.device), batch.text, batch)
            actions["x_t"][:, k], actions["x0_old"][:, k] = x_t, x0_old
            log_probs[:, k] = self._likelihood(x0_old, x0, conditioning)
        made = {name: value.cpu().numpy() for name, value in (actions | {"x0": x0}).items()}
        return x0, log_probs, made | {"t": np.tile(t_K, (size, 1))}

    def score_step(self, group: Trajectories, step: int, reference: bool) -> Score:
        """Noise level `step` of every sample. `kl` is the mean over valid dims of the squared difference of the predictions."""
        self.require_eval()
        actions, (number, conditioning, batch) = group.actions, self._recorded_window(group, step)
        x0 = torch.tensor(actions["x0"][:, number * self.window :][:, : batch.frames], device=self.device)
        x_t, x0_old = (torch.tensor(actions[name][:, step, : batch.frames], device=self.device) for name in ("x_t", "x0_old"))
        t_G = torch.tensor(actions["t"][:, step], device=self.device)
        prediction = self._prediction(x_t, t_G, batch.text, batch)
        log_prob, old = self._likelihood(prediction, x0, conditioning), torch.tensor(group.log_probs[:, step], device=self.device)
        log_ratio = log_prob - torch.where(torch.isfinite(old), old, log_prob.detach())  # of a broken sample: 0, and no NaN
        moved = self._valid_mean((prediction - x0_old) ** 2, conditioning)
        kl = log_prob_ref = norm = anchor_kl = None
        if self.anchor is not None:
            anchored = self._anchored(x_t, t_G, batch)
            anchor_kl = self._valid_mean((prediction - anchored) ** 2, conditioning)
        if reference:
            with torch.no_grad(), self.reference():
                x0_ref = self._prediction(x_t, t_G, batch.text, batch)
            log_prob_ref = self._likelihood(x0_ref, x0, conditioning)
            kl = self._valid_mean((prediction - x0_ref) ** 2, conditioning)
            norm = (self._valid_mean(prediction.detach() ** 2, conditioning) / self._valid_mean(x0_ref**2, conditioning)).sqrt()
        dims = conditioning.prompt.length * x_t.shape[2]
        forward = {"moved": moved, "prediction_norm": norm, "anchor_kl": anchor_kl}
        return Score(step, log_prob, log_ratio, torch.ones_like(log_ratio), kl, log_prob_ref, dims, **forward)

    def _anchored(self, x_t: Tensor, t_G: Tensor, batch: DenoiserInputs) -> Tensor:
        """The anchor's prediction [G,T,F]. Its tensors stand in for the adapter's, which a graph may hold, and ask for no gradient; they go
        the way of one all the same, where no folded weight is kept from another pass."""
        tensors = {name: torch.tensor(value, device=self.device) for name, value in self.anchor.tensors().items()}
        with torch.enable_grad(), self.computing():
            inputs = x_t, t_G, batch.text, batch.frame_mask, batch.text_mask, batch.prefix
            return functional_call(self.network, tensors, inputs).float().detach()

    def _levels(self, request: Request, frames: int) -> tuple[np.ndarray, Tensor]:
        """[K] levels, one at random from each of K equal strata of all, and noise [K,T,F] for each; the same for all samples of a
        group, so that these differ in nothing but their motions."""
        stream = np.random.SeedSequence(request.seed, spawn_key=(Stream.NOISE_LEVELS,))
        random = np.random.Generator(np.random.Philox(stream))
        strata = np.array_split(np.arange(len(self._signal)), request.trained_steps) if request.trained_steps else []
        t_K = np.array([random.choice(stratum) for stratum in strata], np.int64)
        return t_K, torch.from_numpy(random.standard_normal((len(t_K), frames, len(self.mean)), dtype=np.float32)).to(self.device)

    def _likelihood(self, prediction: Tensor, x0: Tensor, conditioning: Conditioning) -> Tensor:
        """[G] minus the squared error, mean over valid dims."""
        return -self._valid_mean((prediction - x0) ** 2, conditioning)
