"""The small points model: scenes in which look-alikes touch the person who is meant, what is answered, and items never trained on."""

import json

import numpy as np
import pytest

from learner.pretrain.language import points
from learner.pretrain.language.pointing import Pointing, train_points, write_item, write_points_items
from learner.pretrain.language.scenes import SIZE, scene, turned
from rewards.language.negative_points import NegativePoints
from rewards.language.segmenters import _touching
from rollout.language.items import read_items
from rollout.language.settings import SHIPPED
from tests.rewards.language.rows import answers

SEEDS = range(12)


@pytest.fixture(scope="module")
def asked(tmp_path_factory):
    """Scenes, and the items that were written of them."""
    folder, draw = tmp_path_factory.mktemp("scenes"), np.random.default_rng(0)
    scenes = [scene(np.random.default_rng(seed)) for seed in SEEDS]
    rows = [write_item(folder, f"{number:03d}", each, draw) for number, each in enumerate(scenes)]
    (folder / "items.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return list(zip(scenes, read_items(folder / "items.jsonl"), strict=True))


def measured(item, *texts):
    given = answers(*texts)
    given.items = [item] * len(texts)
    return NegativePoints(space="0-1000").measured(given)[0]


def test_a_seed_is_a_scene():
    first, again, other = scene(np.random.default_rng(3)), scene(np.random.default_rng(3)), scene(np.random.default_rng(4))
    assert first.picture.shape == (SIZE, SIZE, 3) and first.picture.dtype == first.labels.dtype == np.uint8
    assert (first.picture == again.picture).all() and (first.labels == again.labels).all() and (first.picture != other.picture).any()


def test_without_negatives_look_alikes_leak_in_and_the_right_answer_leaves_exactly_them_out(asked):
    for seen, item in asked:
        found = measured(item, '<answer>{"negative_points": []}</answer>', points.answer(points.right(seen), seen))
        assert 0.25 < found["iou"][0] < 0.65 and found["iou"][1] == 1 and found["in_confused"][1] == 1
        one = measured(item, *(points.answer([place], seen) for place in points.right(seen)))
        assert (one["iou"] > found["iou"][0] + 0.1).all()  # each look-alike that touches is worth a point
    assert {len(seen.touching) for seen, _ in asked} == {1, 2}


def test_a_scene_is_as_true_whichever_way_it_lies(tmp_path):
    seen, draw = scene(np.random.default_rng(7)), np.random.default_rng(0)
    ways = [turned(seen, way) for way in range(8)]
    assert len({each.picture.tobytes() for each in ways}) == 8 and (ways[0].picture == seen.picture).all()
    for way, each in enumerate(ways):
        row = write_item(tmp_path, f"{way}", each, draw)
        (tmp_path / "items.jsonl").write_text(json.dumps(row))
        (item,) = read_items(tmp_path / "items.jsonl")
        assert measured(item, points.answer(points.right(each), each))["iou"] == 1


def test_nobody_is_worth_a_guess_by_how_many_they_touch():
    """On average over scenes: else a policy that knew crowds, and saw none, would learn where to hit."""
    worth = {1: [], 2: []}
    for seed in range(1200):
        seen = scene(np.random.default_rng((1, seed)))
        areas, touch = np.bincount(seen.labels.ravel()), _touching(seen.labels)
        mask = areas[1] + sum(areas[each] for each in seen.touching)
        for person in range(1, len(areas)):
            hit = -areas[1] / mask if person == 1 else areas[1] / (mask - areas[person]) - areas[1] / mask if person in seen.touching else 0
            if touch[person].any():
                worth[touch[person].sum()].append(hit)
    assert all(len(each) > 250 and abs(np.mean(each)) < 0.04 for each in worth.values())


@pytest.mark.parametrize("seed", range(20))
def test_a_spoilt_answer_is_none(asked, seed):
    seen, item = asked[0]
    whole = points.answer(points.right(seen), seen)
    found = measured(item, whole, points.spoilt(whole, np.random.default_rng(seed)))
    assert found["parsed"].tolist() == [1, 0]


def test_directions_are_as_they_are_seen():
    seen = scene(np.random.default_rng(0))
    for place, words in (((9, 0), "above on the right"), ((0, 9), "below on the left")):
        middle = type(seen)(seen.picture, seen.labels, "red", (2,), (SIZE / 2, SIZE / 2))
        assert points.answer([place], middle).startswith(f"<think>Someone else in red is {words}.</think>")


def test_the_tokenizer_knows_every_word_that_is_asked_or_answered():
    from learner.pretrain.language.folder import word_tokenizer

    tokenizer, draw = word_tokenizer(points.sentences()), np.random.default_rng(0)
    for seed in range(60):
        seen = scene(np.random.default_rng((2, seed)))
        answer = points.answer(points.wrong([(0, 0), (0, 0)], draw), seen)
        for text in (points.asked(points.problem(seen, draw)), answer, points.spoilt(answer, draw)):
            ids = tokenizer.encode(text, add_special_tokens=False)
            assert tokenizer.decode(ids) == text and tokenizer.unk_token_id not in ids


def test_held_out_scenes_are_none_of_the_others(tmp_path):
    write_points_items(tmp_path, 0, training=6, heldout=5)
    training, heldout = (read_items(tmp_path / f"{name}.jsonl") for name in ("train", "heldout"))
    assert len(training) == 6 and len(heldout) == 5
    pictures = [(tmp_path / name).read_bytes() for part in ("train", "heldout") for name in sorted(p.relative_to(tmp_path) for p in (tmp_path / part).iterdir())]
    assert len({*pictures}) == len(pictures)


def test_a_few_steps_change_the_network_and_leave_a_curve_and_a_model_that_opens(tmp_path):
    from rollout.language.checkpoint import open_checkpoint

    train_points(tmp_path, 0, "here", Pointing(scenes=4, steps=2, batch_size=2, doubtful=0.5))
    report = json.loads((tmp_path / "metrics.json").read_text())
    assert [row["stage"] for row in report["curve"]] == ["doubtful"] and all(np.isfinite(row["loss"]) for row in report["curve"])
    assert open_checkpoint(tmp_path).network("fp32").config.model_type == "qwen2_5_vl"


def test_what_ships_loads_and_no_held_out_scene_is_trained_on():
    training, heldout = (read_items(SHIPPED["points"] / f"{name}.jsonl") for name in ("train", "heldout"))
    assert len(training) >= 128 and len(heldout) >= 64
    shown = [{open(item.media[0][1], "rb").read() for item in part} for part in (training, heldout)]
    assert not shown[0] & shown[1]
    found = measured(heldout[0], '<answer>{"negative_points": []}</answer>')
    assert 0 < found["iou"][0] < 1
