"""Whatever a checkpoint or an adapter holds, it loads or is refused in one line that names the file: no other exception, no code run."""

import json
import zipfile

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rollout.io.errors import InputError
from rollout.motion.adapter_folder import load_policy
from rollout.motion.checkpoint import load_checkpoint
from rollout.motion.diffusion_policy import MotionPolicySettings
from rollout.motion.settings import Model
from tests.hostile import JUNK, NUMBERS, bounded, changed, changes, refused, survives, trapped
from tests.mistreated import mistreated
from tests.rollout.checkpoint_files import FILES, WEIGHTS
from tests.tiny import ARGS, FRAMES, make_policy, write_mdm


@pytest.fixture(scope="module")
def mdm(tmp_path_factory):
    return write_mdm(tmp_path_factory.mktemp("hostile"))


@pytest.fixture(scope="module")
def adapter(mdm, tmp_path_factory):
    folder = tmp_path_factory.mktemp("hostile") / "adapter"
    make_policy(mdm).save_adapter(folder)
    return folder


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("hostile")


# Checkpoints ------------------------------------------------------------------------------------------------------------


@given(name=st.sampled_from(FILES), change=changes())
def test_damaged_checkpoints(mdm, name, change):
    with changed(mdm / name, change((mdm / name).read_bytes())):
        survives(lambda: load_checkpoint(mdm), mdm)


@given(args=st.dictionaries(st.sampled_from(sorted(ARGS)), JUNK, max_size=2))
def test_args_of_any_json(mdm, args):
    stated = json.loads((mdm / "args.json").read_text())
    with changed(mdm / "args.json", json.dumps({**stated, **args}).encode()), bounded():
        survives(lambda: make_policy(mdm, lora_rank=0), mdm, "noise_schedule", "respacing", "frames")


@pytest.mark.parametrize("name", [WEIGHTS, "text_encoder.pt"])
@given(data=st.data())
def test_mistreated_tensors_of_checkpoints(mdm, place, name, data):
    torch.save(mistreated(torch.load(mdm / name, weights_only=True), data), place / "weights.pt")
    with changed(mdm / name, (place / "weights.pt").read_bytes()), bounded():
        survives(lambda: load_checkpoint(mdm), mdm)


def test_a_tensor_that_claims_more_than_is_stored_is_refused(mdm, place):
    state = torch.load(mdm / WEIGHTS, weights_only=True)
    name = next(name for name in state if name.endswith("in_proj_weight"))
    torch.save({**state, name: torch.zeros(1).expand(30_000, 20_000)}, place / "claims.pt")
    with changed(mdm / WEIGHTS, (place / "claims.pt").read_bytes()), bounded():
        assert "not stored whole" in refused(lambda: load_checkpoint(mdm), mdm / WEIGHTS)


def test_weights_that_are_code_bombs_or_loops(mdm, tmp_path):
    loop = []
    loop.append(loop)
    laugh = [torch.zeros(1)]
    for _ in range(60):
        laugh = [laugh] * 10
    torch.save({"model": laugh, "loop": loop}, tmp_path / "laugh.pt")
    with zipfile.ZipFile(tmp_path / "zip.pt", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", bytes(2**29))
    files = {
        "laugh": (tmp_path / "laugh.pt").read_bytes(),
        "zip": (tmp_path / "zip.pt").read_bytes(),
        "code": trapped(tmp_path / "sprung"),
        "code2": trapped(tmp_path / "sprung", 2),
    }
    for content in files.values():
        with changed(mdm / WEIGHTS, content), bounded():
            refused(lambda: load_checkpoint(mdm), mdm / WEIGHTS)
    assert not (tmp_path / "sprung").exists()


# Adapters ---------------------------------------------------------------------------------------------------------------


def check_adapter(mdm, adapter):
    with bounded():
        survives(lambda: load_policy(MotionPolicySettings(Model(path=str(mdm), frames=FRAMES)), adapter), adapter, "lora targets")


@given(name=st.sampled_from(["adapter_config.json", "adapter_model.safetensors"]), change=changes())
def test_damaged_adapters(mdm, adapter, name, change):
    with changed(adapter / name, change((adapter / name).read_bytes())):
        check_adapter(mdm, adapter)


@given(changed_keys=st.dictionaries(st.sampled_from(["r", "lora_alpha", "target_modules"]), NUMBERS | JUNK, min_size=1, max_size=2))
def test_adapter_configs_of_any_json(mdm, adapter, changed_keys):
    stated = json.loads((adapter / "adapter_config.json").read_text())
    with changed(adapter / "adapter_config.json", json.dumps({**stated, **changed_keys}).encode()):
        check_adapter(mdm, adapter)


@pytest.mark.parametrize(
    "targets", [["dropout"], ["layers"], ["norm1"], ["positions"], ["q", "nowhere"], ["layers.0"], [".*"], ["q", "q"], "all-linear"]
)
def test_adapters_of_modules_that_cannot_have_one(mdm, adapter, targets):
    stated = json.loads((adapter / "adapter_config.json").read_text())
    with changed(adapter / "adapter_config.json", json.dumps({**stated, "target_modules": targets}).encode()):
        survives(lambda: load_policy(MotionPolicySettings(Model(path=str(mdm), frames=FRAMES)), adapter), adapter, "lora targets")


@given(data=st.data())
def test_mistreated_tensors_of_adapters(mdm, adapter, place, data):
    from safetensors.torch import load_file, save

    state = mistreated(load_file(adapter / "adapter_model.safetensors"), data)
    try:
        content = save({name: value.contiguous() for name, value in state.items()})
    except Exception:
        return  # nothing that the format can hold
    with changed(adapter / "adapter_model.safetensors", content):
        check_adapter(mdm, adapter)


def test_an_adapter_with_two_tensors_exchanged_is_refused(mdm, adapter):
    from safetensors.torch import load_file, save

    state = load_file(adapter / "adapter_model.safetensors")
    a, b = (next(name for name in state if f"linear{i}.lora_A" in name) for i in (1, 2))
    with changed(adapter / "adapter_model.safetensors", save({**state, a: state[b], b: state[a]})):
        with pytest.raises(InputError):
            load_policy(MotionPolicySettings(Model(path=str(mdm), frames=FRAMES)), adapter)
