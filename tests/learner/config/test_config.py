"""Defaults < file < flags; unknown or wrong is one clear line; what is written loads back."""

import os
import pickle
import re
import subprocess
import sys

import pytest
import yaml

from learner.config.parse import flatten, parse_config, write_config
from learner.config.settings import Config, Optimizer, settings
from learner.evaluate.family import settings_of
from learner.evaluate.motion.settings import EvaluateConfig
from rollout.io.errors import InputError
from rollout.motion.settings import Model

SETTINGS = settings(Config)


def write(tmp_path, text, name="run.yaml"):
    path = tmp_path / name
    path.write_text(text)
    return str(path)


def refused(*argv):
    with pytest.raises(InputError) as caught:
        parse_config(list(argv))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_without_flags_it_is_the_default_config():
    assert parse_config([]) == Config()


def test_flags_beat_the_file_and_the_file_beats_defaults(tmp_path):
    path = write(tmp_path, "seed: 3\niterations: 7\nrollout:\n  group_size: 16\n  trained_steps: 2\n")
    config = parse_config(["--config", path, "--iterations", "9", "--rollout.group_size", "4"])
    assert (config.seed, config.iterations) == (3, 9)
    assert (config.rollout.group_size, config.rollout.trained_steps) == (4, 2)
    assert config.rollout.prompts_per_iteration == Config().rollout.prompts_per_iteration


def test_of_two_files_the_later_wins(tmp_path):
    first = write(tmp_path, "seed: 3\niterations: 7\n", "first.yaml")
    config = parse_config(["--config", first, "--config", write(tmp_path, "seed: 4\n", "second.yaml")])
    assert (config.seed, config.iterations) == (4, 7)


def test_every_type_from_a_file_and_from_a_flag(tmp_path):
    text = "model: {steps: 50, guidance: 3, path: null}\nlora: {enabled: no, targets: [q, v]}\noptimizer: {learning_rate: 3e-4}\n"
    from_file = parse_config(["--config", write(tmp_path, text)])
    flags = "--model.steps 50 --model.guidance 3 --model.path null --lora.enabled no --lora.targets q,v"
    assert from_file == parse_config([*flags.split(), "--optimizer.learning_rate", "3e-4"])
    assert from_file.model.steps == "50" and from_file.lora.targets == ("q", "v") and from_file.lora.enabled is False
    assert from_file.optimizer.learning_rate == 3e-4


def test_the_original_flags_work():
    flags = (
        "--model_path m.pt --save_dir out --dataset humanml --batch_size 3 --group_size 5 --num_steps 50 --device 2 --train_platform_type NoPlatform --learning_rate 1e-3 --use_lora"
        " --lora_r 4 --lora_alpha 8 --clip_epsilon 0.2 --kl_penalty 0.1 --advantage_eps 1e-8 --use_checkpointing"
        " --reward_model_type mdm --reward_type matching"
    )
    expected = {
        "model.path": os.path.abspath("m.pt"), "run_dir": os.path.abspath("out"), "model.dataset": "humanml", "rollout.prompts_per_iteration": 3,
        "rollout.group_size": 5, "iterations": 50, "cluster.device": 2, "optimizer.learning_rate": 1e-3, "lora.enabled": True, "lora.r": 4,
        "lora.alpha": 8.0, "objective.clip_epsilon": 0.2, "objective.kl_penalty": 0.1, "objective.advantage_eps": 1e-8,
        "optimizer.use_checkpointing": True, "reward.components.t2m.path": "t2m.matching",
    }  # fmt: skip
    given = flatten(parse_config(flags.split()))
    assert {key: given[key] for key in expected} == expected
    assert given | expected == given


@pytest.mark.parametrize("flags, enabled", [("--use_lora false", False), ("--use_lora", True), ("--lora false", False)])
def test_lora_as_a_switch_or_with_a_value(flags, enabled):
    assert parse_config(flags.split()).lora.enabled is enabled


def test_sections_with_one_main_choice_may_be_given_as_that_choice(tmp_path):
    config = parse_config(["--config", write(tmp_path, "lora: false\nobjective: trajectory\n")])
    assert config.lora.enabled is False and config.objective.kind == "trajectory"


@pytest.mark.parametrize("given, low, high", [(4, 4, 4), ("4", 4, 4), ("2..16", 2, 16), (" 3..3 ", 3, 3)])
def test_samplers_are_a_number_or_a_range_and_written_as_they_were_given(tmp_path, given, low, high):
    in_file = parse_config(["--config", write(tmp_path, f"cluster: {{samplers: {given}}}")])
    assert in_file == parse_config(["--cluster.samplers", str(given)]) == Config(cluster={"samplers": given})
    assert (in_file.cluster.samplers.low, in_file.cluster.samplers.high) == (low, high)
    assert flatten(in_file)["cluster.samplers"] == (low if low == high else given)


def test_a_file_of_before_says_what_to_write_now(tmp_path):
    path = write(tmp_path, "cluster: {samplers: 6, min_samplers: 3}")
    message = "cluster.min_samplers: there is no such setting any more, expected its number as the first of cluster.samplers, such as 3..6"
    assert refused("--config", path) == f"{path}: {message}"


def test_what_is_written_loads_back_to_the_same_config(tmp_path):
    flags = "--cluster.samplers 2..4 --seed 7 --model.steps= --lora.targets q,v --learning_rate 3e-5 --reward.components.a.path my.module:Mine --reward.components.a.weight -1e-3 --cluster.gpus_per_actor 0.5 --run_dir é"
    config = parse_config(flags.split())
    write_config(config, tmp_path / "config.yaml")
    assert parse_config(["--config", str(tmp_path / "config.yaml")]) == config
    assert set(yaml.safe_load((tmp_path / "config.yaml").read_text())) == Config.model_fields.keys()


def test_dict_and_flat_views_hold_every_setting():
    config = parse_config(["--seed", "7"])
    named = dict.fromkeys(re.sub(r"(reward.components)\..*", r"\1", key) for key in flatten(config))
    assert list(named) == list(SETTINGS)
    assert flatten(config)["seed"] == config.to_dict()["seed"] == 7
    assert flatten(config)["lora.targets"] == config.to_dict()["lora"]["targets"] == ["q", "k", "v", "out", "linear1", "linear2"]


@pytest.mark.parametrize(
    "flags, message",
    [
        ("--optimizer.learning_rate -1", "--optimizer.learning_rate: found -1, expected a number above 0"),
        ("--learning_rate -1e-4", "--learning_rate: found -1e-4, expected a number above 0"),
        ("--learning_rate 0", "--learning_rate: found 0, expected a number above 0"),
        ("--learning_rate nan", "--learning_rate: found nan, expected a finite number"),
        ("--kl_penalty inf", "--kl_penalty: found inf, expected a finite number"),
        ("--group_size 1", "--group_size: found 1, expected at least 2 (a group of one has no baseline)"),
        ("--iterations 0", "--iterations: found 0, expected at least 1"),
        ("--seed -1", "--seed: found -1, expected at least 0"),
        ("--optimizer.ema_decay 1", "--optimizer.ema_decay: found 1, expected a number below 1"),
        ("--seed 1.5", "--seed: found '1.5', expected a whole number"),
        ("--group_size many", "--group_size: found 'many', expected a whole number"),
        ("--lora.enabled perhaps", "--lora.enabled: found 'perhaps', expected true or false"),
        ("--objective.kind ppo", "--objective.kind: found 'ppo', expected one of grpo, trajectory, awm, nft"),
        ("--objective nft --objective.clip_epsilon 0.1", "--objective.clip_epsilon: found 0.1, expected its default 1e-05:"),
        ("--objective awm --objective.ratio raw", "--objective.ratio: found 'raw', expected its default ratio_norm: objective.kind awm"),
        ("--objective trajectory --objective.step_weight none", "--objective.step_weight: found 'none', expected its default x0:"),
        ("--objective.anchor average --objective.kl_penalty 0.1", "--objective.anchor: found 'average', expected its default reference: obj"),
        ("--config awm --objective.anchor average --objective.kl_penalty 0", "--objective.anchor: found 'average', expected reference, or"),
        ("--config awm --objective.anchor average --lora.enabled false", "--objective.anchor: found 'average', expected reference without lora"),
        ("--objective.nft_beta 0.3", "--objective.nft_beta: found 0.3, expected its default 1.0: objective.kind grpo does not"),
        ("--model.ddim_eta 0", "--model.ddim_eta: found 0, expected a number above 0: steps without noise have no"),
        ("--objective awm --model.ddim_eta 0", "rollout.shared_initial_noise: found True, expected false: at model.ddim_eta 0 all motions"),
        ("--rollout.trained_samples 6 --group_size 6", "--rollout.trained_samples: found 6, expected an even number from 4 to less than"),
        ("--rollout.trained_samples 5", "--rollout.trained_samples: found 5, expected an even number from 4"),
        ("--rollout.trained_samples 2", "--rollout.trained_samples: found 2, expected an even number from 4"),
        ("--rollout.stochastic_steps 4", "--rollout.stochastic_steps: found 4, expected from rollout.trained_steps, 5, to 7, those that can be"),
        ("--rollout.stochastic_steps 8", "--rollout.stochastic_steps: found 8, expected from rollout.trained_steps, 5, to 7"),
        ("--objective awm --rollout.stochastic_steps 5", "--rollout.stochastic_steps: found 5, expected null: objective.kind awm reads no chain"),
        ("--objective.guidance_gradient both --objective awm", "--objective.guidance_gradient: found 'both', expected its default conditional"),
        ("--objective.guidance_gradient both --model.guidance 1", "--objective.guidance_gradient: found 'both', expected conditional: without"),
        ("--objective.guidance_gradient both --family language", "--objective.guidance_gradient: found 'both', expected conditional: without"),
        ("--family language --objective nft", "--objective: found 'nft', expected grpo or trajectory: the family language has no policy"),
        ("--dataset amass", "--dataset: found 'amass', expected one of"),
        ("--cluster.max_staleness 2", "--cluster.max_staleness: found 2, expected a number below 2"),
        ("--cluster.min_samplers 3", "--cluster.min_samplers: there is no such setting any more, expected its number as the first of cluster.samplers"),
        ("--cluster.samplers 0", "--cluster.samplers: found 0, expected at least 1"),
        ("--cluster.samplers 0..4", "--cluster.samplers: found 0..4, expected at least 1"),
        ("--cluster.samplers 4..2", "--cluster.samplers: found '4..2', expected a whole number, or a range such as 2..16 of at most 1024"),
        ("--cluster.samplers 1..1025", "--cluster.samplers: found '1..1025', expected a whole number, or a range"),
        ("--cluster.samplers 2..", "--cluster.samplers: found '2..', expected a whole number, or a range"),
        ("--cluster.samplers auto", "--cluster.samplers: found 'auto', expected a whole number, or a range"),
        ("--cluster.samplers 2..4 --cluster.gpus_per_actor 2", "--cluster.gpus_per_actor: found 2.0, expected at most 1 beside cluster.samplers 2..4"),
        ("--evaluate.on_divergence stop --evaluate.every 0", "--evaluate.on_divergence: found 'stop', expected evaluate.every above 0"),
        ("--evaluate.patience 0 --evaluate.every 2", "--evaluate.patience: found 0, expected at least 1"),
        ("--model.steps fast", "--model.steps: found 'fast', expected a number of steps"),
        ("--model.steps 0", "--model.steps: found '0', expected a number of steps"),
        ("--rollout.trained_steps 8", "--rollout.trained_steps: found 8, expected at most 7 (of 10 steps"),
        ("--model.steps ddim8 --rollout.trained_steps 6", "--rollout.trained_steps: found 6, expected at most 5 (of ddim8 steps"),
        ("--lora.targets q,z", "--lora.targets: found ['q', 'z'], expected one or more different names of q, k, v"),
        ("--lora.targets q,q", "--lora.targets: found ['q', 'q'], expected one or more different names"),
        ("--run_dir=", "--run_dir: found '', expected text that is not empty"),
        ("--model.guidnce 3", "unknown flag --model.guidnce (did you mean --model.guidance?)"),
        ("--model.dtype bf16", "--model.dtype: there is no such setting any more, expected cluster.precision"),
        ("--cluster.precision fp16", "--cluster.precision: found 'fp16', expected one of fp32, tf32, bf16"),
        ("--iter 3", "unknown flag --iter (did you mean --iterations?)"),
        ("--train_platform_type ClearmlPlatform", "--train_platform_type: found 'ClearmlPlatform', expected NoPlatform, TensorboardPlatform or"),
        ("--num_steps ddim8", "--num_steps: found 'ddim8', expected a whole number"),
        ("--lora_r 8 lora_alpha 16 --seed 1", "unknown flag lora_alpha (did you mean --lora_alpha 16?)"),
        ("stray", "unknown flag stray"),
        ("--seed", "--seed: expected one argument"),
        ("--config nowhere.yaml", "--config: nowhere.yaml not found"),
    ],
)
def test_bad_flags_are_one_clear_line(flags, message):
    assert refused(*flags.split()).startswith(message)


@pytest.mark.parametrize(
    "text, message",
    [
        ("iteration: 3", "unknown key iteration (did you mean iterations?)"),
        ("model: {guidnce: 3}", "unknown key model.guidnce (did you mean model.guidance?)"),
        ("family: language\nmodel: {dtype: bf16}", "model.dtype: there is no such setting any more, expected cluster.precision"),
        ("1: 2", "unknown key 1"),
        ("seed: 1\nseed: 2", "line 1: not valid YAML (key 'seed' is given twice)"),
        ("model: [1", "line 1: not valid YAML"),
        ("seed: !!python/object/apply:os.getcwd []", "line 1: not valid YAML"),
        ("seed: true", "seed: found True, expected a whole number"),
        ("seed: 1.0", "seed: found 1.0, expected a whole number"),
        ("seed: null", "seed: found None, expected a whole number"),
        ("model: 5", "model: found 5, expected a section of keys and values"),
        ("lora: {targets: 5}", "lora.targets: found 5, expected a list of names"),
        ("reward: {judge: clip}", "reward.judge: found 'clip', expected one of tmr, t2m"),
        ("reward: {type: tmr}", "unknown key reward.type"),
        ("reward: {components: 5}", "reward.components: found 5, expected a name and its settings for each component"),
        ("model: {guidance: [1]}", "model.guidance: found [1], expected a number"),
        ("- 1", "found a list, expected keys and values"),
    ],
)
def test_bad_files_are_one_clear_line_that_names_the_file(tmp_path, text, message):
    path = write(tmp_path, text)
    assert refused("--config", path).startswith(f"{path}: {message}")


def test_a_config_file_that_is_not_text_is_refused(tmp_path):
    (tmp_path / "bytes.yaml").write_bytes(b"\xff\xfe\x00")
    assert "cannot read" in refused("--config", str(tmp_path / "bytes.yaml"))
    assert "cannot read" in refused("--config", str(tmp_path))


def test_an_empty_file_and_an_empty_section_change_nothing(tmp_path):
    assert parse_config(["--config", write(tmp_path, "")]) == Config()
    assert parse_config(["--config", write(tmp_path, "model:\n")]) == Config()


@pytest.mark.parametrize(
    "flags",
    [
        "--objective awm --rollout.trained_steps 20 --objective.clip_epsilon 0.01 --cluster.max_staleness 1",
        "--objective nft --objective.nft_beta 0.5 --model.ddim_eta 0 --rollout.shared_initial_noise false --model.steps 2",
        "--family language --objective trajectory --rollout.trained_samples 4",
        "--objective grpo --rollout.trained_samples 8 --rollout.stochastic_steps 5 --objective.guidance_gradient both",
    ],
)
def test_settings_that_go_together_are_taken(flags):
    assert parse_config(flags.split()).objective.kind in flags


def test_a_config_built_in_code_is_checked_too():
    with pytest.raises(InputError, match="^learning_rate: found -1.0, expected a number above 0$"):
        Optimizer(learning_rate=-1.0)
    with pytest.raises(InputError, match="^optimizer.learning_rate: found -1.0, expected a number above 0$"):
        Config(optimizer={"learning_rate": -1.0})
    with pytest.raises(InputError, match="^rollout.trained_steps: found 8, expected at most 7"):
        Config().replace(rollout=Config().rollout.replace(trained_steps=8))
    with pytest.raises(InputError, match="^guidnce: unknown setting, expected one of path, stats"):
        Model(guidnce=3)


def test_a_config_travels_and_is_frozen():
    config = parse_config(["--seed", "3", "--lora.targets", "q,v"])
    assert pickle.loads(pickle.dumps(config)) == config != Config()
    with pytest.raises(ValueError, match="frozen"):
        config.seed = 4


def test_a_family_that_is_not_there_is_one_line_that_names_those_there_are(tmp_path):
    path = write(tmp_path, "family: speech\nmodel: {voice: 1}\n")
    assert refused("--config", path) == f"{path}: family: found 'speech', expected one of motion, language"
    assert refused("--family", "speech", "--config", path) == "--family: found 'speech', expected one of motion, language"
    assert parse_config(["--family", "motion", "--config", write(tmp_path, "seed: 1")]) == Config(seed=1)


def test_every_setting_is_explained():
    assert [key for key, field in SETTINGS.items() if len(field.description) < 10] == []


def test_help_lists_every_flag_alias_and_section_and_ends_well(capsys):
    with pytest.raises(SystemExit) as caught:
        parse_config(["--help"])
    assert caught.value.code == 0
    shown = capsys.readouterr().out
    keys = [key.replace("reward.components", "reward.components.NAME.KEY") for key in SETTINGS]
    flags = [f"--{key}" for key in keys] + [alias for field in SETTINGS.values() for alias in field.json_schema_extra["flags"]]
    assert [flag for flag in flags if f"{flag} " not in shown] == []
    assert "(default: 2.5)" in shown and "classifier-free guidance" in shown


def test_a_list_given_again_grows_and_other_flags_are_replaced():
    config = parse_config(["--lora.targets", "q,k", "--seed", "1", "--lora.targets", "v", "--seed", "2"])
    assert (config.lora.targets, config.seed) == (("q", "k", "v"), 2)


def test_the_same_machinery_reads_the_settings_of_another_command(tmp_path, capsys):
    path = write(tmp_path, "samples: 640\nmodel:\n  frames: 60\n")
    config = parse_config(["--config", path, "--adapter", "a", "--adapter", "b=c"], EvaluateConfig)
    assert config == EvaluateConfig(adapter=("a", "b=c"), samples=640, model=Model(frames=60))
    with pytest.raises(InputError, match="unknown flag --iterations"):
        parse_config(["--iterations", "3"], EvaluateConfig)
    with pytest.raises(SystemExit):
        parse_config(["--help"], EvaluateConfig, "learner.evaluate", "What it does.", "The end.")
    text = capsys.readouterr().out
    assert text.startswith("usage: python -m learner.evaluate") and "What it does." in text and text.endswith("The end.\n")
    assert "--adapter" in text and "--iterations" not in text


def test_another_command_takes_of_a_runs_settings_what_it_has_too(tmp_path):
    run = parse_config(["--iterations", "3", "--model.frames", "60", "--cluster.samplers", "3", "--lora", "false"])
    write_config(run, tmp_path / "config.yaml")
    flags = ["--config", str(tmp_path / "config.yaml")]
    with pytest.raises(InputError, match="config.yaml: unknown key"):
        parse_config(flags, settings_of)  # a file of its own says what it means
    (tmp_path / "run.json").write_text("{}")
    found = parse_config(flags, settings_of)
    assert (found.model, found.cluster, found.seed, found.samples) == (run.model, run.cluster, 0, 1000)
    assert found.reward.components == run.reward.components
    (tmp_path / "config.yaml").write_text("iterattions: 3\n")
    with pytest.raises(InputError, match="unknown key iterattions"):
        parse_config(flags, settings_of)


def test_reading_the_config_does_not_load_the_heavy_libraries():
    code = "import sys, learner.config; print([m for m in ('torch', 'ray', 'mlflow', 'peft') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
