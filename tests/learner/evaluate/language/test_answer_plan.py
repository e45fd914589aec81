"""What an evaluation of answers reads and checks before anything starts; and what the greedy answer is."""

import json
import shutil

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file

from learner.config.parse import parse_config
from learner.evaluate.__main__ import main
from learner.evaluate.family import settings_of
from learner.evaluate.language.measures import Reader
from learner.evaluate.language.plan import Batches, Evaluation
from learner.evaluate.language.settings import EvaluateConfig
from rewards.language.settings import Reward
from rollout.language.chat_policy import LanguagePolicy, LanguageSettings
from rollout.language.prompted import Batch, hidden
from rollout.language.settings import SHIPPED
from tests.tiny_language import make_policy, noisy_adapter, picture, prepared, write_checkpoint, write_scene


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A checkpoint, items of pictures and of points, the adapters of two runs, and of each something that is wrong."""
    folder = tmp_path_factory.mktemp("place")
    write_checkpoint(folder / "model")
    for number in range(3):
        picture(number).save(folder / f"{number}.png")
    (folder / "blind.png").write_bytes(b"no picture")
    asked = {"problem": "what is it", "problem_type": "multiple choice", "data_type": "image", "answer": "A"}
    write(folder / "items.jsonl", [asked | {"path": f"{number}.png"} for number in range(3)])
    write(folder / "blind.jsonl", [asked | {"path": "blind.png"}])
    write(folder / "points.jsonl", [write_scene(folder, "one")])
    write(folder / "photos.jsonl", [write_scene(folder, "photo")])
    (folder / "photo.labels.png").unlink()
    for name, settings in (("tuned", {"lora_targets": ("q_proj", "down_proj")}), ("full", {"lora_rank": 0})):
        policy = make_policy(folder / "model", **settings)
        policy.load_adapter(noisy_adapter(policy, scale=0.05))
        policy.save_adapter(folder / name / "adapter")
    shutil.copytree(folder / "tuned" / "adapter", folder / "wrong")
    weights = load_file(folder / "wrong" / "adapter_model.safetensors")
    odd = "base_model.model.model.language_model.layers.0.mlp.down_proj.lora_A.weight"
    save_file(weights | {odd: np.ascontiguousarray(weights[odd][:, :40])}, folder / "wrong" / "adapter_model.safetensors")
    shutil.copytree(folder / "full" / "adapter", folder / "other")
    (folder / "other" / "tokenizer_config.json").write_text("{}")
    return folder


def write(path, rows) -> str:
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return str(path)


def parsed(place, *flags) -> EvaluateConfig:
    words = ["--family", "language", "--model.path", place / "model", "--data", place / "items.jsonl", *flags]
    return parse_config(list(map(str, words)), settings_of)


def answers(evaluation: Evaluation, model: int) -> list[str]:
    """What one process makes of it."""
    own = evaluation.models[model]
    policy = own.build("cpu")
    assert policy.load_adapter(own.adapter) == own.adapter.sha256
    batches = Batches(evaluation.questions, evaluation.config.answers, evaluation.config.batch, evaluation.config.seed)
    return [text for conditionings, seeds, _ in batches for text, _ in policy.generate(conditionings, seeds)]


def test_the_greedy_answer_is_the_chain_of_likeliest_tokens_of_the_whole_forward(place):
    policy = LanguagePolicy(LanguageSettings(parsed(place).model, parsed(place, "--max_new_tokens", "12").rollout, lora_rank=4))
    policy.load_adapter(noisy_adapter(policy))
    model, embed = policy.network, policy.network.model.language_model.embed_tokens
    for seed in range(4):
        conditioning = prepared(place / "model", ("image",), seed)
        features, chain = policy.reader(model.model, conditioning), []
        with torch.no_grad():
            while len(chain) < 12 and not {*chain} & {*policy.checkpoint.ends}:
                batch = Batch.of([features], embed)
                batch = batch.followed_by(torch.tensor([chain]), embed) if chain else batch
                logits = model.lm_head(hidden(model.model.language_model, batch)[0, -1])
                logits[list(policy.checkpoint.forbidden)] = -torch.inf
                chain.append(int(logits.argmax()))
        ended = chain[-1] in policy.checkpoint.ends
        expected = [policy.tokenizer.decode(chain[: len(chain) - ended]), not ended]
        assert policy.generate([conditioning] * 2, [(seed, 0), (9, 9)]).tolist() == [expected, expected]  # whatever the noise


def test_sampled_answers_differ_by_their_seed_and_are_the_same_for_every_batch(place):
    one, other = (Evaluation.make(parsed(place, "--samples", 3, "--max_new_tokens", 6, "--batch", batch)) for batch in (2, 9))
    found = answers(one, 0)
    assert len(found) == 9 and len({*found}) > 3 and found == answers(other, 0)
    assert answers(Evaluation.make(parsed(place, "--samples", 3, "--max_new_tokens", 6, "--seed", 1)), 0) != found


def test_the_base_is_the_plain_model_and_adapters_are_those_that_runs_saved(place):
    adapters = ["--adapter", place / "tuned" / "adapter", "--adapter", f"all={place / 'full' / 'adapter'}"]
    evaluation = Evaluation.make(parsed(place, *adapters, "--max_new_tokens", 6))
    base, tuned, full = evaluation.models
    assert (base.name, tuned.name, full.name) == ("base", "tuned", "all") and tuned.settings.lora_rank == 4
    plain = make_policy(place / "model", max_new_tokens=6, top_k=1)
    tuned_one = make_policy(place / "model", max_new_tokens=6, top_k=1, lora_targets=("q_proj", "down_proj"))
    tuned_one.load_adapter(noisy_adapter(tuned_one, scale=0.05))
    full_one = make_policy(place / "full" / "adapter", max_new_tokens=6, top_k=1, lora_rank=0)
    conditionings = [question.conditioning for question in evaluation.questions]
    found = [answers(evaluation, model) for model in range(3)]
    for texts, policy in zip(found, (plain, tuned_one, full_one)):
        assert texts == policy.generate(conditionings, [(0,)] * 3)[:, 0].tolist()
    assert found[0] != found[1] and found[0] != found[2]


def test_media_that_cannot_be_opened_are_skipped_counted_and_named(place, tmp_path):
    shutil.copytree(place, tmp_path / "place")
    (tmp_path / "place" / "1.png").write_bytes(b"\x89PNG\r\n\x1a\n and nothing more")
    evaluation = Evaluation.make(parsed(tmp_path / "place"))
    assert [question.number for question in evaluation.questions] == [1, 3]
    (note,) = [note for note in evaluation.notes if "skipped" in note]
    assert note.startswith("skipped 1 that cannot be shown to the model, the first: ") and note.endswith(evaluation.skipped[0])
    assert "items.jsonl, line 2: " in evaluation.skipped[0] and "1.png" in evaluation.skipped[0] and len(evaluation.skipped) == 1


def test_rows_that_are_no_items_are_told_too(place, tmp_path):
    shutil.copytree(place, tmp_path / "place")
    with (tmp_path / "place" / "items.jsonl").open("a") as file:
        file.write('{"problem": "without an answer", "problem_type": "judge"}\n')
    notes = Evaluation.make(parsed(tmp_path / "place")).notes
    assert any("3 items" in note for note in notes) and any("1 rows whose solution is not" in note for note in notes)


def test_the_media_of_a_file_may_lie_elsewhere(place, tmp_path):
    shutil.copy(place / "items.jsonl", tmp_path / "qa.jsonl")
    evaluation = Evaluation.make(parsed(place, "--data", tmp_path / "qa.jsonl", "--media", place))
    assert len(evaluation.questions) == 3


def test_points_are_told_to_be_read_by_a_stand_in(place):
    evaluation = Evaluation.make(parsed(place, "--data", place / "points.jsonl", "--general", place / "items.jsonl"))
    assert [question.general for question in evaluation.questions] == [False, True, True, True]
    assert any("it is not SAM" in note for note in evaluation.notes) and any("3 general items" in note for note in evaluation.notes)
    assert "points are read in the space 0-1 (reward.components.negative_points.space)" in evaluation.notes
    own = ["--reward.components.points.path", "negative_points", "--reward.components.points.space", "0-1000"]
    notes = Evaluation.make(parsed(place, "--data", place / "points.jsonl", *own)).notes
    assert "points are read in the space 0-1000 (reward.components.points.space)" in notes


def test_one_scene_that_cannot_be_read_is_not_the_end(place, tmp_path):
    rows = [write_scene(tmp_path, "first"), write_scene(tmp_path, "second")]
    (tmp_path / "first.labels.png").write_bytes(b"no picture")
    assert len(Evaluation.make(parsed(place, "--data", write(tmp_path / "scenes.jsonl", rows))).questions) == 2


def test_what_ships_is_asked_with_the_general_questions_that_ship_beside_it(place, tmp_path, monkeypatch):
    shutil.copy(place / "items.jsonl", tmp_path / "heldout.jsonl")
    for number in range(3):
        shutil.copy(place / f"{number}.png", tmp_path)
    monkeypatch.setitem(SHIPPED, "people", tmp_path)
    general = lambda *flags: [question.general for question in Evaluation.make(parsed(place, *flags)).questions]  # noqa: E731
    assert general("--data", "null") == [False] * 3
    shutil.copy(place / "items.jsonl", tmp_path / "general.jsonl")
    assert general("--data", "null") == [False] * 3 + [True] * 3 and general() == [False] * 3


def test_a_reader_of_the_users_own_is_found_where_the_command_was_given(tmp_path, place):
    source = "import numpy\n\nclass Half:\n    def __call__(self, answers):\n        return numpy.full(len(answers), 0.5)\n"
    (tmp_path / "mine.py").write_text(source)
    items = [question.item for question in Evaluation.make(parsed(place)).questions]
    reader = Reader(Reward(components={"half": {"path": "mine:Half"}}), 5.0, str(tmp_path), "cpu")
    assert reader(np.array([["A", True]] * 3, object), items).values["half"].tolist() == [0.5] * 3


@pytest.mark.parametrize(
    "flags, message",
    [
        (["--family", "langauge"], "--family: found 'langauge', expected one of motion, language"),
        (["--sampels", "2"], "unknown flag --sampels (did you mean --samples?)"),
        (["--quick"], "unknown flag --quick"),
        (["--samples", "-1"], "--samples: found -1, expected at least 0"),
        (["--temperature", "0"], "--temperature: found 0, expected a number above 0"),
        (["--data", "nowhere.json"], "nowhere.json"),
        (["--general", "nowhere.txt"], "nowhere.txt: expected a .json, .jsonl or .yaml file of items"),
        (["--data", "null", "--media", "/tmp"], "--media: found '/tmp', expected --data FILE.json or FILE.jsonl beside it"),
        (["--adapter", "nowhere"], "nowhere/adapter_config.json: not found; expected the adapter/ folder of a run"),
        (["--adapter", "base=PLACE/tuned/adapter"], "the name 'base' is taken"),
        (["--adapter", "PLACE/wrong"], "wrong: model.language_model.layers.0.mlp.down_proj.lora_A is (4, 40), expected (4, 48)"),
        (["--adapter", "PLACE/other"], "other/tokenizer_config.json: is not that of "),
        (["--model.path", "PLACE"], "has no config.json"),
        (["--data", "PLACE/photos.jsonl"], "photo.labels.png: file not found"),
        (["--reward.components.it.path", "beauty"], "reward.components.it.path: found 'beauty'"),
        (["--reward.components.it.path", "judge"], "reward.components.it: the environment has no judge"),
        (["--data", "PLACE/blind.jsonl"], "data: none of the 1 items of "),
        (["--out", "PLACE/model"], "is not empty"),
    ],
    ids=lambda value: "_".join(value).replace("/", "-") if isinstance(value, list) else "",
)
def test_bad_input_is_one_line_and_leaves_nothing(place, tmp_path, capsys, monkeypatch, flags, message):
    for name in ("API", "USE_API_REWARD"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    words = ["--family", "language", "--model.path", "PLACE/model", "--data", "PLACE/items.jsonl", "--out", "out", *flags]
    assert main([word.replace("PLACE", str(place)) for word in words]) == 2
    stderr = capsys.readouterr().err
    assert stderr.startswith("error: ") and stderr.count("\n") == 1 and message in stderr, stderr
    assert not (tmp_path / "out").exists()
