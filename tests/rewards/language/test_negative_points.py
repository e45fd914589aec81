"""Points that say what the target is not: the table of values, what is no answer, the spaces of points, and both segmenters."""

import json

import numpy as np
import pytest
from PIL import Image

from rewards.language import segmenters
from rewards.language.negative_points import NegativePoints, seen_size
from rewards.language.segmenters import Asked, LabelMap, Sam2
from rollout.io.errors import InputError
from rollout.language.items import Item, Target
from rollout.language.media import read_mask
from tests.rewards.language.rows import answers

# Blobs of 40 x 20 pixels: the target in the middle, a look-alike at each side, one apart.
LEFT, RIGHT, FAR, NOWHERE, INSIDE = (15, 30), (85, 30), (15, 80), (90, 90), (50, 30)


@pytest.fixture
def scene(tmp_path):
    """A scene on disk as an item: target 1, touching 2 and 3; 4 apart."""
    labels = np.zeros((100, 100), np.uint8)
    labels[20:40, 30:70], labels[20:40, 10:30], labels[20:40, 70:90], labels[70:90, 10:30] = 1, 2, 3, 4
    Image.fromarray(labels).save(tmp_path / "scene.labels.png")
    Image.fromarray(labels * 60).convert("RGB").save(tmp_path / "scene.png")
    Image.fromarray((labels == 1).astype(np.uint8) * 255).save(tmp_path / "mask.png")
    target = Target((100, 100), str(tmp_path / "mask.png"), (30, 20, 70, 40), ((50.0, 30.0),))
    return Item("q", problem_type="segmentation", media=(("image", str(tmp_path / "scene.png")),), target=target)


def said(*points, scale=100) -> str:
    return f"<think>x</think><answer>{json.dumps({'negative_points': [[x / scale, y / scale] for x, y in points]})}</answer>"


def score(scene, *texts, **options):
    given = answers(*texts)
    given.items = [scene] * len(texts)
    return NegativePoints(**options)(given).values


@pytest.mark.parametrize(
    "points, value",
    [
        ((), 0.5 + 0.1),  # the mask without negatives is target and both neighbours: 800 of 1600 pixels
        ((LEFT,), 800 / 1200 + 0.3 + 0.1),
        ((LEFT, RIGHT), 1 + 0.3 + 0.1),
        ((NOWHERE,), 0.5 + 0.1),
        ((FAR,), 0.5 + 0.1),
        ((INSIDE,), 0 - 0.3 + 0.1),
        ((LEFT, INSIDE), 0 + 0 + 0.1),
        ((LEFT, NOWHERE), 800 / 1200 + 0.15 + 0.1),
        ((LEFT, LEFT, LEFT, LEFT, NOWHERE), 800 / 1200 + 0.15 + 0.1),  # said often counts once
        ((LEFT, (15.3, 30.4)), 800 / 1200 + 0.3 + 0.1),  # the same pixel
        ((*((x, 95) for x in range(5)), LEFT, RIGHT), 0.5 + 0.1),  # only five count
        (((100, 100), (0, 0)), 0.5 + 0.1),
    ],
)
def test_the_score_of_each_answer(scene, points, value):
    assert score(scene, said(*points))[0] == pytest.approx(value, abs=1e-6)


INVALID = [
    "", "no answer", "<answer></answer>", "<answer>[[0.1, 0.2]]</answer>", "<answer>{}</answer>", '<answer>{"negative_points": null}</answer>',
    '<answer>{"negative_points": [0.1, 0.2]}</answer>', '<answer>{"negative_points": [[0.1]]}</answer>',
    '<answer>{"negative_points": [[0.1, 0.2, 0.3]]}</answer>', '<answer>{"negative_points": [[true, 0.2]]}</answer>',
    '<answer>{"negative_points": [["0.1", 0.2]]}</answer>', '<answer>{"negative_points": [[NaN, 0.2]]}</answer>',
    '<answer>{"negative_points": [[Infinity, 0.2]]}</answer>', '<answer>{"negative_points": [[1e999, 0.2]]}</answer>',
    '<answer>{"negative_points": [[1.01, 0.2]]}</answer>', '<answer>{"negative_points": [[-0.01, 0.2]]}</answer>',
    '<answer>{"negative_points": []}</answer><answer>{"negative_points": []}</answer>', '<answer>{"negative_points": []}',
    "<answer>{'negative_points': []}</answer>", "<answer>__import__('os')</answer>", "<answer>" + "[" * 10_000_000 + "</answer>",
    "<answer>" + "[" * 15_000 + "</answer>", '<answer>{"negative_points": [[' + "9" * 5000 + ", 0]]}</answer>", "<answer>" * 1_000_000,
]  # fmt: skip


@pytest.mark.parametrize("text", INVALID, ids=range(len(INVALID)))
def test_what_is_no_answer_is_below_every_valid_one_hostile(scene, text):
    invalid, worst = score(scene, text, said(INSIDE))
    assert invalid == pytest.approx(-0.3) and invalid < worst


def test_weights_keep_the_invalid_below_all(scene):
    invalid, worst = score(scene, "x", said(INSIDE), negatives=2.0, format=0.01)
    assert invalid == -2 and worst == pytest.approx(-1.99)
    with pytest.raises(InputError, match="^format: found 0, expected a number above 0"):
        NegativePoints(format=0)


@pytest.mark.parametrize("space, scale", [("0-1", 100), ("0-1000", 0.1), ("pixels", 100 / 112)])
def test_the_space_of_points_is_converted(scene, space, scale):
    assert seen_size((100, 100), 28, 56 * 56, 28 * 28 * 16384) == (112, 112)
    assert score(scene, said(LEFT, RIGHT, scale=scale), space=space)[0] == pytest.approx(1.4, abs=1e-6)


@pytest.mark.parametrize("size, seen", [((840, 840), (840, 840)), ((1000, 600), (1008, 588)), ((10, 10), (56, 56)), ((8000, 8000), (3584, 3584))])
def test_the_size_that_a_model_was_shown(size, seen):
    assert seen_size(size, 28, 56 * 56, 28 * 28 * 16384) == seen


def test_what_the_score_is_made_of(scene):
    given = answers(said(LEFT), "x", said())
    given.items = [scene] * 3
    measures, _ = NegativePoints().measured(given)
    np.testing.assert_allclose(measures["iou"], [2 / 3, np.nan, 0.5], rtol=1e-6)
    np.testing.assert_allclose(measures["baseline_iou"], 0.5)
    np.testing.assert_allclose(measures["gain"], [1 / 6, np.nan, 0], rtol=1e-6)
    assert measures["parsed"].tolist() == [1, 0, 1]


def test_an_item_that_cannot_be_read_fails_alone(scene, tmp_path):
    import dataclasses

    gone = dataclasses.replace(scene, media=(("image", str(tmp_path / "gone.png")),))
    small = dataclasses.replace(scene, target=dataclasses.replace(scene.target, size=(50, 50)))
    given = answers(said(), said(), said(), said())
    given.items = [gone, scene, small, Item("q", problem_type="judge")]
    told = NegativePoints()(given)
    assert np.isfinite(told.values).tolist() == [False, True, False, False]
    assert told.reasons[0].endswith("gone.labels.png: file not found")
    assert told.reasons[2] == "mask: 100 x 100 pixels, expected those of the image, 50 x 50"
    assert told.reasons[3] == "problem type 'judge' has no image and target, which negative_points needs"


def encoded(mask: dict) -> Target:
    return Target((4, 3), json.dumps(mask), (0, 0, 4, 3), ())


def test_run_length_masks():
    mask = np.zeros((3, 4), bool)
    mask[1, 1:3] = True
    counts = [4, 1, 2, 1, 4]  # by columns
    assert (read_mask(encoded({"size": [3, 4], "counts": counts})) == mask).all()
    assert (read_mask(encoded({"size": [3, 4], "counts": "41202"})) == np.array(_by_hand([4, 1, 2, 1, 4])).reshape(4, 3).T).all()
    for bad in ({"size": [3, 4], "counts": [4, 1]}, {"size": [3, 4], "counts": [-4, 16]}, {"size": [1e9, 1e9], "counts": []}, {"counts": []}, {"size": [3, 4], "counts": "~"}):
        with pytest.raises(InputError, match="^mask: "):
            read_mask(encoded(bad))


def _by_hand(counts):
    return [bit for i, n in enumerate(counts) for bit in [i % 2 == 1] * n]


@pytest.fixture(scope="module")
def sam_folder(tmp_path_factory):
    """A tiny SAM2 with random weights, large enough that masks are no noise of rounding."""
    import torch
    from transformers import Sam2Config, Sam2Model

    torch.set_num_threads(1)
    torch.manual_seed(0)
    backbone = {
        "image_size": [128, 128], "hidden_size": 16, "blocks_per_stage": [1, 2, 1, 1], "embed_dim_per_stage": [16, 32, 64, 128],
        "num_attention_heads_per_stage": [1, 1, 2, 4], "window_size_per_stage": [8, 4, 4, 4], "global_attention_blocks": [2],
        "window_positional_embedding_background_size": [4, 4], "model_type": "sam2_hiera_det_model",
    }  # fmt: skip
    config = Sam2Config(
        vision_config={"backbone_config": backbone, "backbone_channel_list": [128, 64, 32, 16], "backbone_feature_sizes": [[32, 32], [16, 16], [8, 8]], "fpn_hidden_size": 32},
        prompt_encoder_config={"image_size": 128, "hidden_size": 32}, mask_decoder_config={"hidden_size": 32, "mlp_dim": 64, "num_attention_heads": 2, "iou_head_hidden_dim": 32},
    )  # fmt: skip
    model = Sam2Model(config)
    for parameter in model.parameters():
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=parameter[0].numel() ** -0.5)
    folder = tmp_path_factory.mktemp("sam")
    model.save_pretrained(folder)
    return folder


def test_sam2_embeds_an_image_once_and_answers_each_question_as_if_alone(scene, sam_folder):
    sam = Sam2(str(sam_folder), "cpu")
    embedded, embed = [], sam.model.get_image_embeddings
    sam.model.get_image_embeddings = lambda pixels: embedded.append(pixels.shape) or embed(pixels)
    asked = [Asked(scene.target.box, scene.target.points, points) for points in ((), (LEFT,), (RIGHT,), (LEFT, RIGHT), (INSIDE,))]
    image = scene.media[0][1]
    together = sam.masks(image, asked)
    assert embedded == [(1, 3, 128, 128)] and {mask.shape for mask in together} == {(100, 100)} and together[0].dtype == bool
    for each, mask in zip(asked, together):
        np.testing.assert_array_equal(sam.masks(image, [each])[0], mask)
    assert len({mask.tobytes() for mask in together}) > 1 and any(mask.any() and not mask.all() for mask in together)


def test_sam2_scores_answers(scene, sam_folder):
    values = score(scene, said(), said(LEFT), "x", segmenter=str(sam_folder))
    assert np.isfinite(values).all() and values[2] == pytest.approx(-0.3) and (values[:2] > -0.3).all()


@pytest.mark.parametrize("spoil, message", [("config.json", "has no config.json"), ("model.safetensors", "has no model.safetensors"), ("cut", "not a SAM2 checkpoint"), ("other", "not a SAM2 checkpoint, it lacks")])
def test_a_folder_that_is_no_sam2_is_one_line(sam_folder, tmp_path, spoil, message):
    from safetensors.numpy import save_file

    for file in sam_folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    if spoil == "cut":
        (tmp_path / "model.safetensors").write_bytes(b"nothing")
    elif spoil == "other":
        save_file({"x": np.zeros(3, np.float32)}, tmp_path / "model.safetensors", {"format": "pt"})
    else:
        (tmp_path / spoil).unlink()
    with pytest.raises(InputError, match=message):
        segmenters.make_segmenter(str(tmp_path), "cpu")


def test_the_stand_in_leaks_what_touches_by_a_corner_and_no_further(tmp_path):
    labels = np.zeros((9, 9), np.uint8)
    labels[:3, :3], labels[3:6, 3:6], labels[6:, 6:] = 1, 2, 3
    Image.fromarray(labels).save(tmp_path / "a.labels.png")
    ask = [Asked((0, 0, 3, 3), ((1, 1),), ()), Asked((0, 0, 3, 3), ((8, 0),), ())]
    found, nothing = LabelMap().masks(str(tmp_path / "a.png"), ask)
    assert (found == np.isin(labels, [1, 2])).all() and not nothing.any()
