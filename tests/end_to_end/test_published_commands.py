"""The commands that the original implementation published, as people type them, on small files in the official formats.

`train.train_grpo`'s flags are given to `learner.main`, with --dry_run; `eval.eval_humanml`'s to `learner.evaluate`.
"""

import importlib.util
import shutil

import pytest
import torch

from learner.config.parse import parse_config
from learner.evaluate.motion.plan import Evaluation
from learner.evaluate.motion.settings import EvaluateConfig
from learner.main import main
from rewards.motion.tmr import ActorDecoder

FIRST = (
    "--model_path ./save/official_humanml_enc_512_50steps/model000750000.pt --save_dir ./save/grpo_finetuned --dataset humanml"
    " --batch_size 1 --group_size 4 --num_steps 10000 --learning_rate 1e-6 --reward_model_type mdm --reward_type matching --device 0"
)
LORA = (
    "--model_path ./save/pretrained_model/model000200000.pt --save_dir ./save/grpo_finetuned --dataset humanml --batch_size 1"
    " --group_size 4 --num_steps 10000 --learning_rate 5e-7 --use_lora --lora_r 8 --lora_alpha 16"
)
TMR = (
    "--reward_model_type tmr --tmr_text_encoder_path ./tmr_weights/text_encoder.pt"
    " --tmr_motion_encoder_path ./tmr_weights/motion_encoder.pt --tmr_movement_encoder_path ./tmr_weights/motion_decoder.pt"
)
DISTANCE = f"{TMR} --reward_type matching --tmr_similarity_type euclidean"
COMMANDS = {
    FIRST: {"t2m": "t2m.matching"},
    f"{LORA} --reward_model_type mdm --reward_type matching --device 0": {"t2m": "t2m.matching"},
    f"{LORA} --num_steps 15000 --reward_model_type mdm --reward_type r_precision --device 4": {"t2m": "t2m.r_precision"},
    f"{LORA} --num_steps 15000 --reward_model_type mdm --reward_type combined --device 1": {"t2m": "t2m.combined"},
    f"{LORA} {TMR} --reward_type cosine --device 2": {"tmr": "tmr.cosine"},
    f"{LORA} {TMR} --reward_type matching --tmr_similarity_type cosine --device 1": {"tmr": "tmr.matching"},
    f"{LORA} {DISTANCE} --tmr_normalization linear --tmr_max_distance 10.0": {"tmr": "tmr.matching"},
    f"{LORA} {DISTANCE} --tmr_normalization exponential --tmr_scale 2.0": {"tmr": "tmr.matching"},
    f"{LORA} {DISTANCE} --tmr_normalization sigmoid --tmr_scale 2.0": {"tmr": "tmr.matching"},
    f"{LORA} --tmr_checkpoint_path ./path/to/tmr/checkpoint.pth --reward_type cosine --batch_size 2 --group_size 4 --use_lora": {"tmr": "tmr.cosine"},
    f"{FIRST} --kl_penalty 1.0 --clip_epsilon 0.1 --advantage_eps 1e-8 --use_checkpointing": {"t2m": "t2m.matching"},
    f"{FIRST} --train_platform_type NoPlatform": {"t2m": "t2m.matching"},
}


@pytest.fixture(scope="module")
def checkout(tiny, tmp_path_factory):
    """A folder with every file that the commands name, and `own.yaml` with small prompts and evaluators beside them."""
    root = tmp_path_factory.mktemp("checkout")
    for name, step in (("official_humanml_enc_512_50steps", 750000), ("pretrained_model", 200000), ("humanml_trans_enc_512", 475000)):
        folder = tiny.write_mdm(root / "save" / name, mask_frames=True)
        next(folder.glob("model*.pt")).rename(folder / f"model{step:09}.pt")
    tmr = tiny.write_tmr(root / "tmr")
    states = {name: torch.load(tmr / "last_weights" / f"{name}.pt", weights_only=True) for name in ("text_encoder", "motion_encoder")}
    decoder = ActorDecoder(263, 16, 24, 2, 4).state_dict()
    for folder, files in (("tmr_weights", {**states, "motion_decoder": decoder}), ("path/to/tmr", {})):
        shutil.copytree(tmr, root / folder, ignore=shutil.ignore_patterns("last_weights"))
        for name, state in files.items():
            torch.save(state, root / folder / f"{name}.pt")
    torch.save(states, root / "path" / "to" / "tmr" / "checkpoint.pth")
    tiny.write_t2m(root / "t2m")
    tiny.write_prompts(root / "training.txt", tiny.TRAINING)
    tiny.write_prompts(root / "heldout.txt", tiny.HELDOUT)
    tiny.write_motions(root / "HumanML3D")
    (root / "own.yaml").write_text(
        "model: {frames: 12}\nrollout: {prompts: training.txt}\nevaluate: {heldout: heldout.txt}\nreward: {t2m_path: t2m}\n"
    )
    return root


@pytest.mark.parametrize("command", COMMANDS, ids=range(len(COMMANDS)))
def test_a_published_training_command_is_understood(checkout, monkeypatch, capsys, command):
    monkeypatch.chdir(checkout)
    words = ["--config", "own.yaml", *command.split(), *([] if "--tmr_" in command else ["--reward.tmr_path", "tmr"])]
    config = parse_config(words)
    assert {name: part["path"] for name, part in config.reward.components.items() if name != "foot_skate"} == COMMANDS[command]
    assert config.iterations == (15000 if "15000" in command else 10000) and config.model.steps == "10"
    assert main([*words, "--dry_run"]) == 0
    shown = capsys.readouterr().out
    assert f"{config.rollout.prompts_per_iteration} prompts x 4 samples" in shown and f"{config.iterations} iterations" in shown
    assert f"/save/{'official' if command.startswith(FIRST) else 'pretrained'}" in shown and "nothing was started" in shown
    assert not (checkout / "save" / "grpo_finetuned").exists()


def test_the_published_slip_is_told_what_was_meant(capsys):
    assert main([*LORA.replace("--lora_alpha", "lora_alpha").split(), "--dry_run"]) == 2
    assert "unknown flag lora_alpha (did you mean --lora_alpha 16?)" in capsys.readouterr().err


@pytest.mark.parametrize("platform, package", [("TensorboardPlatform", "tensorboard"), ("WandBPlatform", "wandb"), ("ClearmlPlatform", None)])
def test_a_platform_is_taken_or_answered(checkout, monkeypatch, capsys, platform, package):
    monkeypatch.chdir(checkout)
    status = main(["--config", "own.yaml", *FIRST.split(), "--reward.tmr_path", "tmr", "--train_platform_type", platform, "--dry_run"])
    stderr = capsys.readouterr().err
    if package and importlib.util.find_spec(package):
        assert status == 0
    else:
        said = f"pip install 'motion-grpo[{package}]'" if package else "ClearML gets nothing, and MLflow has every run"
        assert status == 2 and stderr.startswith("error: ") and stderr.count("\n") == 1 and said in stderr


def test_the_published_evaluation_is_understood(checkout, monkeypatch):
    monkeypatch.chdir(checkout)
    flags = "--model_path ./save/humanml_trans_enc_512/model000475000.pt"
    files = "--data HumanML3D --reward.t2m_path t2m --reward.tmr_path tmr --model.frames 12"
    evaluation = Evaluation.make(parse_config([*flags.split(), *files.split()], EvaluateConfig))
    assert evaluation.models[0].settings.model.checkpoint == checkout / "save" / "humanml_trans_enc_512" / "model000475000.pt"
    assert evaluation.config.rounds == 20
