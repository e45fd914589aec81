"""What a run will do is fixed before it starts: settings, prompts in their turn, seeds that never meet."""

import itertools
import sys
from pathlib import Path

import numpy as np
import pytest

from learner.config.parse import parse_config
from learner.run.plan import Plan
from rewards.motion.evaluators import load_evaluators
from rewards.motion.family import MotionRewards
from rollout.io.errors import InputError
from rollout.motion.checkpoint import Opened
from rollout.motion.diffusion_policy import MotionPolicySettings
from rollout.motion.family import policy_settings
from rollout.motion.prompts import MotionPrompt
from rollout.motion.settings import SHIPPED_MODEL, Model
from rollout.motion.skeleton import KIT
from tests.tiny import FRAMES, HELDOUT, TRAINING, WORDS, write_prompts, write_run_config


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("run")
    write_run_config(path)
    return path


def plan(folder, *flags) -> Plan:
    return Plan.make(parse_config(["--config", str(folder / "run.yaml"), *flags]))


def texts(requests) -> list[str]:
    return [request.conditioning.prompt.text for request in requests]


def test_the_policy_is_set_up_as_the_config_says(folder):
    flags = (
        "--model.guidance 3 --model.steps ddim10 --lora_r 3 --lora_alpha 5 --lora.targets q,v --seed 9"
        " --use_checkpointing --rollout.shared_initial_noise false"
    )
    found = policy_settings(parse_config(["--config", str(folder / "run.yaml"), *flags.split()]))
    assert found == MotionPolicySettings(
        Model(path=str(folder / "mdm"), frames=FRAMES, steps="ddim10", guidance=3.0), shared_initial_noise=False,
        lora_rank=3, lora_alpha=5.0, lora_targets=("q", "v"), adapter_seed=9, activation_checkpointing=True,
    )  # fmt: skip


def test_without_lora_every_weight_is_trained():
    assert policy_settings(parse_config(["--lora", "false"])).lora_rank == 0


def test_without_a_model_the_shipped_one_is_taken():
    assert policy_settings(parse_config([])).model.checkpoint == SHIPPED_MODEL and isinstance(SHIPPED_MODEL, Path)


@pytest.mark.parametrize("size", [1, 2, 3, 4, 7])
def test_the_deck_deals_every_prompt_before_any_twice(folder, size):
    made = plan(folder, "--rollout.prompts_per_iteration", str(size), "--iterations", "12")
    dealt = [text for iteration in range(12) for text in texts(made.rollout_requests(iteration))]
    assert len(dealt) == 12 * size
    rounds = [dealt[start : start + 4] for start in range(0, len(dealt) - 3, 4)]
    assert all(sorted(deck) == sorted(TRAINING) for deck in rounds)
    assert size == 1 or len({tuple(deck) for deck in rounds}) > 1  # reshuffled


def test_every_request_is_a_whole_group(folder):
    for request in plan(folder).rollout_requests(5):
        assert (request.group_size, request.trained_steps, request.conditioning.prompt.length) == (4, 3, FRAMES)


def test_invariant_18_requests_depend_on_seed_and_iteration_alone(folder):
    first, again, samplers, other = (
        plan(folder, *flags.split())
        for flags in ("--seed 3", "--seed 3", "--seed 3 --cluster.samplers 4 --iterations 50", "--seed 4")
    )
    first.rollout_requests(0)
    for iteration in (1, 0):
        wanted = [(r.seed, r.conditioning.digest) for r in first.rollout_requests(iteration)]
        for same in (again, samplers):
            assert [(r.seed, r.conditioning.digest) for r in same.rollout_requests(iteration)] == wanted
        assert not {r.seed for r in other.rollout_requests(iteration)} & {seed for seed, _ in wanted}


def test_no_two_groups_of_a_run_share_their_noise(folder):
    made = plan(folder, "--rollout.prompts_per_iteration", "5")
    requests = (
        [r for iteration in range(20) for r in made.rollout_requests(iteration)]
        + made.heldout_requests()
        + made.trained_requests()
    )
    assert len({request.seed for request in requests}) == len(requests)


def test_evaluation_asks_for_the_same_whenever_it_is_asked(folder):
    made = plan(folder, "--evaluate.prompts", "4")
    for requests in (made.heldout_requests, made.trained_requests):
        assert [(r.seed, r.group_size, r.conditioning.digest) for r in requests()] == [
            (r.seed, r.group_size, r.conditioning.digest) for r in requests()
        ]
        assert all(request.trained_steps == 0 for request in requests())
    assert texts(made.heldout_requests()) == HELDOUT and texts(made.trained_requests()) == TRAINING
    assert {request.group_size for request in made.heldout_requests()} == {2}


@pytest.mark.parametrize("samples, expected", [(2, 2), (8, 4), (9, 5)])
def test_training_prompts_are_examined_on_at_least_as_many_samples(folder, samples, expected):
    made = plan(folder, "--evaluate.samples_per_prompt", str(samples), "--evaluate.prompts", "4")
    assert [request.group_size for request in made.trained_requests()] == [expected] * 4
    assert 4 * expected >= 2 * samples


def test_no_more_held_out_prompts_than_asked_for(folder):
    assert texts(plan(folder, "--evaluate.prompts", "1").heldout_requests()) == HELDOUT[:1]


def test_a_held_out_prompt_that_is_trained_on_is_left_out_and_reported(folder, tmp_path, caplog):
    overlap = write_prompts(tmp_path / "heldout.txt", [TRAINING[2], TRAINING[0].capitalize() + "!", *HELDOUT])
    made = plan(folder, "--evaluate.heldout", str(overlap), "--evaluate.prompts", "1")
    assert texts(made.heldout_requests()) == HELDOUT[:1]
    assert f"left out 2 training prompts of {overlap}, such as {TRAINING[2]!r}" in caplog.text


def test_held_out_prompts_that_are_all_trained_on_are_refused(folder, tmp_path):
    overlap = write_prompts(tmp_path / "heldout.txt", TRAINING)
    with pytest.raises(InputError, match=f"every prompt of {overlap} is a training prompt"):
        plan(folder, "--evaluate.heldout", str(overlap))


def test_of_many_prompts_only_those_a_run_comes_to_are_encoded(folder, tmp_path):
    many = [" ".join(words) for words in itertools.product(["a", *WORDS[2:]], repeat=3)][:100]
    file = write_prompts(tmp_path / "training.txt", many)
    flags = ["--rollout.prompts", str(file), "--rollout.prompts_per_iteration", "3", "--evaluate.prompts", "2", "--iterations"]
    made, longer = plan(folder, *flags, "4"), plan(folder, *flags, "40")
    dealt = {text for iteration in range(4) for text in texts(made.rollout_requests(iteration))}
    assert len(made.training) == len(dealt) == 12 and made.prompts == 100 and len(longer.training) == 100
    examined = texts(made.trained_requests())
    assert len(examined) == 2 and set(examined) <= set(texts(made.rollout_requests(0))) and examined == texts(longer.trained_requests())


def test_more_levels_of_noise_than_the_model_knows_are_refused(folder):
    with pytest.raises(InputError, match="rollout.trained_steps: found 51, expected at most 50, the noise levels of .*mdm"):
        plan(folder, "--objective", "awm", "--rollout.trained_steps", "51")


def test_model_evaluators_and_prompts_of_two_formats_are_one_line(folder, tmp_path, tiny):
    write_run_config(tmp_path, KIT)
    assert len(plan(tmp_path).training) == len(plan(tmp_path, "--dataset", "kit").training) == 4
    for flags, found in (
        ([], "tmr: motions of 251 features, the evaluator reads 263 .reward.tmr_path, expected one of the model's format.$"),
        (["--reward.tmr_path", str(tmp_path / "tmr")], "t2m: motions of 251 features, the evaluator reads 263 .reward.t2m_path, "),
        (["--dataset", "humanml"], "^dataset: found 'humanml', but .*mdm makes KIT-ML's 251 features$"),
        (["--dataset", "cmu"], "^dataset: found 'cmu', but .*mdm makes KIT-ML's 251 features$"),
    ):
        with pytest.raises(InputError, match=found):
            plan(folder, "--model.path", str(tmp_path / "mdm"), *flags)
    with pytest.raises(InputError, match="^dataset: found 'kit', but .*mdm makes HumanML3D's 263 features$"):
        plan(folder, "--dataset", "kit")
    theirs = tiny.write_motions(tmp_path / "HumanML3D")
    with pytest.raises(InputError, match="test.txt: found motions of HumanML3D, expected those of a KIT-ML folder, as the model makes"):
        plan(tmp_path, "--rollout.prompts", str(theirs / "test.txt"))
    own, heldout = tiny.write_motions(tmp_path / "KIT-ML", kind=KIT) / "test.txt", write_prompts(tmp_path / "heldout.txt", ["walks left"])
    assert plan(tmp_path, "--rollout.prompts", str(own), "--evaluate.heldout", str(heldout)).prompts == 80


def test_preparing_prompts_builds_no_network(folder, monkeypatch):
    def built(self):
        raise AssertionError("a network was built")

    monkeypatch.setattr(Opened, "denoiser", built)
    assert len(plan(folder).training) == 4


def test_a_prompt_of_unknown_words_is_refused_before_anything_starts(folder, tmp_path):
    unknown = write_prompts(tmp_path / "training.txt", [TRAINING[0], "xyzzy quux"])
    with pytest.raises(InputError, match="'xyzzy quux'"):
        plan(folder, "--rollout.prompts", str(unknown))


def test_an_empty_prompt_file_is_refused(folder, tmp_path):
    with pytest.raises(InputError, match="no prompts in .*training.txt"):
        plan(folder, "--rollout.prompts", str(write_prompts(tmp_path / "training.txt", [])))


def test_a_motion_too_short_for_the_evaluators_is_refused_before_anything_starts(folder, tmp_path):
    prompts = write_prompts(tmp_path / "training.txt", [f"{TRAINING[0]}\t4"])
    with pytest.raises(InputError, match="4 frames, expected at least 5"):
        plan(folder, "--rollout.prompts", str(prompts))
    plan(folder, "--rollout.prompts", str(write_prompts(tmp_path / "five.txt", [f"{TRAINING[0]}\t5"])))


def test_every_prompt_is_embedded_with_the_plan_and_by_no_actor_again(folder):
    made = plan(folder)
    captions = [(text, ()) for text in TRAINING + HELDOUT]
    assert {name: list(known) for name, known in made.shared.items()} == {"tmr": captions, "t2m": captions}
    paths = made.config.reward
    fresh = load_evaluators(paths)
    for given, alone in zip(load_evaluators(paths, texts=made.shared), fresh):
        given.texts.encode = None  # calling it would fail
        np.testing.assert_array_equal(given.embed_text(HELDOUT), alone.embed_text(HELDOUT))


def test_the_evaluators_get_the_tags_of_the_prompts(folder):
    config = parse_config(["--config", str(folder / "run.yaml")])
    texts = MotionRewards().check(config, [MotionPrompt("a person walks", 12), MotionPrompt("a person jumps", 9, ("a/DET",))])
    for known in texts.values():
        assert set(known) == {("a person walks", ()), ("a person jumps", ("a/DET",))}


def test_a_reward_that_reads_both_evaluators_is_told_to_have_no_independent_judge(folder, caplog):
    both = "--reward.components.a.path tmr.cosine --reward.components.b.path t2m.matching".split()
    plan(folder)
    assert "independent judge" not in caplog.text
    plan(folder, *both)
    assert "reward.judge: the reward reads t2m too: this run has no independent judge" in caplog.text


def test_a_component_that_cannot_score_is_refused_before_anything_starts(folder, tmp_path, monkeypatch):
    (tmp_path / "users_plan_rewards.py").write_text("class Broken:\n    def __call__(self, motions):\n        return motions.height\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    with pytest.raises(InputError, match=r"^reward.components.a: raised AttributeError: .*'height' \(users_plan_rewards.py line 3\)$"):
        plan(folder, "--reward.components.a.path", "users_plan_rewards:Broken")
