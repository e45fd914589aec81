"""The denoiser reproduces recorded outputs of the official code, alone, guided and in whole chains; its own switches."""

import dataclasses
import json

import numpy as np
import pytest
import torch

from learner.pretrain.mdm import diffusion_loss
from rollout.io.errors import InputError
from rollout.io.weights import read_torch
from rollout.motion.checkpoint import load_checkpoint, save_checkpoint, with_missing
from rollout.motion.diffusion_policy import MotionDiffusionPolicy, MotionPolicySettings
from rollout.motion.mdm import MDM
from rollout.motion.official import RECOMPUTED, to_official
from rollout.motion.prompts import MotionPrompt
from rollout.motion.schedule import Schedule
from rollout.motion.settings import Model
from rollout.policy import Conditioning, Request
from tests import tiny
from tests.parity import parameters
from tests.rollout.checkpoint_files import build_denoiser

FORWARD, GUIDED = 5e-6, 2e-5


def read_args(folder) -> dict:
    return json.loads((folder / "args.json").read_text())


def supported(folder) -> bool:
    return read_args(folder).get("arch", "trans_enc") != "gru"


def with_text(folder) -> bool:
    return supported(folder) and not with_missing(read_args(folder))["unconstrained"]


def with_file(name: str):
    return lambda folder: with_text(folder) and (folder / name).exists()


every_case = pytest.mark.parametrize("folder", parameters("model*.pt", supported))


class Case:
    """A recorded case: its denoiser, options, and arrays in our layout ([B,F,1,T] becomes [B,T,F], [L,B,E] [B,L,E])."""

    def __init__(self, folder, recorded="fixtures.npz"):
        self.file = next(folder.glob("model*.pt"))
        self.args = read_args(folder)
        self.options = with_missing(self.args)
        self.state = read_torch(self.file)
        self.denoiser = build_denoiser(self.state, self.args, self.file)
        self.arrays = {name: torch.from_numpy(ours(value)) for name, value in np.load(folder / recorded).items()}
        self.size = len(self.arrays["lengths"])
        width = self.denoiser.shape.text
        self.text = torch.zeros(self.size, 1, width)
        if width:
            self.text = self.arrays["text_embed"].reshape(-1, self.size, width).transpose(0, 1)
        padding = self.arrays.get("text_pad_mask")
        self.text_mask = None if padding is None else ~padding.expand(self.size, -1)
        self.mask = self.arrays["mask"].reshape(self.size, -1)

    def predict(self, x, text, mask=None, denoiser=None):
        mask = self.mask if mask is None else mask
        frame_mask = mask if self.options["mask_frames"] else None
        return (denoiser or self.denoiser)(x, self.arrays["timesteps"], text, frame_mask, self.text_mask, self.arrays.get("prefix"))

    def conditioning(self, sample: int) -> Conditioning:
        """What a policy reads of one recorded sample: its own tokens alone."""
        text = self.text[sample] if self.text_mask is None else self.text[sample][self.text_mask[sample]]
        arrays = {"text": text.numpy()} | ({"prefix": self.arrays["prefix"][sample].numpy()} if "prefix" in self.arrays else {})
        return Conditioning(MotionPrompt("recorded", int(self.arrays["lengths"][sample])), arrays)


def ours(array: np.ndarray) -> np.ndarray:
    if array.dtype == np.float16:
        array = array.astype(np.float32)
    motion = array.ndim >= 4 and array.shape[-2] == 1 and array.shape[-3] > 1
    return np.moveaxis(array, [-1, -3], [-2, -1]).squeeze(-3) if motion else array


@every_case
@torch.no_grad()
def test_parity_forward(folder):
    case = Case(folder)
    x = case.arrays["x_t"]
    found = {
        "out_cond": case.predict(x, case.text),
        "out_uncond": case.predict(x, 0 * case.text),
        "out_cond_fullmask": case.predict(x, case.text, torch.ones_like(case.mask)),
    }
    if "out_cond_nonavg" in case.arrays:
        trained = build_denoiser(case.state["model"], case.args, case.file)
        found["out_cond_nonavg"] = case.predict(x, case.text, denoiser=trained)
        assert (found["out_cond_nonavg"] - found["out_cond"]).abs().max() > 1e-3
    compared = found.keys() & case.arrays.keys()
    assert "out_cond" in compared
    for name in compared:
        torch.testing.assert_close(found[name], case.arrays[name], atol=FORWARD, rtol=0, msg=lambda m, name=name: f"{name}: {m}")


@pytest.mark.parametrize("folder", parameters("model*.pt", with_text))
@torch.no_grad()
def test_parity_guided_forward(folder):
    case = Case(folder)
    conditional, unconditional = (case.predict(case.arrays["x_t"], text) for text in (case.text, 0 * case.text))
    scales = {"out_cfg_2p5": torch.full((case.size,), 2.5), "out_cfg_mixed": case.arrays.get("scale_mixed")}
    compared = scales.keys() & case.arrays.keys()
    assert compared or case.options["cond_mask_prob"] == 0
    for name in compared:
        guided = unconditional + scales[name][:, None, None] * (conditional - unconditional)
        torch.testing.assert_close(guided, case.arrays[name], atol=GUIDED, rtol=0)


@pytest.mark.parametrize(
    "folder", parameters("model*.pt", lambda f: supported(f) and "loss_total" in np.load(f / "fixtures.npz").files)
)
@torch.no_grad()
def test_parity_training_loss(folder):
    case = Case(folder)
    schedule = Schedule.create(case.options["noise_schedule"], case.options["diffusion_steps"])
    x0, noise, t = (case.arrays[name] for name in ("loss_x_start", "loss_noise", "timesteps"))
    error = (case.predict(case.arrays["loss_x_t"], case.text) - x0) ** 2
    losses = [error[i, mask].mean() for i, mask in enumerate(case.mask)]
    torch.testing.assert_close(torch.stack(losses), case.arrays["loss_total"], atol=FORWARD, rtol=0)
    for i, mask in enumerate(case.mask):
        if case.denoiser.shape.decoder or not (case.options["mask_frames"] or mask.all()):
            continue  # our training is of models with one text token, and always masks
        part = slice(i, i + 1)
        loss = diffusion_loss(case.denoiser, schedule, x0[part], case.mask[part], case.text[part, 0], t[part], noise[part])
        torch.testing.assert_close(loss, case.arrays["loss_total"][i], atol=FORWARD, rtol=0)


@pytest.mark.parametrize("folder", parameters("model*.pt", with_file("trajectory.npz")))
def test_parity_whole_chain_of_the_policy(folder, tmp_path):
    case = Case(folder, "trajectory.npz")
    recorded = case.arrays
    for sample in range(case.size):
        policy, length = replayed(folder, tmp_path, case, sample, ""), int(recorded["lengths"][sample])
        group = policy.sample(Request(case.conditioning(sample), 1, (sample, 0), len(policy.schedule.trainable_steps)))
        assert_close(group.outputs[0, :length], recorded["x"][-1, sample, :length])
        before = torch.cat([recorded["x_init"][None], recorded["x"]])
        for k, t in enumerate(group.actions["t"][0]):
            i = len(policy.schedule) - 1 - t
            assert recorded["t"][i] == t
            for name, official in (("x_t", before[i]), ("x_prev", recorded["x"][i]), ("mean", recorded["mean"][i])):
                assert_close(group.actions[name][0, k, :length], official[sample, :length])


@pytest.mark.parametrize("folder", parameters("model*.pt", with_file("trajectory.npz")))
def test_parity_whole_chain_of_a_mixed_batch(folder, tmp_path):
    case = Case(folder, "trajectory.npz")
    samples = [i for i in range(case.size) if case.arrays["scale"][i] == case.arrays["scale"][0]]
    outputs = replayed(folder, tmp_path, case, 0, "").generate([case.conditioning(i) for i in samples], [(i,) for i in samples])
    for output, i in zip(outputs, samples):
        length = int(case.arrays["lengths"][i])
        assert_close(output[:length], case.arrays["x"][-1, i, :length])


CHAINS = [
    ("", 0.0, "x_eta0"), ("", 1.0, "x_eta1"), ("10", 1.0, "respace10_p_x"), ("10", 0.0, "respace10_ddim0_x"),
    ("ddim10", 1.0, "ddim10_p_x"), ("ddim10", 0.0, "ddim10_ddim0_x"),
]  # fmt: skip


@pytest.mark.parametrize("kept, eta, name", CHAINS)
@pytest.mark.parametrize("folder", parameters("model*.pt", with_file("trajectory_ddim_respaced.npz")))
def test_parity_ddim_and_respaced_chains_of_the_policy(folder, tmp_path, kept, eta, name):
    case = Case(folder, "trajectory_ddim_respaced.npz")
    for sample in range(case.size):
        policy, length = replayed(folder, tmp_path, case, sample, kept, eta), int(case.arrays["lengths"][sample])
        if kept:
            assert policy.schedule.timestep_map.tolist() == case.arrays[f"{name.split('_')[0]}_timestep_map"].tolist()
        steps = len(policy.schedule.trainable_steps) if eta else 0
        group = policy.sample(Request(case.conditioning(sample), 1, (sample, 0), steps))
        assert_close(group.outputs[0, :length], case.arrays[name][-1, sample, :length])
        for k, t in enumerate(group.actions["t"][0]):
            i = len(policy.schedule) - 1 - t
            assert_close(group.actions["x_prev"][0, k, :length], case.arrays[name][i, sample, :length])


def replayed(folder, stats, case: Case, sample: int, respacing: str, ddim_eta: float = 1.0) -> MotionDiffusionPolicy:
    """The policy of the case, whose noise for a seed (i, ...) is the recorded noise of sample i."""
    np.save(stats / "Mean.npy", np.zeros(case.denoiser.shape.features, np.float32))
    np.save(stats / "Std.npy", np.ones(case.denoiser.shape.features, np.float32))
    noise_SBTF = torch.cat([case.arrays["x_init"][None], case.arrays["noise"]])

    class Replayed(MotionDiffusionPolicy):
        def _noise(self, seed, frames):
            return noise_SBTF[: len(self.schedule) + 1, seed[0], :frames].clone()

    settings = MotionPolicySettings(
        Model(
            path=str(folder), stats=str(stats), frames=noise_SBTF.shape[2], steps=respacing, ddim_eta=ddim_eta,
            guidance=float(case.arrays["scale"][sample]),
        ),
        lora_rank=1, shared_initial_noise=False,
    )  # fmt: skip
    policy = Replayed(settings)
    policy.frames = settings.model.frames  # a recorded prefix completion may be of other lengths than its options say
    return policy


def assert_close(found: np.ndarray, official: torch.Tensor) -> None:
    np.testing.assert_allclose(found, official.numpy(), atol=GUIDED, rtol=0)


@every_case
def test_parity_official_export_round_trip(folder, tmp_path):
    case = Case(folder)
    flat = case.state["model_avg"] if case.options["use_ema"] and "model_avg" in case.state else case.state.get("model", case.state)
    exported = to_official(case.denoiser)
    assert exported.keys() == {key for key in flat if not key.startswith("clip_model.")} | set(RECOMPUTED)
    for key, value in exported.items():
        if key not in RECOMPUTED:
            assert torch.equal(value, flat[key].detach()), key
        elif key in flat:
            positions = min(len(value), len(flat[key]))
            torch.testing.assert_close(value[:positions], flat[key][:positions], atol=1e-6, rtol=0)
    np.save(tmp_path / "Mean.npy", np.zeros(case.denoiser.shape.features, np.float32))
    np.save(tmp_path / "Std.npy", np.ones(case.denoiser.shape.features, np.float32))
    original = load_checkpoint(folder, tmp_path)
    again = load_checkpoint(save_checkpoint(tmp_path / "export", 7, original))
    assert again.args == original.args and again.denoiser.shape == original.denoiser.shape
    assert all(torch.equal(a, b) for a, b in zip(again.denoiser.parameters(), original.denoiser.parameters(), strict=True))


@pytest.mark.parametrize("folder", parameters("model*.pt", lambda folder: not supported(folder)))
def test_parity_gru_checkpoints_are_refused_by_name(folder):
    file = next(folder.glob("model*.pt"))
    with pytest.raises(InputError, match="gru.*not supported"):
        build_denoiser(read_torch(file), read_args(folder), file)


@pytest.fixture
def denoiser():
    return tiny.randomise(MDM(tiny.SHAPE), 0).eval()


def inputs(batch=3, frames=9):
    generator = torch.Generator().manual_seed(0)
    x, text = torch.randn(batch, frames, 263, generator=generator), torch.randn(batch, 1, 16, generator=generator)
    return x, torch.arange(batch) * 20, text


@torch.no_grad()
def test_masked_frames_are_invisible_to_the_valid_ones(denoiser):
    x, t, text = inputs()
    mask = torch.arange(9)[None] < torch.tensor([[9], [5], [1]])
    masked = denoiser(x, t, text, mask)
    for i, length in enumerate((9, 5, 1)):
        alone = denoiser(x[i : i + 1, :length], t[i : i + 1], text[i : i + 1])
        torch.testing.assert_close(masked[i, :length], alone[0], atol=FORWARD, rtol=0)
    assert not torch.allclose(masked[1, :5], denoiser(x, t, text)[1, :5], atol=1e-3)


@torch.no_grad()
def test_text_and_timestep_each_change_the_prediction(denoiser):
    x, t, text = inputs()
    base = denoiser(x, t, text)
    assert (denoiser(x, t + 1, text) - base).abs().max() > 1e-2
    assert (denoiser(x, t, -text) - base).abs().max() > 1e-2


def test_dropout_acts_in_train_mode_and_never_in_eval_mode(denoiser):
    x, t, text = inputs()
    assert torch.equal(denoiser(x, t, text), denoiser(x, t, text))
    denoiser.train()
    assert not torch.equal(denoiser(x, t, text), denoiser(x, t, text))


def test_activation_checkpointing_changes_neither_output_nor_gradient(denoiser):
    x, t, text = inputs()
    results = []
    for checkpointing in (False, True):
        denoiser.activation_checkpointing = checkpointing
        output = denoiser(x, t, text)
        results.append([output, *torch.autograd.grad(output.square().mean(), list(denoiser.parameters()))])
    assert all(torch.equal(one, two) for one, two in zip(*results))


def test_activation_checkpointing_keeps_fewer_activations(denoiser):
    x, t, text = inputs()

    def stored(checkpointing: bool) -> int:
        denoiser.activation_checkpointing = checkpointing
        sizes = []

        def pack(tensor):
            sizes.append(tensor.numel())
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            denoiser(x, t, text)
        return sum(sizes)

    assert stored(True) < stored(False) / 2


def test_the_position_table_is_not_a_weight():
    assert "positions" not in MDM(dataclasses.replace(tiny.SHAPE)).state_dict()
