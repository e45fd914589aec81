"""What an evaluation checks before anything starts: each mistake is one clear line."""

import itertools
import json
import shutil

import numpy as np
import pytest

from learner.config.parse import parse_config
from learner.evaluate.motion.measures import Reader
from learner.evaluate.motion.plan import EncodedPools, Evaluation, stored_real_motion
from learner.evaluate.motion.settings import EvaluateConfig
from rewards.motion.evaluators import SHIPPED
from rollout.io.errors import InputError
from rollout.motion.family import MOTION
from rollout.motion.prompts import MotionPrompt, read_prompts
from rollout.motion.skeleton import KIT
from tests.humanml_folder import write_folder
from tests.tiny import FRAMES, WORDS, make_policy, noisy_adapter, prepared, write_evaluate_config, write_mdm, write_prompts


@pytest.fixture(scope="module")
def config_file(tmp_path_factory):
    return write_evaluate_config(tmp_path_factory.mktemp("evaluate"))


@pytest.fixture(scope="module")
def kit_file(tmp_path_factory):
    return write_evaluate_config(tmp_path_factory.mktemp("kit"), KIT)


@pytest.fixture(scope="module")
def adapter(config_file, tmp_path_factory):
    """The adapter/ folder of a run named tuned."""
    policy = make_policy(config_file.parent / "mdm")
    policy.load_adapter(noisy_adapter(policy))
    folder = tmp_path_factory.mktemp("runs") / "tuned" / "adapter"
    policy.save_adapter(folder)
    return folder


def parsed(config_file, *flags) -> EvaluateConfig:
    return parse_config(["--config", str(config_file), *map(str, flags)], EvaluateConfig)


def test_rows_are_base_then_adapters_with_their_own_rank_under_the_name_of_their_run(config_file, adapter):
    evaluation = Evaluation.make(parsed(config_file, "--adapter", adapter, "--adapter", f"again={adapter}"))
    assert [model.name for model in evaluation.models] == ["base", "tuned", "again"]
    base, tuned, again = evaluation.models
    assert (base.settings.lora_rank, tuned.settings.lora_rank) == (0, 4)
    assert tuned.adapter.sha256 == again.adapter.sha256 != base.adapter.sha256
    assert (base.source, tuned.source) == (None, str(adapter))


def test_a_fully_trained_model_is_a_row_too_and_needs_no_other_sampler(config_file, tmp_path):
    policy = make_policy(config_file.parent / "mdm", lora_rank=0)
    policy.load_adapter(noisy_adapter(policy))
    policy.save_adapter(tmp_path / "full")
    base, full = Evaluation.make(parsed(config_file, "--adapter", tmp_path / "full")).models
    assert (full.name, full.settings) == ("full", base.settings) and full.adapter.sha256 != base.adapter.sha256


def test_captions_are_encoded_once_and_batches_carry_their_lengths(config_file):
    evaluation = Evaluation.make(parsed(config_file))
    batches = evaluation.replications.batches(0)
    conditionings, seeds, (lengths, generated, prompts) = EncodedPools(batches, evaluation.encoded)[3]
    assert generated and prompts == batches[3].prompts and lengths.tolist() == [prompt.length for prompt in batches[3].prompts]
    assert [conditioning.prompt for conditioning in conditionings] == batches[3].prompts and seeds == batches[3].seeds
    expected = prepared(make_policy(config_file.parent / "mdm"), batches[3].prompts)
    assert [conditioning.digest for conditioning in conditionings] == [conditioning.digest for conditioning in expected]


def test_what_was_left_out_or_cut_short_is_said(config_file):
    notes = Evaluation.make(parsed(config_file)).notes
    assert any(note.startswith("real motion: 40 motions of ") for note in notes)
    assert any("at most 12 frames" in note for note in notes) and any("fewer than 320 motions" in note for note in notes)


@pytest.mark.parametrize(
    "flags, message",
    [
        (["--adapter", "nowhere"], "nowhere/adapter_config.json: not found; expected the adapter/ folder of a run"),
        (["--data", "nowhere"], "nowhere"),
        (["--split", "train"], "train.txt"),
        (["--samples", "300"], "samples: found 300, expected a number above 300"),
        (["--replications", "1"], "replications: found 1, expected at least 2"),
        (["--multimodality", "3"], "multimodality: found 3, expected at most the 2 replications"),
        (["--model.frames", "7"], "model.frames: found 7, expected at least 8"),
        (["--model.frames", "200"], "frames: found 200"),
        (["--data", "null"], "other evaluators need --data"),
        (["--reward.essential_path", str(SHIPPED / "tmr")], "reads 263 features, expected a TMR of 66 (joints) or 67"),
        (["--rollout.group_size", "3"], "unknown flag --rollout.group_size"),
        (["--reward.foot_skate", "0"], "unknown flag --reward.foot_skate"),
    ],
    ids=lambda value: "_".join(value) if isinstance(value, list) else "",
)
def test_bad_input_is_one_line(config_file, flags, message):
    with pytest.raises(InputError) as error:
        Evaluation.make(parsed(config_file, *flags))
    assert message in str(error.value) and "\n" not in str(error.value)


def test_two_adapters_of_one_name_are_refused(config_file, adapter):
    with pytest.raises(InputError, match="the name 'tuned' is taken, give another as NAME=PATH"):
        Evaluation.make(parsed(config_file, "--adapter", f"{adapter},{adapter}"))
    for name in ("base", "base best of 4"):
        with pytest.raises(InputError, match=f"the name '{name}' is taken"):
            Evaluation.make(parsed(config_file, "--adapter", f"{name}={adapter}"))


def test_an_adapter_of_another_model_is_refused(config_file, adapter, tmp_path):
    folder = tmp_path / "other"
    shutil.copytree(adapter, folder)
    content = json.loads((folder / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(json.dumps(content | {"r": 8}))
    with pytest.raises(InputError, match="other/adapter_model.safetensors: .*expected the rank 8"):
        Evaluation.make(parsed(config_file, "--adapter", folder))


def test_a_caption_that_cannot_be_read_is_named_before_anything_starts(config_file, tmp_path):
    motions = {f"{i:06}": (np.zeros((44, 263), np.float32), "zyzzyva qwerty#zyzzyva/NOUN#0.0#0.0") for i in range(32)}
    with pytest.raises(InputError, match="zyzzyva qwerty"):
        Evaluation.make(parsed(config_file, "--data", write_folder(tmp_path / "odd", motions)))


def test_a_prefix_completion_model_is_evaluated_on_motions_of_several_windows(config_file, tmp_path):
    model = write_mdm(tmp_path / "dip", arch="trans_dec", mask_frames=True, context_len=4, pred_len=8)
    standing, made = [], []
    for name in ("one", "two"):
        np.save(tmp_path / f"{name}.npy", np.random.default_rng(len(made)).standard_normal((6, 263)))
        flags = "--model.path", model, "--model.prefix", tmp_path / f"{name}.npy", "--model.windows", 2
        evaluation = Evaluation.make(parsed(config_file, *flags))
        conditionings, seeds, told = EncodedPools(evaluation.replications.batches(0), evaluation.encoded)[0]
        made.append(evaluation.models[0].build("cpu").generate(conditionings, seeds))
        standing.append(evaluation.standing)
        assert made[-1].shape[1] == 16 >= FRAMES == max(told[0]) and any("continues" in note for note in evaluation.notes)
    assert np.abs(made[0] - made[1]).max() > 0
    assert {name for name in standing[0] if standing[0][name] != standing[1][name]} == {"prefix"}


@pytest.mark.parametrize(
    "flags, message",
    [
        ([], "model.prefix: missing"),
        (["--model.prefix", "one.npy"], "model.windows: found 1, expected 2: 12 frames of a model that makes 8 at once"),
    ],
    ids=["without a prefix", "of too few windows"],
)
def test_a_prefix_completion_model_that_makes_no_whole_motion_is_refused(config_file, tmp_path, monkeypatch, flags, message):
    monkeypatch.chdir(tmp_path)
    np.save("one.npy", np.zeros((6, 263)))
    with pytest.raises(InputError, match=message):
        Evaluation.make(parsed(config_file, "--model.path", write_mdm(tmp_path / "mdm", context_len=4, pred_len=8), *flags))


def test_model_evaluators_and_data_of_two_formats_are_refused(config_file, kit_file):
    with pytest.raises(InputError, match="has 251 features a frame, expected HumanML3D's 263, which the model makes"):
        Evaluation.make(parsed(config_file, "--data", kit_file.parent / "motions"))
    with pytest.raises(InputError, match="tmr: motions of 251 features, the evaluator reads 263 .reward.tmr_path, "):
        Evaluation.make(parsed(config_file, "--model.path", kit_file.parent / "mdm"))


def test_kit_is_measured_by_its_own_evaluators_and_without_a_tmr_of_its_own_by_t2m_alone(kit_file):
    both, alone = (Evaluation.make(parsed(kit_file, *flags)) for flags in ([], ["--reward.tmr_path", "null"]))
    assert "no TMR score: reward.tmr_path names no TMR of KIT-ML" in alone.notes and not any("TMR" in note for note in both.notes)
    draws = both.replications.real_draws(0)
    prompts = [draw.prompt for draw in draws]
    features, lengths = both.real.crops(draws)
    assert features.shape == (320, 12, 251) and {motion.features.shape[1] for motion in both.real.motions} == {251}
    found = []
    for evaluation in (both, alone):
        reader = Reader(evaluation.config.reward, 5.0, ".", evaluation.embedded, "cpu")
        found.append(evaluation.metrics(0, prompts, reader(features, lengths, False, prompts)))
    assert (both.rewarded, alone.rewarded) == (True, False) and np.isfinite(found[0].pop("reward"))
    assert set(found[0]) - set(found[1]) == {"tmr_score"} and 0 <= found[0].pop("tmr_score") <= 1
    assert found[0] == found[1] and all(np.isfinite(value) for value in found[0].values())


def test_further_prompts_are_a_split_of_their_own(config_file, tmp_path):
    captions = [" ".join(words) for words in itertools.product(WORDS, repeat=2)]
    odd = write_prompts(tmp_path / "odd.txt", [f"{captions[0]}\t10", *captions[1:], captions[0], captions[1]])
    made = Evaluation.make(parsed(config_file, "--prompts", odd, "--prompts", f"again={odd}"))
    assert list(made.further) == ["odd.txt", "again"] and f"again: 36 prompts of {odd}, without real motion and so without FID" in made.notes
    prompts = made.further["again"].real.prompts()
    assert [prompt.text for prompt in prompts] == captions and [prompt.length for prompt in prompts] == [8] + [12] * 35
    batches = made.further["again"].batches(0)
    assert all(len({prompt.text for prompt in batch.prompts}) == 32 for batch in batches)
    EncodedPools(batches, made.encoded)[0]  # all of them are encoded
    for lines, found in (
        (captions[:31], "prompts: .* has 31 captions, expected at least 32, among which"),
        ([f"{captions[0]}\t7", *captions], "prompts: .*odd.txt: 'a a' has 7 frames, expected at least 8"),
    ):
        with pytest.raises(InputError, match=found):
            Evaluation.make(parsed(config_file, "--prompts", write_prompts(odd, lines)))
    with pytest.raises(InputError, match="prompts: base=.*: the name 'base' is taken"):
        Evaluation.make(parsed(config_file, "--prompts", f"base={odd}"))


def test_quick_is_five_replications_without_multimodality_unless_told_otherwise():
    assert (EvaluateConfig().rounds, EvaluateConfig().multimodal_rounds, EvaluateConfig().pools) == (20, 5, 32)
    assert (EvaluateConfig(quick=True).rounds, EvaluateConfig(quick=True).multimodal_rounds) == (5, 0)
    assert EvaluateConfig(quick=True, replications=3, multimodality=2).multimodal_rounds == 2


def test_the_real_motion_that_ships_belongs_to_the_prompts_that_ship():
    prompts = read_prompts(MOTION.shipped("heldout"), 40)
    measured = stored_real_motion(prompts)
    assert len(measured) == 32 * len(prompts)
    assert all(np.isfinite(getattr(measured, name)).all() for name in ("t2m", "tmr", "joints", "essential", "foot_skate", "jerk"))
    with pytest.raises(InputError, match="made for other captions"):
        stored_real_motion([MotionPrompt("a person walks", 40)])
