"""`python -m rollout.sample`: what it writes, that an adapter folder gives the motions of the policy that saved it, and
what it refuses."""

import json
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from rollout.motion.features import features_to_joints
from rollout.motion.prompts import MotionPrompt
from rollout.motion.sample import main
from rollout.policy import Request
from tests.tiny import FRAMES, HELDOUT, TRAINING, make_policy, noisy_adapter, prepared, write_mdm, write_prompts

TEXTS = [*HELDOUT, TRAINING[0]]
KINDS = {"lora": {"lora_targets": ("v", "linear1"), "lora_rank": 2, "lora_alpha": 3}, "full": {"lora_rank": 0}}


@pytest.fixture(scope="module")
def prompts(tmp_path_factory):
    return write_prompts(tmp_path_factory.mktemp("prompts") / "prompts.txt", TEXTS)


@pytest.fixture(scope="module")
def saved(mdm_folder, tmp_path_factory):
    """Policies that were trained a little, and the folders they were saved to."""
    policies = {}
    for name, settings in KINDS.items():
        policy = make_policy(mdm_folder, **settings)
        policy.load_adapter(noisy_adapter(policy, scale=0.02))
        folder = tmp_path_factory.mktemp("saved") / "adapter"
        policy.save_adapter(folder)
        policies[name] = (policy, folder)
    return policies


@pytest.fixture
def run(mdm_folder, prompts, tmp_path, capsys):
    """Runs the command with good flags except those given; its exit code and what it wrote to stderr."""

    def run(**flags) -> tuple[int, str]:
        flags = {"prompts": prompts, "out": tmp_path / "out", "model": mdm_folder, "frames": FRAMES, **flags}
        code = main([word for name, value in flags.items() for word in (f"--{name}", str(value))])
        return code, capsys.readouterr().err

    return run


def expected(policy, seed: int = 0, samples: int = 1) -> list[np.ndarray]:
    conditionings = prepared(policy, [MotionPrompt(text, FRAMES) for text in TEXTS])
    groups = [policy.sample(Request(conditioning, samples, (seed, i), 0)) for i, conditioning in enumerate(conditionings)]
    return [features for group in groups for features in group.outputs]


def written(folder) -> list[np.ndarray]:
    return [np.load(folder / f"{entry['motion']}.features.npy") for entry in json.loads((folder / "prompts.json").read_text())]


def test_the_base_model_samples_every_prompt(run, mdm_folder, tmp_path):
    assert run(samples=2, seed=5) == (0, "")
    index = json.loads((tmp_path / "out" / "prompts.json").read_text())
    assert [entry["prompt"] for entry in index] == [text for text in TEXTS for _ in range(2)]
    np.testing.assert_array_equal(written(tmp_path / "out"), expected(make_policy(mdm_folder), seed=5, samples=2))
    for entry, features in zip(index, written(tmp_path / "out")):
        joints = np.load(tmp_path / "out" / f"{entry['motion']}.joints.npy")
        assert joints.shape == (entry["frames"], 22, 3) == (FRAMES, 22, 3)
        np.testing.assert_array_equal(joints, features_to_joints(features))
        assert f"Frames: {FRAMES}\n" in (tmp_path / "out" / f"{entry['motion']}.bvh").read_text()
    assert Image.open(tmp_path / "out" / "motions.gif").n_frames == FRAMES


def test_lengths_of_the_prompt_file_are_kept_up_to_the_longest(run, tmp_path):
    assert run(prompts=write_prompts(tmp_path / "p.txt", [f"{TEXTS[0]}\t5", f"{TEXTS[1]}\t500"])) == (0, "")
    assert [len(features) for features in written(tmp_path / "out")] == [5, FRAMES]


@pytest.mark.parametrize("kind", KINDS)
def test_an_adapter_folder_gives_the_motions_of_the_policy_that_saved_it(run, saved, mdm_folder, tmp_path, kind):
    policy, folder = saved[kind]
    assert run(adapter=folder) == (0, "")
    np.testing.assert_array_equal(written(tmp_path / "out"), expected(policy))
    assert np.abs(np.array(written(tmp_path / "out")) - expected(make_policy(mdm_folder))).max() > 0.01


def test_a_kit_model_gives_bodies_of_21_joints(run, tmp_path):
    assert run(model=write_mdm(tmp_path / "kit", dataset="kit")) == (0, "")
    assert [features.shape for features in written(tmp_path / "out")] == [(FRAMES, 251)] * len(TEXTS)
    assert np.load(tmp_path / "out" / "000.joints.npy").shape == (FRAMES, 21, 3)
    assert "JOINT r_wrist" in (tmp_path / "out" / "000.bvh").read_text()


def test_words_that_the_model_does_not_know_are_reported(run, tmp_path, caplog):
    assert run(prompts=write_prompts(tmp_path / "p.txt", ["a person juggles forward merrily"]))[0] == 0
    assert "juggles, merrily" in caplog.text


def damaged(folder, name: str, content: bytes):
    (folder / name).write_bytes(content)
    return folder


@pytest.mark.parametrize(
    "flags, message",
    [
        (lambda tmp, _: {"prompts": tmp / "none.txt"}, "none.txt: prompt file not found"),
        (lambda tmp, _: {"prompts": write_prompts(tmp / "empty.txt", [])}, "no prompts in"),
        (lambda tmp, _: {"prompts": write_prompts(tmp / "p.txt", ["zyzzyva qwerty"])}, "none of its words is in the vocabulary"),
        (lambda tmp, _: {"out": write_prompts(tmp / "used" / "p.txt", TEXTS).parent}, "used is not empty"),
        (lambda tmp, _: {"out": write_prompts(tmp / "p.txt", TEXTS)}, "p.txt is a file"),
        (lambda tmp, _: {"out": "/proc/none/out"}, "cannot write in"),
        (lambda tmp, _: {"model": tmp / "none"}, "none"),
        (lambda tmp, _: {"adapter": tmp / "none"}, "none/adapter_config.json: not found"),
        (lambda tmp, lora: {"adapter": damaged(lora, "adapter_model.safetensors", b"x" * 99)}, "adapter_model.safetensors: not a readable"),
        (lambda tmp, lora: {"adapter": damaged(lora, "adapter_config.json", b"{}")}, "adapter_config.json: found r None"),
        (lambda tmp, lora: {"adapter": damaged(lora, "denoiser.safetensors", b"")}, "denoiser.safetensors: not a readable"),
        (lambda tmp, _: {"steps": "51"}, "respacing: found '51'"),
        (lambda tmp, _: {"samples": 0}, "--samples: found 0, expected at least 1"),
        (lambda tmp, _: {"seed": -1}, "--seed: found -1"),
        (lambda tmp, _: {"guidance": "nan"}, "--guidance: found nan"),
        (lambda tmp, _: {"frames": 100}, "frames: found 100"),
        (lambda tmp, _: {"frames": "many"}, "--frames: found 'many', expected a whole number"),
        (lambda tmp, _: {"prompt": "a person walks"}, "unknown flag --prompt (did you mean --prompts?)"),
    ],
    ids=lambda value: value.replace(" ", "_") if isinstance(value, str) else "",
)  # fmt: skip
def test_bad_input_is_one_line_and_writes_nothing(run, saved, tmp_path, flags, message):
    lora = tmp_path / "adapter"
    saved["lora"][0].save_adapter(lora)
    code, stderr = run(**flags(tmp_path, lora))
    assert code == 2 and stderr.startswith("error: ") and stderr.count("\n") == 1
    assert message in stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("kind", KINDS)
def test_an_adapter_of_another_model_is_refused(run, tmp_path, kind):
    other = write_mdm(tmp_path / "other", text_width=24)
    policy = make_policy(other, lora_targets=("q", "text_in"), lora_rank=2) if kind == "lora" else make_policy(other, lora_rank=0)
    policy.save_adapter(tmp_path / "adapter")
    code, stderr = run(adapter=tmp_path / "adapter")
    assert code == 2 and stderr.count("\n") == 1 and str(tmp_path / "adapter") in stderr
    assert not (tmp_path / "out").exists()


def test_the_command_itself_needs_no_ray(mdm_folder, prompts, tmp_path):
    code = "import sys, rollout.sample; sys.exit(rollout.sample.main(sys.argv[1:]) or 'ray' in sys.modules)"
    flags = ["--prompts", str(prompts), "--out", str(tmp_path / "out"), "--model", str(mdm_folder), "--frames", str(FRAMES)]
    done = subprocess.run([sys.executable, "-c", code, *flags], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")
    assert "prompt 3/3" in done.stdout and f"motions in {tmp_path / 'out'}" in done.stdout
