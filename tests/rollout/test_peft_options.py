"""Every option that PEFT keeps in adapter_config.json is honoured, refused by name, or known to change nothing."""

import dataclasses
import json

import numpy as np
import pytest
from peft import LoraConfig

from rollout.adapter_folder import read_adapter
from rollout.io.errors import InputError
from rollout.lora import peft_files

# Each with other values than its default.
HONOURED = {"r", "lora_alpha", "target_modules", "use_rslora"}  # tests/rollout/motion/test_lora.py: the numbers are PEFT's
HARMLESS = {
    "task_type": ["CAUSAL_LM"], "auto_mapping": [{"parent_library": "x"}], "peft_version": ["0.1"], "base_model_name_or_path": ["x"],
    "revision": ["x"], "inference_mode": [False], "lora_dropout": [0.3], "megatron_core": ["x"], "qalora_group_size": [8],
}  # fmt: skip
REFUSED = {
    "peft_type": ["ADALORA", "LOHA"], "bias": ["all", "lora_only"], "use_dora": [True], "use_qalora": [True], "lora_bias": [True],
    "init_lora_weights": ["pissa", "pissa_niter_4", "olora", "eva", "corda", "loftq", "orthogonal", "lora_ga", "mica"],
    "alpha_pattern": [{"linear1": 64}], "rank_pattern": [{"linear1": 2}], "modules_to_save": [["k"]], "exclude_modules": [["k"], "k"],
    "layers_to_transform": [[0], 0], "layers_pattern": [["layers"], "layers"], "fan_in_fan_out": [True], "megatron_config": [{"x": 1}, {}],
    "trainable_token_indices": [[1], {"embed": [1]}], "target_parameters": [["weight"]], "layer_replication": [[[0, 2]]],
    "loftq_config": [{"loftq_bits": 4}], "eva_config": [{"rho": 2.0}], "corda_config": [{"x": 1}], "lora_ga_config": [{"x": 1}],
    "velora_config": [{"x": 1}, {}], "monteclora_config": [{"x": 1}, {}], "kasa_config": [{"x": 1}, {}], "arrow_config": [{"x": 1}, {}],
    "use_bdlora": [{"x": 1}, {}, True], "alora_invocation_tokens": [[7], []], "ensure_weight_tying": [True],
}  # fmt: skip
NOT_KEPT = {"runtime_config"}  # of the process that loads it


@pytest.fixture
def folder(tmp_path):
    """An adapter of ours."""
    state = {"linear1.lora_A": np.ones((4, 6), np.float32), "linear1.lora_B": np.ones((5, 4), np.float32)}
    for name, content in peft_files(state, 4, 8.0, ("linear1",)).items():
        (tmp_path / name).write_bytes(content)
    return tmp_path


def stating(folder, **options):
    file = folder / "adapter_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | options))
    return folder


def test_there_is_no_option_of_peft_that_this_list_does_not_know():
    known = {*HONOURED, *HARMLESS, *REFUSED, *NOT_KEPT}
    assert {field.name for field in dataclasses.fields(LoraConfig)} - known == set()


def test_what_peft_writes_by_itself_is_plain(folder):
    """All of its own defaults, those of a version to come too."""
    before = read_adapter(folder)[0]
    LoraConfig(r=4, lora_alpha=8, target_modules=["linear1"]).save_pretrained(folder)
    assert read_adapter(folder)[0] == before


@pytest.mark.parametrize("option, value", [(name, value) for name, values in HARMLESS.items() for value in values])
def test_what_changes_nothing_is_read_past(folder, option, value):
    assert read_adapter(folder)[0] == read_adapter(stating(folder, **{option: value}))[0]


@pytest.mark.parametrize("option, value", [(name, value) for name, values in REFUSED.items() for value in values])
def test_what_would_change_the_numbers_is_refused_by_name(folder, option, value):
    with pytest.raises(InputError) as caught:
        read_adapter(stating(folder, **{option: value}))
    assert str(caught.value).startswith(f"{folder}/adapter_config.json: found {option} {value!r}, expected plain LoRA")
