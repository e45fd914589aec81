"""`python -m rollout.export`: the merged checkpoint moves like base and adapter together, and is an official one."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from rollout.motion.checkpoint import weights_file
from rollout.motion.export import main
from rollout.motion.official import RECOMPUTED
from rollout.motion.prompts import MotionPrompt
from rollout.policy import Request
from tests.parity import parameters
from tests.rollout.motion.test_mdm import with_text
from tests.tiny import FRAMES, TRAINING, make_policy, noisy_adapter, prepared, write_mdm

KINDS = {"lora": {"lora_targets": ("v", "linear1", "text_in"), "lora_rank": 2, "lora_alpha": 3}, "full": {"lora_rank": 0}}


@pytest.fixture(params=KINDS)
def tuned(request, mdm_folder, tmp_path):
    """A policy that was trained a little, its adapter folder beside where an export may go."""
    policy = make_policy(mdm_folder, **KINDS[request.param])
    policy.load_adapter(noisy_adapter(policy, scale=0.02))
    policy.save_adapter(tmp_path / "adapter")
    return policy


def export(mdm_folder, tmp_path, capsys, **flags) -> tuple[int, str]:
    flags = {"model": mdm_folder, "adapter": tmp_path / "adapter", "out": tmp_path / "out", **flags}
    code = main([word for name, value in flags.items() for word in (f"--{name}", str(value))])
    return code, capsys.readouterr().err


def motions(policy) -> np.ndarray:
    conditionings = prepared(policy, [MotionPrompt(text, FRAMES) for text in TRAINING])
    return np.concatenate([policy.sample(Request(c, 2, (7, i), 0)).outputs for i, c in enumerate(conditionings)])


def test_the_export_moves_like_base_and_adapter_together(tuned, mdm_folder, tmp_path, capsys):
    assert export(mdm_folder, tmp_path, capsys) == (0, "")
    merged = make_policy(tmp_path / "out", lora_rank=0)
    # Merged weights are rounded anew, which a guided chain of a random network grows to 2e-5; 7e-6 on the shipped model.
    np.testing.assert_allclose(motions(merged), motions(tuned), atol=5e-5, rtol=0)
    assert np.abs(motions(make_policy(mdm_folder)) - motions(tuned)).max() > 0.01


def test_the_export_has_the_files_and_tensors_of_its_base(tuned, mdm_folder, tmp_path, capsys):
    assert export(mdm_folder, tmp_path, capsys) == (0, "")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted(path.name for path in mdm_folder.iterdir())
    base, merged = (torch.load(folder / "model000000123.pt", weights_only=True) for folder in (mdm_folder, tmp_path / "out"))
    assert {key: value.shape for key, value in merged.items()} == {key: value.shape for key, value in base.items()}
    assert (tmp_path / "out" / "args.json").read_bytes() == (mdm_folder / "args.json").read_bytes()


@pytest.mark.parametrize("folder", parameters("model*.pt", with_text))
def test_parity_an_untrained_adapter_exports_the_official_tensors_of_its_base(folder, tmp_path, capsys):
    base = Path(shutil.copytree(folder, tmp_path / "base"))
    width = load_file(base)["input_process.poseEmbedding.weight"].shape[1]
    for name in ("Mean.npy", "Std.npy"):
        np.save(base / name, np.ones(width, np.float32))
    policy = make_policy(base, frames=2, steps="", guidance=1.0)
    policy.save_adapter(tmp_path / "adapter")
    assert export(base, tmp_path, capsys) == (0, "")
    expected, found = load_file(base), load_file(tmp_path / "out")
    # Newer files may leave the position tables out, which the public code computes anew.
    assert expected.keys() <= found.keys() <= expected.keys() | set(RECOMPUTED)
    for key in expected.keys() - set(RECOMPUTED):
        assert torch.equal(found[key], expected[key]), key
    for key in expected.keys() & set(RECOMPUTED):
        torch.testing.assert_close(found[key], expected[key], atol=1e-6, rtol=0)
    assert (tmp_path / "out" / weights_file(base).name).exists()
    assert json.loads((tmp_path / "out" / "args.json").read_text()) == json.loads((base / "args.json").read_text())


def load_file(folder: Path) -> dict[str, torch.Tensor]:
    """The tensors that count: an average of weights where the file holds one and its options ask for it."""
    state = torch.load(weights_file(folder), weights_only=True)
    averaged = json.loads((folder / "args.json").read_text()).get("use_ema") and "model_avg" in state
    state = state["model_avg"] if averaged else state.get("model", state)
    return {key: value.detach() for key, value in state.items() if not key.startswith("clip_model.")}


@pytest.mark.parametrize("args", [{"cond_mask_prob": 0}, {"diffusion_steps": 5}], ids=str)
def test_a_base_that_cannot_be_sampled_by_default_is_exported_too(tmp_path, capsys, args):
    base = write_mdm(tmp_path / "base", **args)
    policy = make_policy(base, guidance=1, steps="", lora_rank=2)
    policy.save_adapter(tmp_path / "adapter")
    assert export(base, tmp_path, capsys) == (0, "")
    assert json.loads((tmp_path / "out" / "args.json").read_text())[next(iter(args))] == next(iter(args.values()))


@pytest.mark.parametrize(
    "flags, message",
    [
        (lambda tmp: {"out": tmp / "adapter"}, "adapter is not empty, expected a new folder"),
        (lambda tmp: {"out": tmp / "adapter" / "adapter_config.json"}, "adapter_config.json is a file, expected a new folder"),
        (lambda tmp: {"out": "/proc/none"}, "--out: cannot write in /proc/none"),
        (lambda tmp: {"model": tmp / "none"}, "none: no modelNNNNNNNNN.pt found"),
        (lambda tmp: {"adapter": tmp / "none"}, "none/adapter_config.json: not found"),
        (lambda tmp: {"model": write_mdm(tmp / "other", text_width=24)}, "adapter: adapter version 0: "),
        (lambda tmp: {"adaptor": "x"}, "unknown flag --adaptor (did you mean --adapter?)"),
    ],
    ids=lambda value: value.replace(" ", "_") if isinstance(value, str) else "",
)
def test_bad_input_is_one_line_and_writes_nothing(mdm_folder, tmp_path, capsys, flags, message):
    policy = make_policy(mdm_folder, **KINDS["lora"])
    policy.save_adapter(tmp_path / "adapter")
    code, stderr = export(mdm_folder, tmp_path, capsys, **flags(tmp_path))
    assert code == 2 and stderr.startswith("error: ") and stderr.count("\n") == 1
    assert message in stderr
    assert not (tmp_path / "out").exists()
