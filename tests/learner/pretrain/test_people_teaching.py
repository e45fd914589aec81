"""The small people model: what it is shown, asked and taught, and that what it is measured on was never trained on."""

import dataclasses
import json

import numpy as np
import pytest
from PIL import Image

from learner.pretrain.language import people
from learner.pretrain.language.figures import FRAMES, SIZE, figure_video, save_video
from rollout.language.items import read_items
from rollout.motion.dataset import Clip

RNG = np.random.default_rng(0)
POSE = RNG.uniform(0, 1.7, (22, 3)).astype(np.float32)
JOINTS = np.stack([POSE + [0, 0, t / 20] for t in range(50)]).astype(np.float32)


def clip(action, recording, split, number=0):
    return Clip(f"{recording}_{number:04d}_{number + 61:04d}", split, action, ("a person",), JOINTS, False)


CLIPS = [
    clip(action, f"{action}_{split}_{i}", split, n)
    for action in people.OF_ACTION for i in range(2) for split in ("train", "val", "test") for n in (0, 30)
]  # fmt: skip


def test_a_video_depends_on_the_motion_and_the_camera_alone_and_no_frame_is_its_neighbour():
    first, again, other = figure_video(JOINTS, 0.2), figure_video(JOINTS, 0.2), figure_video(JOINTS, 0.5)
    assert first.shape == (FRAMES, SIZE, SIZE, 3) and first.dtype == np.uint8
    assert (first == again).all() and (first != other).any()
    still = figure_video(np.repeat(JOINTS[:1], 50, axis=0), 0.2)
    assert all((a != b).any() for a, b in zip(still, still[1:]))


def test_a_saved_video_has_every_frame_bit_for_bit(tmp_path):
    frames = figure_video(JOINTS, 0.2)
    save_video(tmp_path / "v.webp", frames)
    with Image.open(tmp_path / "v.webp") as video:
        assert video.n_frames == FRAMES
        for number, frame in enumerate(frames):
            video.seek(number)
            assert (np.asarray(video.convert("RGB")) == frame).all()


def test_no_recording_has_two_roles():
    roles = people.roles(CLIPS)
    for verb in people.VERBS:
        parts = [set(part[verb]) for part in (roles.lessons, roles.practice, roles.heldout)]
        assert all(parts) and sum(map(len, parts)) == len(set.union(*parts))
    of = {people.recording(c): c.split for c in CLIPS}
    assert all(of[name] != "test" for names in (*roles.lessons.values(), *roles.practice.values()) for name in names)


def test_a_verb_of_one_recording_is_taught_and_never_asked_about():
    roles = people.roles([clip("punch", "p", split, n) for split, n in (("train", 0), ("test", 90))])
    assert roles.lessons["punching"] == ["p"] and not roles.practice["punching"] and not roles.heldout["punching"]


def test_before_the_video_is_seen_no_option_is_likelier_than_another():
    draw = np.random.default_rng(1)
    places = np.zeros(4)
    for _ in range(400):
        options = people.choose_options("walking", people.VERBS, draw)
        assert len(set(options)) == 4
        places[options.index("walking")] += 1
    assert places.min() > 70


@pytest.mark.parametrize("seed", range(20))
def test_an_answer_is_well_formed_and_a_spoilt_one_is_not(seed):
    from rewards.language.answers import Answers
    from rewards.language.format import Format

    draw = np.random.default_rng(seed)
    whole = people.answer("running", "C", draw)
    answers = Answers(["q"] * 2, np.zeros(2, int), [None] * 2, [whole, people.spoilt(whole, draw)])
    assert Format()(answers).tolist() == [1.0, 0.0]


def test_pieces_of_words_are_the_text_again_and_the_folder_is_read_by_the_auto_classes(tmp_path):
    from transformers import AutoModelForImageTextToText, AutoTokenizer

    from learner.pretrain.language.folder import image_processor, save_folder, small_network, word_tokenizer

    draw = np.random.default_rng(0)
    text = people.answer("running", "C", draw)
    tokenizer = word_tokenizer([text])
    save_folder(tmp_path, small_network(tokenizer), tokenizer, image_processor(SIZE * SIZE, SIZE * SIZE))
    read = AutoTokenizer.from_pretrained(tmp_path)
    ids = read.encode(text)
    assert read.decode(ids) == text and read.unk_token_id not in ids
    assert AutoModelForImageTextToText.from_pretrained(tmp_path).config.model_type == "qwen2_5_vl"


def test_patches_are_those_of_the_image_processor():
    import torch

    from learner.pretrain.language.folder import image_processor, patches

    picture = np.random.default_rng(0).integers(0, 256, (SIZE, SIZE, 3)).astype(np.uint8)
    theirs = image_processor(SIZE * SIZE, SIZE * SIZE)(Image.fromarray(picture), return_tensors="pt")["pixel_values"]
    ours = patches(torch.tensor(np.stack([picture, picture]))[None])
    assert torch.equal(ours[0], theirs)


def test_a_few_steps_of_every_stage_change_the_network_and_leave_curves(tmp_path):
    from learner.pretrain.language.teach import STAGES, train_people

    lessons = [c for c in CLIPS if c.split == "train"]
    short = tuple(dataclasses.replace(stage, steps=2, rows=dict.fromkeys(stage.rows, 2)) for stage in STAGES)
    train_people(lessons, tmp_path, 0, "here", short)
    report = json.loads((tmp_path / "metrics.json").read_text())
    assert [row["stage"] for row in report["curve"]] == [stage.name for stage in STAGES]
    assert all(np.isfinite(row["loss"]) for row in report["curve"])


def test_written_items_are_read_as_users_files_are(tmp_path):
    from learner.pretrain.language.people_items import write_videos
    from learner.pretrain.language.teach import by_verb

    roles = people.roles(CLIPS)
    write_videos(tmp_path, "heldout", [by_verb(CLIPS, roles.heldout)] * 2, people.VERBS[:4], 3, 0)
    items = read_items(tmp_path / "heldout.jsonl")
    assert len(items) == 24 and len({item.media for item in items}) == 8 and len({item.text for item in items[:3]}) == 3
    assert all(item.problem_type == "multiple choice" and item.media[0][0] == "video" for item in items)


def test_general_questions_have_no_video_and_none_is_both_learned_from_and_measured_on(tmp_path):
    from learner.pretrain.language.people_items import MIX, general
    from rollout.language.mix import read_mix

    taken = set()
    measured, learned = general(2, 0, taken), general(1, 0, taken)  # of one seed: drawn anew where it is taken
    asked = [row["problem"] + str(row["options"]) for row in measured + learned]
    assert len(measured) == 2 * len(people.VERBS) == len(asked) * 2 / 3 and len({*asked}) == len(asked)
    for row in measured:
        said = next(verb for verb in people.VERBS if f" is {verb}." in row["problem"])
        assert f"{row['answer']}. {said}" in row["options"]
    for name, rows in (("train", measured), ("general_train", learned)):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "mix.yaml").write_text(MIX)
    mixed = [item.problem + str(list(item.options)) for item in read_mix(tmp_path / "mix.yaml", 0, print)]
    assert len(mixed) == 36 and sum(text in asked[24:] for text in mixed) == 4
