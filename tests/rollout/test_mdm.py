"""The denoiser reproduces recorded outputs of the official code, alone, guided and in whole chains; its own switches."""

import dataclasses
import json
import shutil

import numpy as np
import pytest
import torch

from learner.pretrain.mdm import diffusion_loss
from rollout.motion.checkpoint import MISSING_ARGS, RECOMPUTED, build_denoiser, to_official
from rollout.motion.mdm import MDM
from rollout.motion.policy import MotionDiffusionPolicy, MotionPolicySettings
from rollout.motion.schedule import Schedule
from rollout.policy import Conditioning, Request
from rollout.prompts import Prompt
from rollout.weights import read_torch
from tests import tiny
from tests.parity import parameters

FORWARD, GUIDED = 5e-6, 2e-5


def read_args(folder) -> dict:
    return {**MISSING_ARGS, **json.loads((folder / "args.json").read_text())}


def supported(folder) -> bool:
    args = read_args(folder)
    unconditional = args.get("unconstrained") or args.get("cond_mode") == "no_cond"
    return (args["arch"], args["text_encoder_type"], bool(unconditional)) == ("trans_enc", "clip", False)


def with_file(name: str):
    return lambda folder: supported(folder) and (folder / name).exists()


every_case = pytest.mark.parametrize("folder", parameters("model*.pt", supported))


class Case:
    """A recorded case: its denoiser, options, and arrays in our layout ([B,263,1,T] becomes [B,T,263])."""

    def __init__(self, folder, recorded="fixtures.npz"):
        self.file = next(folder.glob("model*.pt"))
        self.args = read_args(folder)
        self.state = read_torch(self.file)
        self.denoiser = build_denoiser(self.state, self.args, self.file)
        self.arrays = {name: torch.from_numpy(ours(value)) for name, value in np.load(folder / recorded).items()}
        self.text = self.arrays["text_embed"].reshape(-1, self.denoiser.shape.text)
        self.mask = self.arrays["mask"].reshape(len(self.text), -1)

    def predict(self, x, text, mask=None):
        mask = self.mask if mask is None else mask
        return self.denoiser(x, self.arrays["timesteps"], text, mask if self.args["mask_frames"] else None)


def ours(array: np.ndarray) -> np.ndarray:
    if array.dtype == np.float16:
        array = array.astype(np.float32)
    return (
        np.moveaxis(array, [-1, -3], [-2, -1]).squeeze(-3)
        if array.ndim >= 4 and array.shape[-3:-1] == (263, 1)
        else array
    )


@every_case
@torch.no_grad()
def test_parity_forward(folder):
    case = Case(folder)
    x = case.arrays["x_t"]
    close = {"atol": FORWARD, "rtol": 0}
    torch.testing.assert_close(case.predict(x, case.text), case.arrays["out_cond"], **close)
    torch.testing.assert_close(case.predict(x, 0 * case.text), case.arrays["out_uncond"], **close)
    whole = case.predict(x, case.text, torch.ones_like(case.mask))
    torch.testing.assert_close(whole, case.arrays["out_cond_fullmask"], **close)


@every_case
@torch.no_grad()
def test_parity_guided_forward(folder):
    case = Case(folder)
    conditional, unconditional = (case.predict(case.arrays["x_t"], text) for text in (case.text, 0 * case.text))
    for scale, name in (
        (torch.full((len(case.text),), 2.5), "out_cfg_2p5"),
        (case.arrays["scale_mixed"], "out_cfg_mixed"),
    ):
        guided = unconditional + scale[:, None, None] * (conditional - unconditional)
        torch.testing.assert_close(guided, case.arrays[name], atol=GUIDED, rtol=0)


@every_case
@torch.no_grad()
def test_parity_training_loss(folder):
    case = Case(folder)
    schedule = Schedule.create(case.args["noise_schedule"], case.args["diffusion_steps"])
    x0, noise, t = (case.arrays[name] for name in ("loss_x_start", "loss_noise", "timesteps"))
    error = (case.predict(case.arrays["loss_x_t"], case.text) - x0) ** 2
    losses = [error[i, mask].mean() for i, mask in enumerate(case.mask)]
    torch.testing.assert_close(torch.stack(losses), case.arrays["loss_total"], atol=FORWARD, rtol=0)
    for i, mask in enumerate(case.mask):
        if not case.args["mask_frames"] and not mask.all():
            continue  # our training always masks, so on a model without `mask_frames` only full samples compare
        part = slice(i, i + 1)
        loss = diffusion_loss(case.denoiser, schedule, x0[part], case.mask[part], case.text[part], t[part], noise[part])
        torch.testing.assert_close(loss, case.arrays["loss_total"][i], atol=FORWARD, rtol=0)


@pytest.mark.parametrize("folder", parameters("model*.pt", with_file("trajectory.npz")))
def test_parity_whole_chain_of_the_policy(folder, tmp_path):
    case = Case(folder, "trajectory.npz")
    recorded = case.arrays
    for sample in range(len(case.text)):
        policy, length = replayed(folder, tmp_path / str(sample), case, sample, "")
        group = policy.sample(request(case, sample, length, trained_steps=len(policy.schedule.trainable_steps)))
        assert_close(group.outputs[0, :length], recorded["x"][-1, sample, :length])
        before = torch.cat([recorded["x_init"][None], recorded["x"]])
        for k, t in enumerate(group.actions["t"][0]):
            i = len(policy.schedule) - 1 - t
            assert recorded["t"][i] == t
            for name, official in (("x_t", before[i]), ("x_prev", recorded["x"][i]), ("mean", recorded["mean"][i])):
                assert_close(group.actions[name][0, k, :length], official[sample, :length])


@pytest.mark.parametrize("kept, prefix", [("10", "respace10"), ("ddim10", "ddim10")])
@pytest.mark.parametrize("folder", parameters("model*.pt", with_file("trajectory_ddim_respaced.npz")))
def test_parity_respaced_chains_of_the_policy(folder, tmp_path, kept, prefix):
    case = Case(folder, "trajectory_ddim_respaced.npz")
    for sample in range(len(case.text)):
        policy, length = replayed(folder, tmp_path / str(sample), case, sample, kept)
        assert policy.schedule.timestep_map.tolist() == case.arrays[f"{prefix}_timestep_map"].tolist()
        group = policy.sample(request(case, sample, length, trained_steps=len(policy.schedule.trainable_steps)))
        assert_close(group.outputs[0, :length], case.arrays[f"{prefix}_p_x"][-1, sample, :length])
        for k, t in enumerate(group.actions["t"][0]):
            i = len(policy.schedule) - 1 - t
            assert_close(group.actions["x_prev"][0, k, :length], case.arrays[f"{prefix}_p_x"][i, sample, :length])


def replayed(folder, copy, case: Case, sample: int, respacing: str):
    """The policy on a copy of the case, drawing the recorded noise of one sample, and that sample's length."""
    copy.mkdir()
    tiny.write_mdm(copy, text_width=case.denoiser.shape.text)  # for its text encoder, which the case lacks
    for file in [*copy.glob("model*.pt"), copy / "args.json"]:
        file.unlink()
    shutil.copy(case.file, copy)
    shutil.copy(folder / "args.json", copy)
    np.save(copy / "Mean.npy", np.zeros(263, np.float32))
    np.save(copy / "Std.npy", np.ones(263, np.float32))
    noise = torch.cat([case.arrays["x_init"][None], case.arrays["noise"]])[:, sample]

    class Replayed(MotionDiffusionPolicy):
        def _noise(self, seed, sample, frames):
            return noise[: len(self.schedule) + 1, :frames]

    frames = noise.shape[1]
    settings = MotionPolicySettings(
        path=copy, frames=frames, respacing=respacing, guidance=float(case.arrays["scale"][sample]), lora_rank=1
    )
    return Replayed(settings), int(case.arrays["lengths"][sample])


def request(case: Case, sample: int, length: int, trained_steps: int) -> Request:
    conditioning = Conditioning(Prompt("recorded", length), {"text": case.text[sample].numpy()})
    return Request(conditioning, 1, (0,), trained_steps)


def assert_close(found: np.ndarray, official: torch.Tensor) -> None:
    np.testing.assert_allclose(found, official.numpy(), atol=GUIDED, rtol=0)


@every_case
def test_parity_official_export_round_trip(folder):
    case = Case(folder)
    flat = case.state["model_avg"] if case.args.get("use_ema") else case.state.get("model", case.state)
    exported = to_official(case.denoiser.state_dict(), case.denoiser.positions[: case.args["pos_embed_max_len"]])
    assert exported.keys() == {key for key in flat if not key.startswith("clip_model.")} | set(RECOMPUTED)
    for key, value in exported.items():
        if key not in RECOMPUTED:
            assert torch.equal(value, flat[key].detach()), key
        elif key in flat:
            positions = min(len(value), len(flat[key]))
            torch.testing.assert_close(value[:positions], flat[key][:positions], atol=1e-6, rtol=0)


@pytest.fixture
def denoiser():
    return tiny.randomise(MDM(tiny.SHAPE), 0).eval()


def inputs(batch=3, frames=9):
    generator = torch.Generator().manual_seed(0)
    x, text = torch.randn(batch, frames, 263, generator=generator), torch.randn(batch, 16, generator=generator)
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
